//! A TCP relay that misbehaves like a bad network: between agent and control plane, between proxy
//! and client, wherever a test needs a cut at a certain byte.
//!
//! Kernel facilities (netem) are not assumed. Faults take effect on open connections too.

mod path;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use self::path::{Cut, relay};
use crate::serve::any_port;

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
    /// Everything arrives this much later; as much as ever is under way at once.
    Delay(Duration),
    /// The same by a time that changes from chunk to chunk, evenly between the two. Order stays, as
    /// TCP keeps it.
    Jitter {
        /// Nothing is faster.
        least: Duration,
        /// Nothing is slower, but for waiting behind what came before.
        most: Duration,
    },
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
    /// The same, but both ends see a clean end of the stream (FIN) in place of a reset.
    EndAfter {
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
    traffic: Arc<Traffic>,
    accepting: AbortHandle,
}

/// What all connections of a link have in common.
#[derive(Default)]
struct Traffic {
    up: AtomicU64,
    down: AtomicU64,
    open: AtomicU64,
}

impl Traffic {
    fn passed(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }
}

/// One connection that counts as open.
struct Counted(Arc<Traffic>);

impl Counted {
    fn new(traffic: &Arc<Traffic>) -> Self {
        traffic.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(traffic))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ChaosLink {
    /// A faultless relay to `target`.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(any_port()).await?;
        let addr = listener.local_addr()?;
        let (fault, faults) = watch::channel(LinkFault::None);
        let traffic = Arc::new(Traffic::default());
        let accept = accept(listener, target, faults, Arc::clone(&traffic));
        #[expect(
            clippy::disallowed_methods,
            reason = "a link owns its task: it is aborted when the link is dropped"
        )]
        let accepting = tokio::spawn(accept).abort_handle();
        Ok(Self {
            addr,
            fault,
            traffic,
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
    pub fn connections(&self) -> u64 {
        self.traffic.open.load(Ordering::Relaxed)
    }

    /// Bytes that have passed this way, over all connections since the link was started.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.traffic.passed(direction).load(Ordering::Relaxed)
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
    traffic: Arc<Traffic>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                let (faults, counted) = (faults.clone(), Counted::new(&traffic));
                connections.spawn(async move { connect(client, target, &faults, &counted.0).await });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(
    mut client: TcpStream,
    target: SocketAddr,
    faults: &watch::Receiver<LinkFault>,
    traffic: &Traffic,
) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    if let Err(Cut::Reset) = relay(&mut client, &mut server, faults, traffic).await {
        // Dropping a socket that does not linger sends RST instead of FIN.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}
