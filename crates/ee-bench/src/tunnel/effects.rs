//! What single things do to the rest: a connection for each request, slow answers, readers that
//! stall, large bodies, forward-auth. Each is a ratio within one run.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::chain::{Chain, Way};
use super::{APP, Options};
use crate::load::{self, Line, Load, Measured, Reuse};
use crate::table::{Table, duration};

/// Bytes of a small answer.
const SMALL: usize = 100;
/// Connections that ask all the time where a row says nothing else.
const CONNECTIONS: usize = 16;
/// Readers that take nothing, and live ones beside them (TUNNEL 6).
const STALLED: usize = 50;
/// What a stalled reader asked for: more than every buffer on the way holds.
const STALLED_BYTES: usize = 16 * 1_048_576;
/// Downloads beside which a small client asks: the grain of fairness (ADR 0019).
const DOWNLOADS: usize = 16;
/// Rounds of large bodies, to see whether memory grows from one to the next.
const ROUNDS: usize = 5;

/// Measures and prints rows as they come.
struct Bench<'a> {
    runtime: &'a Runtime,
    length: Duration,
    runs: usize,
    table: Table,
}

pub fn table(options: &Options, runtime: &Runtime, chains: &[Chain]) -> Result<Table> {
    let mut bench = Bench {
        runtime,
        length: Duration::from_secs(options.seconds),
        runs: options.runs,
        table: Table::new(&["what", "chain", "measured", "ratio", "goal"]),
    };
    for chain in chains {
        bench.memory(chain)?;
    }
    bench.fresh_connections(chains)?;
    for chain in chains.iter().filter(|chain| chain.way != Way::Direct) {
        bench.slow_answers(chain)?;
        bench.downloads(chain)?;
        bench.stalled_readers(chain)?;
    }
    for chain in chains {
        bench.forward_auth(chain)?;
    }
    Ok(bench.table)
}

