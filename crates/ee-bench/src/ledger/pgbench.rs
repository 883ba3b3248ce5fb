//! What PostgreSQL's own benchmark reaches on this machine: TPC-B-like, scale 10, prepared
//! statements, 16 clients, a cluster as durable as ours.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ee_testbed::PostgresCluster;

const SCALE: &str = "10";
const CLIENTS: &str = "16";

/// Transactions a second, and how long one took on average.
pub fn run(cluster: &PostgresCluster, length: Duration) -> Result<(f64, Duration)> {
    let url = cluster.url();
    pgbench(&["--initialize", "--quiet", "--scale", SCALE, &url])?;
    let seconds = length.as_secs().max(1).to_string();
    let said = pgbench(&[
        "--no-vacuum",
        "--protocol=prepared",
        "--client",
        CLIENTS,
        "--jobs",
        "2",
        "--time",
        &seconds,
        &url,
    ])?;
    let rate = number_after(&said, "tps = ").context("pgbench says no rate")?;
    let mean = number_after(&said, "latency average = ").context("pgbench says no latency")?;
    Ok((rate, Duration::from_secs_f64(mean / 1e3)))
}

fn pgbench(arguments: &[&str]) -> Result<String> {
    let programs = PostgresCluster::programs().unwrap_or_default();
    let output = Command::new(programs.join("pgbench"))
        .args(arguments)
        .output()
        .context("pgbench")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "pgbench: {}: {errors}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn number_after(text: &str, mark: &str) -> Option<f64> {
    let (_, rest) = text.split_once(mark)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_found_in_what_pgbench_says() {
        let said = "latency average = 3.512 ms\ntps = 4555.73 (without initial connection time)\n";
        assert_eq!(number_after(said, "tps = "), Some(4555.73));
        assert_eq!(number_after(said, "latency average = "), Some(3.512));
    }
}
