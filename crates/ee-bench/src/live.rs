//! A live client: asks at a steady pace all the time, and knows afterwards how each moment was.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::task::JoinSet;

use crate::load::{Line, Load, percentile};
use crate::stopwatch::Stopwatch;

/// Pause before a connection that failed is opened again.
const RETRY: Duration = Duration::from_millis(5);

/// A client that asks until it is stopped. Each connection pauses between its requests.
pub struct LiveClient {
    since: Stopwatch,
    stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Asked>>>,
    thread: JoinHandle<Result<()>>,
}

/// One request.
#[derive(Clone, Copy)]
struct Asked {
    /// When its answer had come, or had not.
    at: Duration,
    latency: Duration,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Served,
    /// Another status than 200, or no answer.
    Failed,
}

/// What happened in a span of time.
#[derive(Default)]
pub struct Span {
    pub served: usize,
    pub failed: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub longest: Duration,
}

impl LiveClient {
    pub fn start(load: &Load, pause: Duration) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let since = Stopwatch::start();
        let client = Client {
            load: load.clone(),
            pause,
            since,
            stop: Arc::clone(&stop),
            asked: Arc::clone(&asked),
        };
        Self {
            since,
            stop,
            asked,
            thread: std::thread::spawn(move || client.run()),
        }
    }

    /// Time since the client began: what spans are counted in.
    pub fn now(&self) -> Duration {
        self.since.elapsed()
    }

    /// When the first request after `from` was served.
    pub fn first_served(&self, from: Duration) -> Option<Duration> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let later = asked.iter().filter(|one| one.at - one.latency >= from);
        let served = later.filter(|one| one.outcome == Outcome::Served);
        served.map(|one| one.at).min()
    }

    /// The requests that were answered, or failed, between two moments.
    pub fn span(&self, from: Duration, until: Duration) -> Span {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = asked.iter().filter(|one| (from..until).contains(&one.at));
        let (served, failed): (Vec<&Asked>, Vec<&Asked>) =
            inside.partition(|one| one.outcome == Outcome::Served);
        let mut latencies: Vec<Duration> = served.iter().map(|one| one.latency).collect();
        latencies.sort_unstable();
        Span {
            served: served.len(),
            failed: failed.len(),
            p50: percentile(&latencies, 500),
            p99: percentile(&latencies, 990),
            longest: latencies.last().copied().unwrap_or_default(),
        }
    }

    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let outcome = self.thread.join();
        outcome.map_err(|_| anyhow!("the client's thread panicked"))?
    }
}

#[derive(Clone)]
struct Client {
    load: Load,
    pause: Duration,
    since: Stopwatch,
    stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Client {
    fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime")?;
        runtime.block_on(async {
            let mut connections = JoinSet::new();
            for _ in 0..self.load.connections {
                connections.spawn(self.clone().connection());
            }
            connections.join_all().await;
        });
        Ok(())
    }

    async fn connection(self) {
        let mut line = None;
        while !self.stop.load(Ordering::Relaxed) {
            let sent = Stopwatch::start();
            let outcome = match self.ask(&mut line).await {
                Ok(true) => Outcome::Served,
                Ok(false) | Err(_) => Outcome::Failed,
            };
            self.note(Asked {
                at: self.since.elapsed(),
                latency: sent.elapsed(),
                outcome,
            });
            let pause = match outcome {
                Outcome::Served => self.pause,
                Outcome::Failed => self.pause.max(RETRY),
            };
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    fn note(&self, asked: Asked) {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(asked);
    }

    /// One request over the kept connection. Where the server has closed it, a client opens
    /// another; that is no failure as long as no request was on its way.
    async fn ask(&self, line: &mut Option<Line>) -> Result<bool> {
        if line.as_ref().is_some_and(Line::is_over) {
            *line = None;
        }
        let mut open = match line.take() {
            Some(open) => open,
            None => Line::open(&self.load).await?,
        };
        let (accepted, _) = open.ask().await?;
        *line = Some(open);
        Ok(accepted)
    }
}