impl Bench<'_> {
    fn row(&mut self, what: &str, chain: &Chain, measured: &str, ratio: Option<f64>, goal: &str) {
        let ratio = ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        let row = vec![
            what.to_owned(),
            chain.way.name().to_owned(),
            measured.to_owned(),
            ratio,
            goal.to_owned(),
        ];
        eprintln!("{}", row.join("  "));
        self.table.row(row);
    }

    /// One run, and one second of warm-up before it.
    fn run(&self, load: &Load) -> Result<Measured> {
        let load = Load {
            length: self.length,
            ..load.clone()
        };
        self.runtime.block_on(load::run(&load))
    }

    /// The least of several runs of a percentile: the others were disturbed.
    fn least(&self, load: &Load, permille: usize) -> Result<Duration> {
        let mut least = Duration::MAX;
        for _ in 0..self.runs {
            least = least.min(self.run(load)?.percentile(permille));
        }
        Ok(least)
    }

    /// Resident memory before any load, and after each round of 64 x 1 MiB.
    fn memory(&mut self, chain: &Chain) -> Result<()> {
        if !matches!(chain.way, Way::Tunnel | Way::TunnelTls) {
            return Ok(());
        }
        let held = |chain: &Chain| {
            let held = chain.between.iter().map(|process| {
                let memory = process.memory();
                let mib = |bytes: u64| bytes >> 20;
                (mib(memory.resident_bytes), mib(memory.peak_bytes))
            });
            held.collect::<Vec<_>>()
        };
        let mut rounds = vec![held(chain)];
        let load = Load {
            connections: 64,
            ..chain.load(1_048_576)
        };
        for _ in 0..ROUNDS {
            self.run(&load)?;
            rounds.push(held(chain));
        }
        for (at, name) in ["control plane", "agent"].into_iter().enumerate() {
            let each: Vec<String> = rounds.iter().map(|held| held[at].0.to_string()).collect();
            let peak = rounds[ROUNDS][at].1;
            let what = format!("MiB of the {name}: idle, after {ROUNDS} rounds of 64 x 1 MiB");
            let measured = format!("{}; at most {peak}", each.join(", "));
            self.row(&what, chain, &measured, None, "<= 40, flat");
        }
        Ok(())
    }

    /// A connection for each request, against nginx.
    fn fresh_connections(&mut self, chains: &[Chain]) -> Result<()> {
        let mut nginx = None;
        for chain in chains {
            let load = Load {
                connections: CONNECTIONS,
                reuse: Reuse::Never,
                ..chain.load(SMALL)
            };
            let mut best = 0.0_f64;
            for _ in 0..self.runs {
                best = best.max(self.run(&load)?.per_second());
            }
            if chain.way == Way::Nginx {
                nginx = Some(best);
            }
            let of_nginx = nginx.filter(|_| chain.way != Way::Nginx);
            let ratio = of_nginx.map(|nginx| best / nginx);
            let goal = match chain.way {
                Way::Tunnel => ">= 0.65",
                Way::Direct | Way::Nginx | Way::Rathole | Way::TunnelTls => "–",
            };
            let measured = format!("{best:.0}/s");
            self.row(
                "a new connection per request",
                chain,
                &measured,
                ratio,
                goal,
            );
        }
        Ok(())
    }

    /// Four connections wait for answers of 500 ms all the time: what does a fifth notice?
    fn slow_answers(&mut self, chain: &Chain) -> Result<()> {
        let fifth = chain.load(SMALL);
        let alone = self.least(&fifth, 500)?;
        let slow = Load {
            connections: 4,
            length: Duration::from_secs(3600),
            ..chain.path("/slow/500")
        };
        let others = self
            .runtime
            .handle()
            .spawn(async move { load::run(&slow).await });
        let beside = self.least(&fifth, 500);
        others.abort();
        let beside = beside?;
        let measured = format!("p50 {} beside {}", duration(beside), duration(alone));
        let ratio = beside.as_secs_f64() / alone.as_secs_f64();
        let what = "a client beside four 500 ms requests";
        self.row(what, chain, &measured, Some(ratio), "~ 1");
        Ok(())
    }

    /// Others download 1 MiB each all the time: how long does a small answer wait among them?
    fn downloads(&mut self, chain: &Chain) -> Result<()> {
        let small = chain.load(SMALL);
        let alone = self.least(&small, 990)?;
        let large = Load {
            connections: DOWNLOADS,
            length: Duration::from_secs(3600),
            ..chain.load(1_048_576)
        };
        let others = self
            .runtime
            .handle()
            .spawn(async move { load::run(&large).await });
        let beside = self.least(&small, 990);
        others.abort();
        let beside = beside?;
        let measured = format!("p99 {} beside {}", duration(beside), duration(alone));
        let ratio = beside.as_secs_f64() / alone.as_secs_f64();
        let what = format!("a client beside {DOWNLOADS} downloads of 1 MiB");
        self.row(&what, chain, &measured, Some(ratio), "–");
        Ok(())
    }

    /// Clients that ask for 16 MiB and take nothing: what do as many live ones notice?
    fn stalled_readers(&mut self, chain: &Chain) -> Result<()> {
        let live = Load {
            connections: STALLED,
            ..chain.load(SMALL)
        };
        let alone = self.least(&live, 990)?;
        let stalled = self.runtime.block_on(stall(chain))?;
        let beside = self.least(&live, 990)?;
        drop(stalled);
        let measured = format!("p99 {} beside {}", duration(beside), duration(alone));
        let ratio = beside.as_secs_f64() / alone.as_secs_f64();
        let what = format!("{STALLED} clients beside {STALLED} stalled readers");
        self.row(&what, chain, &measured, Some(ratio), "<= 1.2");
        Ok(())
    }

    /// Questions of a reverse proxy (ROUTING 7).
    fn forward_auth(&mut self, chain: &Chain) -> Result<()> {
        let Some(control) = chain.control else {
            return Ok(());
        };
        let ask = |connections| Load {
            connections,
            ..Load::get(control, "localhost", format!("/v1/authz/{APP}"))
        };
        for connections in [1, CONNECTIONS] {
            let measured = self.run(&ask(connections))?;
            let what = format!("/v1/authz over {connections} connections");
            let (p50, p99) = (measured.percentile(500), measured.percentile(990));
            let rate = measured.per_second();
            let text = format!(
                "p50 {}, p99 {} at {rate:.0}/s, {} not 200",
                duration(p50),
                duration(p99),
                measured.refused
            );
            self.row(&what, chain, &text, None, "p99 <= 1 ms");
        }
        Ok(())
    }
}

/// Connections whose answers are on their way and are not read. They end when dropped.
async fn stall(chain: &Chain) -> Result<Vec<Line>> {
    let load = chain.load(STALLED_BYTES);
    let mut lines = Vec::with_capacity(STALLED);
    for _ in 0..STALLED {
        let mut line = Line::open(&load).await.context("a stalled reader")?;
        line.send_only().await?;
        lines.push(line);
    }
    // The answers fill what is between the backend and the readers.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(lines)
}
