//! The disk's own rate: overwrite 8 KiB, fdatasync, again. Nothing durable can be faster alone.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::samples::Samples;
use crate::stopwatch::Stopwatch;

/// What one write overwrites: about what a small commit appends to a log.
const BLOCK: usize = 8 * 1024;

/// Overwrites for as long as told.
pub fn run(directory: &Path, length: Duration) -> Result<Samples> {
    let path = directory.join("raw");
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("{}", path.display()))?;
    let block = vec![0x5A; BLOCK];
    file.write_all_at(&block, 0)?;
    file.sync_all()?;
    let started = Stopwatch::start();
    let mut samples = Samples::default();
    while started.elapsed() < length {
        let one = Stopwatch::start();
        file.write_all_at(&block, 0)?;
        file.sync_data()?;
        samples.add(one.elapsed());
    }
    samples.end(started.elapsed());
    std::fs::remove_file(&path)?;
    Ok(samples)
}
