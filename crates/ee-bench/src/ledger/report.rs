//! The table: what was measured, beside the yardsticks, and whether the goal is reached.

use std::time::Duration;

use super::samples::Samples;
use crate::table::Table;

/// What LEDGER 14 asks of a row.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// So many times the naive ledger.
    Naive(f64),
    /// So many times pgbench.
    Pgbench(f64),
    /// So many times the raw rate.
    Raw(f64),
    /// So many times the row before it.
    Before(f64),
    /// The median is at most the raw one and this.
    OverRaw(Duration),
    /// The 99th percentile is at most this.
    P99(Duration),
}

/// What a row says.
struct Line {
    what: String,
    per_second: Option<f64>,
    latencies: Option<[Duration; 2]>,
    verdicts: Vec<String>,
}

/// Everything that was measured so far.
pub struct Report {
    raw: Samples,
    naive: Samples,
    pgbench: Option<f64>,
    lines: Vec<Line>,
}

impl Report {
    pub fn new(raw: Samples, naive: Samples, pgbench: Option<(f64, Duration)>) -> Self {
        let mut report = Self {
            raw: Samples::default(),
            naive: Samples::default(),
            pgbench: pgbench.map(|(rate, _)| rate),
            lines: Vec::new(),
        };
        report.add("raw fdatasync 8 KiB", &raw, &[]);
        report.add("naive ledger", &naive, &[]);
        if let Some((rate, mean)) = pgbench {
            let what = format!("pgbench, 16 clients, mean {}", millis(mean));
            report.push(what, Some(rate), None, Vec::new());
        }
        Self {
            raw,
            naive,
            ..report
        }
    }

    /// A rate with its latencies.
    pub fn add(&mut self, what: &str, samples: &Samples, goals: &[Goal]) {
        let rate = samples.per_second();
        let latencies = [samples.percentile(500), samples.percentile(990)];
        let verdicts = goals
            .iter()
            .filter_map(|goal| self.judge(*goal, rate, latencies))
            .collect();
        self.push(what.to_owned(), Some(rate), Some(latencies), verdicts);
    }

    /// A measurement that is no rate: its verdicts say everything.
    pub fn note(&mut self, what: &str, verdicts: Vec<String>) {
        self.push(what.to_owned(), None, None, verdicts);
    }

    /// How much faster than the naive ledger a rate is.
    pub fn times_naive(&self, rate: f64) -> f64 {
        rate / self.naive.per_second()
    }

    /// The rate of the last row.
    pub fn last_rate(&self) -> Option<f64> {
        self.lines.last().and_then(|line| line.per_second)
    }

    fn push(
        &mut self,
        what: String,
        per_second: Option<f64>,
        latencies: Option<[Duration; 2]>,
        verdicts: Vec<String>,
    ) {
        // Seen while the rest is still being measured.
        let rate = per_second.map_or_else(String::new, |rate| format!(" {rate:.0}/s"));
        let said = verdicts.join("; ");
        let [p50, p99] = latencies.unwrap_or_default();
        eprintln!(
            "{what}:{rate} p50 {} p99 {} {said}",
            millis(p50),
            millis(p99)
        );
        self.lines.push(Line {
            what,
            per_second,
            latencies,
            verdicts,
        });
    }

    /// None when its yardstick was not measured.
    fn judge(&self, goal: Goal, rate: f64, [p50, p99]: [Duration; 2]) -> Option<String> {
        let times = |wanted: f64, of: &str, yardstick: f64| {
            Some(verdict(
                &format!("{wanted} x {of}"),
                rate >= wanted * yardstick,
            ))
        };
        match goal {
            Goal::Naive(wanted) => times(wanted, "naive", self.naive.per_second()),
            Goal::Raw(wanted) => times(wanted, "raw", self.raw.per_second()),
            Goal::Pgbench(wanted) => times(wanted, "pgbench", self.pgbench?),
            Goal::Before(wanted) => times(wanted, "the row before", self.last_rate()?),
            Goal::OverRaw(more) => {
                let raw = self.raw.percentile(500);
                let what = format!("p50 raw + {}", millis(more));
                Some(verdict(&what, p50 <= raw + more))
            }
            Goal::P99(most) => Some(verdict(&format!("p99 {}", millis(most)), p99 <= most)),
        }
    }

    /// The table as Markdown.
    pub fn table(&self) -> String {
        let mut table = Table::new(&[
            "what",
            "per second",
            "p50",
            "p99",
            "x naive",
            "x pgbench",
            "x raw",
            "goals",
        ]);
        for line in &self.lines {
            table.row(self.row(line));
        }
        table.markdown()
    }

    fn row(&self, line: &Line) -> Vec<String> {
        let times = |yardstick: Option<f64>| match (line.per_second, yardstick) {
            (Some(rate), Some(yardstick)) => format!("{:.1}", rate / yardstick),
            _ => String::new(),
        };
        let latency = |at: usize| {
            let latencies = line.latencies;
            latencies.map_or_else(String::new, |latencies| millis(latencies[at]))
        };
        let rate = line.per_second;
        vec![
            line.what.clone(),
            rate.map_or_else(String::new, |rate| format!("{rate:.0}")),
            latency(0),
            latency(1),
            times(Some(self.naive.per_second())),
            times(self.pgbench),
            times(Some(self.raw.per_second())),
            line.verdicts.join("; "),
        ]
    }
}

/// A goal and whether it is reached.
pub fn verdict(goal: &str, reached: bool) -> String {
    format!("{goal}: {}", if reached { "yes" } else { "no" })
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    match millis {
        0.0..10.0 => format!("{millis:.3} ms"),
        10.0..1_000.0 => format!("{millis:.1} ms"),
        _ => format!("{millis:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(millis: u64) -> Samples {
        let mut samples = Samples::default();
        samples.add(Duration::from_millis(millis));
        samples.end(Duration::from_millis(millis));
        samples
    }

    #[test]
    fn goals_are_judged_by_the_yardsticks_of_the_run() {
        let mut report = Report::new(samples(1), samples(2), None);
        let goals = [
            Goal::Naive(8.0),
            Goal::Raw(4.1),
            Goal::Pgbench(1.0),
            Goal::P99(Duration::from_micros(250)),
            Goal::OverRaw(Duration::ZERO),
        ];
        let mut fast = Samples::default();
        fast.add_bulk(Duration::from_micros(250), 4);
        fast.end(Duration::from_millis(1));
        report.add("fast", &fast, &goals);
        let said = &report.lines.last().unwrap().verdicts;
        let expected = [
            "8 x naive: yes",
            "4.1 x raw: no",
            "p99 0.250 ms: yes",
            "p50 raw + 0.000 ms: yes",
        ];
        assert_eq!(said, &expected);
    }
}
