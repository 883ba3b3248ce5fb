//! Whether an operation costs the same in large books as in small ones.

use std::time::Duration;

use anyhow::Result;

use super::in_process::measure;
use super::place::Place;
use super::report::{Goal, Report};

/// At least this part of the small books' rate counts as flat: the rest is caches.
const FLAT: f64 = 0.8;

/// The same bulks with few accounts and with many.
pub fn run(
    place: &Place,
    [few, many]: [i64; 2],
    length: Duration,
    report: &mut Report,
) -> Result<()> {
    for (accounts, goals) in [(few, &[][..]), (many, &[Goal::Before(FLAT)][..])] {
        let samples = measure(place, 4, accounts, length)?;
        let what = format!("as above, {accounts} accounts, {}", place.name());
        report.add(&what, &samples, goals);
    }
    Ok(())
}
