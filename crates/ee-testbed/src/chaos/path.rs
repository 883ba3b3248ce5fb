//! The way of the bytes of one connection: when they arrive, how many, and where it is cut.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{Direction, LinkFault, Traffic};

/// Bytes moved at once: small enough for rates and cuts to be exact, large enough for bulk.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks on their way in one direction: 4 MiB, so that a late link is not also a slow one.
const CHUNKS_UNDER_WAY: usize = 256;
/// Where jitter starts: every run draws the same.
const JITTER_SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// How a connection ends before its time.
pub(super) enum Cut {
    /// Both ends see a reset.
    Reset,
    /// Both ends see a clean end.
    End,
}

impl From<io::Error> for Cut {
    fn from(_: io::Error) -> Self {
        Self::Reset
    }
}

/// Moves bytes until both sides are done.
pub(super) async fn relay(
    client: &mut TcpStream,
    server: &mut TcpStream,
    faults: &watch::Receiver<LinkFault>,
    traffic: &Traffic,
) -> Result<(), Cut> {
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let weather = |direction| Weather::new(direction, faults.clone());
    let passed = |direction| traffic.passed(direction);
    let (up, down) = (Direction::Up, Direction::Down);
    tokio::try_join!(
        carry(client_read, server_write, weather(up), passed(up)),
        carry(server_read, client_write, weather(down), passed(down)),
    )
    .map(|_| ())
}

/// A chunk on its way, and when it is due; an empty one is the end.
type UnderWay = (Instant, Vec<u8>);

async fn carry(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    weather: Weather,
    passed: &AtomicU64,
) -> Result<(), Cut> {
    let (sender, receiver) = mpsc::channel(CHUNKS_UNDER_WAY);
    let arrival = Arrival::new(weather.faults.clone());
    tokio::try_join!(
        take(from, arrival, sender),
        give(to, weather, receiver, passed),
    )
    .map(|_| ())
}

async fn take(
    mut from: impl AsyncRead + Unpin,
    mut arrival: Arrival,
    sender: mpsc::Sender<UnderWay>,
) -> Result<(), Cut> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = unless_reset(&arrival.faults, from.read(&mut chunk)).await?;
        let sent = sender.send((arrival.due(), chunk[..count].to_vec())).await;
        if count == 0 || sent.is_err() {
            return Ok(());
        }
    }
}

async fn give(
    mut to: impl AsyncWrite + Unpin,
    mut weather: Weather,
    mut receiver: mpsc::Receiver<UnderWay>,
    passed: &AtomicU64,
) -> Result<(), Cut> {
    while let Some((due, chunk)) = receiver.recv().await {
        // A timer would round what is due now up to the next millisecond.
        if due > Instant::now() {
            let arrived = async {
                sleep_until(due).await;
                Ok(())
            };
            unless_reset(&weather.faults, arrived).await?;
        }
        if chunk.is_empty() {
            break;
        }
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let count = weather.passage(rest.len()).await?;
            let (now, later) = rest.split_at(count);
            // Counted first: whoever has read a byte finds it counted.
            passed.fetch_add(count as u64, Ordering::Relaxed);
            unless_reset(&weather.faults, to.write_all(now)).await?;
            rest = later;
        }
    }
    Ok(to.shutdown().await?)
}

/// When chunks that are taken now are due.
struct Arrival {
    faults: watch::Receiver<LinkFault>,
    last: Instant,
    drawn: u64,
}

impl Arrival {
    fn new(faults: watch::Receiver<LinkFault>) -> Self {
        Self {
            faults,
            last: Instant::now(),
            drawn: JITTER_SEED,
        }
    }

    fn due(&mut self) -> Instant {
        let fault = *self.faults.borrow();
        let late = match fault {
            LinkFault::Delay(delay) => delay,
            LinkFault::Jitter { least, most } => {
                // Xorshift (Marsaglia): spreads, and is the same in every run.
                self.drawn ^= self.drawn << 13;
                self.drawn ^= self.drawn >> 7;
                self.drawn ^= self.drawn << 17;
                let spread =
                    u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
                least + Duration::from_micros(self.drawn % spread.saturating_add(1))
            }
            LinkFault::None
            | LinkFault::Rate { .. }
            | LinkFault::Blackhole
            | LinkFault::HalfOpen(_)
            | LinkFault::CutAfter { .. }
            | LinkFault::EndAfter { .. }
            | LinkFault::Reset => Duration::ZERO,
        };
        self.last = self.last.max(Instant::now() + late);
        self.last
    }
}

/// One direction of one connection under the link's current fault.
struct Weather {
    direction: Direction,
    faults: watch::Receiver<LinkFault>,
    passed: u64,
}

impl Weather {
    fn new(direction: Direction, faults: watch::Receiver<LinkFault>) -> Self {
        Self {
            direction,
            faults,
            passed: 0,
        }
    }

    /// Waits as the fault demands; then says how many of `waiting` bytes may pass.
    async fn passage(&mut self, waiting: usize) -> Result<usize, Cut> {
        loop {
            let fault = *self.faults.borrow_and_update();
            let passing = match fault {
                LinkFault::None | LinkFault::Delay(_) | LinkFault::Jitter { .. } => waiting,
                LinkFault::Rate { bytes_per_s } => {
                    self.wait_for_rate(waiting, bytes_per_s.max(1)).await?
                }
                LinkFault::CutAfter { direction, bytes } => {
                    self.before(direction, bytes, waiting).ok_or(Cut::Reset)?
                }
                LinkFault::EndAfter { direction, bytes } => {
                    self.before(direction, bytes, waiting).ok_or(Cut::End)?
                }
                LinkFault::HalfOpen(direction) if direction != self.direction => waiting,
                LinkFault::HalfOpen(_) | LinkFault::Blackhole => {
                    self.faults.changed().await.map_err(|_| Cut::Reset)?;
                    continue;
                }
                LinkFault::Reset => return Err(Cut::Reset),
            };
            self.passed += passing as u64;
            return Ok(passing);
        }
    }

    /// A hundredth of a second's bytes at a time, so that the rate is smooth.
    async fn wait_for_rate(&self, waiting: usize, bytes_per_s: u64) -> io::Result<usize> {
        let share = usize::try_from(bytes_per_s / 100)
            .unwrap_or(CHUNK_BYTES)
            .max(1);
        let passing = waiting.min(share);
        let pause = Duration::from_nanos(passing as u64 * 1_000_000_000 / bytes_per_s);
        let paused = async {
            sleep(pause).await;
            Ok(())
        };
        unless_reset(&self.faults, paused).await?;
        Ok(passing)
    }

    /// How many of `waiting` bytes lie before the cut; `None` when there is none left.
    fn before(&self, counted: Direction, bytes: u64, waiting: usize) -> Option<usize> {
        if counted != self.direction {
            return Some(waiting);
        }
        let left = bytes.saturating_sub(self.passed);
        let passing = waiting.min(usize::try_from(left).unwrap_or(usize::MAX));
        (passing > 0).then_some(passing)
    }
}

/// Runs `work`, but not beyond the moment when connections are reset.
async fn unless_reset<T>(
    faults: &watch::Receiver<LinkFault>,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut faults = faults.clone();
    tokio::select! {
        done = work => done,
        _ = faults.wait_for(|fault| *fault == LinkFault::Reset) => {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
}
