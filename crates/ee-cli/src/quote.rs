//! `easyenclave quote decode|verify|diff`: what a quote says, and whether it holds.

mod decode;
mod diff;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use crate::output::Format;

/// Questions about quotes. A quote may be raw, hex, base64, or JSON that holds one; `-` reads
/// standard input.
#[derive(Debug, clap::Subcommand)]
pub enum Question {
    /// Show the fields of a quote; nothing is verified
    Decode {
        /// The quote
        quote: PathBuf,
    },
    /// Verify a quote under Intel's root; exit status 3 if it is refused
    Verify(verify::Args),
    /// Compare the registers of two quotes; exit status 3 if they differ
    Diff {
        /// The quote that is expected
        expected: PathBuf,
        /// The quote to compare with it
        actual: PathBuf,
    },
}

/// Answers.
pub fn run(question: &Question, format: Format) -> anyhow::Result<ExitCode> {
    match question {
        Question::Decode { quote } => decode::run(quote, format),
        Question::Verify(args) => verify::run(args, format),
        Question::Diff { expected, actual } => diff::run(expected, actual, format),
    }
}
