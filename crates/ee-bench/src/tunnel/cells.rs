//! The table of requests: bodies, connections and ways.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::Options;
use super::chain::{Chain, Way};
use crate::load::{self, Load, Measured};
use crate::table::{Table, duration, size};

/// One cell of the table.
struct Cell {
    way: Way,
    measured: Measured,
    cpu_seconds_per_10k: f64,
    kernel_seconds_per_10k: f64,
}

pub fn table(options: &Options, runtime: &Runtime, chains: &[Chain]) -> Result<Table> {
    let mut table = Table::new(&[
        "body",
        "conns",
        "chain",
        "requests/s",
        "p50",
        "p99",
        "CPU s/10k",
        "x nginx",
        "kernel s/10k",
        "kernel x nginx",
        "p99 x nginx",
        "not 200",
    ]);
    for &body_bytes in &options.bytes {
        for &connections in &options.connections {
            let mut cells = Vec::new();
            for chain in chains {
                let load = Load {
                    connections,
                    length: Duration::from_secs(options.seconds),
                    ..chain.load(body_bytes)
                };
                cells.push(best_cell(runtime, chain, &load, options.runs)?);
            }
            for row in rows(&cells, body_bytes, connections) {
                eprintln!("{}", row.join("  "));
                table.row(row);
            }
        }
    }
    Ok(table)
}

fn best_cell(runtime: &Runtime, chain: &Chain, load: &Load, runs: usize) -> Result<Cell> {
    let mut best = cell(runtime, chain, load)?;
    for _ in 1..runs {
        let next = cell(runtime, chain, load)?;
        if next.measured.per_second() > best.measured.per_second() {
            best = next;
        }
    }
    Ok(best)
}

/// A warm-up, then the measurement; CPU is what the processes used meanwhile.
fn cell(runtime: &Runtime, chain: &Chain, load: &Load) -> Result<Cell> {
    let warm_up = Load {
        length: Duration::from_millis(300),
        ..load.clone()
    };
    let context = || format!("{} with {} connections", chain.way.name(), load.connections);
    runtime
        .block_on(load::run(&warm_up))
        .with_context(context)?;
    let before = chain.cpu();
    let measured = runtime.block_on(load::run(load)).with_context(context)?;
    let used = chain.cpu() - before;
    let per_10k = |seconds: f64| seconds * 10_000.0 / load::count(measured.requests);
    Ok(Cell {
        way: chain.way,
        cpu_seconds_per_10k: per_10k(used.seconds()),
        kernel_seconds_per_10k: per_10k(used.kernel),
        measured,
    })
}

fn rows(cells: &[Cell], body_bytes: usize, connections: usize) -> Vec<Vec<String>> {
    let nginx = cells.iter().find(|cell| cell.way == Way::Nginx);
    let ratio = |cell: &Cell, of: fn(&Cell) -> f64| match nginx {
        Some(nginx) if cell.way != Way::Direct && cell.way != Way::Nginx => {
            format!("{:.2}", of(cell) / of(nginx))
        }
        Some(_) | None => "–".to_owned(),
    };
    let cpu = |cell: &Cell| cell.cpu_seconds_per_10k;
    let kernel = |cell: &Cell| cell.kernel_seconds_per_10k;
    let seconds = |cell: &Cell, of: fn(&Cell) -> f64| match cell.way {
        Way::Direct => "–".to_owned(),
        Way::Nginx | Way::Rathole | Way::Tunnel | Way::TunnelTls => format!("{:.3}", of(cell)),
    };
    let p99 = |cell: &Cell| cell.measured.percentile(990).as_secs_f64();
    let row = |cell: &Cell| {
        vec![
            size(body_bytes),
            connections.to_string(),
            cell.way.name().to_owned(),
            format!("{:.0}", cell.measured.per_second()),
            duration(cell.measured.percentile(500)),
            duration(cell.measured.percentile(990)),
            seconds(cell, cpu),
            ratio(cell, cpu),
            seconds(cell, kernel),
            ratio(cell, kernel),
            ratio(cell, p99),
            cell.measured.refused.to_string(),
        ]
    };
    cells.iter().map(row).collect()
}
