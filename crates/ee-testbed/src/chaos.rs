//! A TCP relay that misbehaves like a bad network: between agent and control plane, between proxy
//! and client, wherever a test needs a cut at a certain byte.
//!
//! Kernel facilities (netem) are not assumed. Faults take effect on open connections too.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use crate::serve::any_port;

/// Bytes moved at once: small enough for rates and cuts to be exact, large enough for bulk.
const CHUNK_BYTES: usize = 16 * 1024;

/// Which way bytes flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client, which connected to the link, to the target.
    Up,
    /// From the target to the client.
    Down,
}

/// What the link does to its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFault {
    /// Nothing.
    None,
    /// Every chunk arrives this much later.
    Delay(Duration),
    /// So many bytes a second in each direction.
    Rate {
        /// Bytes a second, at least one.
        bytes_per_s: u64,
    },
    /// Nothing arrives, nothing is closed: a partition. Held bytes flow once the fault is gone.
    Blackhole,
    /// The same in one direction.
    HalfOpen(Direction),
    /// Connections are reset once so many bytes of them went this way.
    CutAfter {
        /// The direction that is counted.
        direction: Direction,
        /// Bytes that still arrive.
        bytes: u64,
    },
    /// Every connection is reset, new ones as soon as they are accepted.
    Reset,
}

/// The relay; it stops and closes its connections when it is dropped.
pub struct ChaosLink {
    addr: SocketAddr,
    fault: watch::Sender<LinkFault>,
    open: Arc<()>,
    accepting: AbortHandle,
}

impl ChaosLink {
    /// A faultless relay to `target`.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(any_port()).await?;
        let addr = listener.local_addr()?;
        let (fault, faults) = watch::channel(LinkFault::None);
        let open = Arc::new(());
        let accept = accept(listener, target, faults, Arc::clone(&open));
        #[expect(
            clippy::disallowed_methods,
            reason = "a link owns its task: it is aborted when the link is dropped"
        )]
        let accepting = tokio::spawn(accept).abort_handle();
        Ok(Self {
            addr,
            fault,
            open,
            accepting,
        })
    }

    /// Where clients connect instead of to the target.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the fault for open and new connections.
    pub fn set(&self, fault: LinkFault) {
        self.fault.send_replace(fault);
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        // The link and its task hold one each.
        Arc::strong_count(&self.open).saturating_sub(2)
    }
}

impl Drop for ChaosLink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    faults: watch::Receiver<LinkFault>,
    open: Arc<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                let (faults, open) = (faults.clone(), Arc::clone(&open));
                connections.spawn(async move {
                    let _open = open;
                    connect(client, target, faults).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(client: TcpStream, target: SocketAddr, faults: watch::Receiver<LinkFault>) {
    let Ok(server) = TcpStream::connect(target).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut client, mut server) = (client, server);
    if relay(&mut client, &mut server, faults).await.is_err() {
        // Dropping a socket that does not linger sends RST instead of FIN.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Moves bytes until both sides are done; an error means that both must be reset.
async fn relay(
    client: &mut TcpStream,
    server: &mut TcpStream,
    faults: watch::Receiver<LinkFault>,
) -> io::Result<()> {
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let up = pump(
        client_read,
        server_write,
        Weather::new(Direction::Up, faults.clone()),
    );
    let down = pump(
        server_read,
        client_write,
        Weather::new(Direction::Down, faults),
    );
    tokio::try_join!(up, down).map(|_| ())
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: Weather,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = weather.unless_reset(from.read(&mut chunk)).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let mut rest = &chunk[..count];
        while !rest.is_empty() {
            let count = weather.passage(rest.len()).await?;
            let (now, later) = rest.split_at(count);
            weather.unless_reset(to.write_all(now)).await?;
            rest = later;
        }
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
    async fn passage(&mut self, waiting: usize) -> io::Result<usize> {
        loop {
            let fault = *self.faults.borrow_and_update();
            let passing = match fault {
                LinkFault::None => waiting,
                LinkFault::Delay(delay) => {
                    self.pause(delay).await?;
                    waiting
                }
                LinkFault::Rate { bytes_per_s } => {
                    self.wait_for_rate(waiting, bytes_per_s.max(1)).await?
                }
                LinkFault::CutAfter { direction, bytes } if direction == self.direction => {
                    self.before_cut(waiting, bytes)?
                }
                LinkFault::CutAfter { .. } => waiting,
                LinkFault::HalfOpen(direction) if direction != self.direction => waiting,
                LinkFault::HalfOpen(_) | LinkFault::Blackhole => {
                    self.faults.changed().await.map_err(|_| reset())?;
                    continue;
                }
                LinkFault::Reset => return Err(reset()),
            };
            self.passed += passing as u64;
            return Ok(passing);
        }
    }

    /// A hundredth of a second's bytes at a time, so that the rate is smooth.
    async fn wait_for_rate(&mut self, waiting: usize, bytes_per_s: u64) -> io::Result<usize> {
        let share = usize::try_from(bytes_per_s / 100)
            .unwrap_or(CHUNK_BYTES)
            .max(1);
        let passing = waiting.min(share);
        let pause = Duration::from_nanos(passing as u64 * 1_000_000_000 / bytes_per_s);
        self.pause(pause).await?;
        Ok(passing)
    }

    fn before_cut(&self, waiting: usize, bytes: u64) -> io::Result<usize> {
        let left = bytes.saturating_sub(self.passed);
        let passing = waiting.min(usize::try_from(left).unwrap_or(usize::MAX));
        if passing == 0 {
            Err(reset())
        } else {
            Ok(passing)
        }
    }

    async fn pause(&self, pause: Duration) -> io::Result<()> {
        let paused = async {
            sleep(pause).await;
            Ok(())
        };
        self.unless_reset(paused).await
    }

    /// Runs `work`, but not beyond the moment when connections are reset.
    async fn unless_reset<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut faults = self.faults.clone();
        tokio::select! {
            done = work => done,
            _ = faults.wait_for(|fault| *fault == LinkFault::Reset) => Err(reset()),
        }
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
