//! The mechanism of settings: one table of rows drives parser, checks, help and reference.
//!
//! A program declares a `&[Setting]`, gathers [`Sources`] once in `main`, and reads every row
//! through a [`Reader`]. The reader never stops at the first mistake: it collects a [`Problem`]
//! for each, so that an operator sees all of them at once (EXPERIENCE 4).
//!
//! **Precedence** flags, environment, file, default. An empty value counts as unset. A secret may
//! also come from the file that `NAME_FILE` names or from a systemd credential called `NAME`; two
//! sources for one secret are refused, for nobody could tell which of them is valid.

mod parse;
mod reader;
mod reference;
mod secret;

use std::{collections::BTreeMap, fmt, path::PathBuf};

pub use self::{
    parse::{boolean, comma_list, integer, present, seconds},
    reader::{Origin, Reader, SecretRule},
    reference::{example_toml, reference_markdown},
    secret::Secret,
};

/// One row of a settings table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// The value when nothing is set; empty if there is none.
    pub default: &'static str,
    /// What the reference prints where there is no default: `none: door closed`.
    pub unset: &'static str,
    /// What it decides, in one line.
    pub meaning: &'static str,
    /// A secret is never shown and may come from a file of its own.
    pub secret: bool,
    /// A secret that is no token of ours to be guessed: any length is good.
    pub any_length: bool,
    /// A required setting without a value is a problem.
    pub required: bool,
    /// An empty value means an empty list here, not "unset".
    pub empty_is_value: bool,
}

impl Setting {
    /// A plain, optional setting.
    pub const fn new(name: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self {
            name,
            default,
            unset: "none",
            meaning,
            secret: false,
            any_length: false,
            required: false,
            empty_is_value: false,
        }
    }

    /// What happens without a value, for the reference.
    #[must_use]
    pub const fn unset(mut self, text: &'static str) -> Self {
        self.unset = text;
        self
    }

    /// Marks a secret.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Marks a URL that may hold a password: hidden like a secret, judged by whoever it opens.
    #[must_use]
    pub const fn secret_url(mut self) -> Self {
        self.secret = true;
        self.any_length = true;
        self
    }

    /// Marks a setting that must be given.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self.unset = "required";
        self
    }

    /// Marks a list whose empty value says "nothing", where unset would mean the default.
    #[must_use]
    pub const fn empty_is_value(mut self) -> Self {
        self.empty_is_value = true;
        self
    }

    /// The key of this setting in the configuration file: lower case without `EE_`.
    pub fn file_key(&self) -> String {
        self.name
            .strip_prefix("EE_")
            .unwrap_or(self.name)
            .to_ascii_lowercase()
    }
}

/// A value of the configuration file, with the line that holds it.
#[derive(Debug, Clone)]
pub struct FileValue {
    /// The value as text; lists are joined with commas.
    pub text: String,
    /// Line number, counted from 1.
    pub line: usize,
}

/// The configuration file after parsing, before its keys are checked.
#[derive(Debug, Clone, Default)]
pub struct FileLayer {
    /// Where it was read from.
    pub path: PathBuf,
    /// Keys (lower case, without `EE_`) and their values.
    pub values: BTreeMap<String, FileValue>,
}

/// Everything a program may take settings from, gathered once.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Command-line flags, by the name of the variable they stand for.
    pub flags: BTreeMap<String, String>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// The configuration file, if one was named.
    pub file: Option<FileLayer>,
}

impl Sources {
    /// The environment of this process. Names or values that are not UTF-8 are made visible with
    /// replacement characters, so that they fail their check by name instead of vanishing.
    pub fn from_process() -> Self {
        let env = std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .collect();
        Self {
            env,
            ..Self::default()
        }
    }

    /// Settings given as pairs: tests, and programs that start others in process.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let env = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self {
            env,
            ..Self::default()
        }
    }
}

/// One thing wrong with the settings, naming the variable and where its value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable, or the file's key where no variable has that name.
    pub name: String,
    /// Where the value came from: `env`, `ee.toml:12`, …; empty if there is none.
    pub origin: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin.is_empty() {
            write!(f, "{}: {}", self.name, self.message)
        } else {
            write!(f, "{} ({}): {}", self.name, self.origin, self.message)
        }
    }
}

/// Exit status for refused settings (sysexits' `EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;
