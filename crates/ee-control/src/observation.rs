//! From what the plane sees to facts in the books (LEDGER 7).
//!
//! A handle and a future: the plane notes what it saw, in order; the future tells the books, in
//! the same order, and begins a new epoch when something could not be told: an observer that
//! cannot write is not alive. **Invariant:** a beat is told after everything that was noted
//! before it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ee_core::{
    books::{
        Command, Outcome, Principal,
        command::{
            Breach, DependencyDown, DependencyUp, Drained, NodeSeen, ObserverBeat, ObserverStart,
            ObserverStop, TrackClose, TrackOpen, Waiting,
        },
    },
    facts::Dependency,
    observer::{DependencyState, FirstPass, Notice, Reach, Watch},
    registry::ProvenNode,
};
use ee_protocol::{account::ClientId, names::NodeId, time::Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::{
    books::{BooksHandle, Reply, Submission, SubmitError},
    ports::Clock,
};

/// Sightings that may wait: a pass of each of ten thousand nodes and room besides. Beyond it the
/// observer has lost sight of its nodes and begins a new epoch.
const QUEUE_MAX: usize = 16_384;
/// Sightings taken at once, so that their facts share a commit.
const BATCH_MAX: usize = 512;

/// What the plane saw of a node, or of us.
#[derive(Debug)]
pub enum Sighting {
    /// A session was attested and joined.
    Joined(ProvenNode, FirstPass, Box<NodeSeen>),
    /// A later attestation passed.
    Reattested(ProvenNode),
    /// A heartbeat passed.
    Passed(ProvenNode),
    /// A heartbeat said that the backend is not well.
    Failed(ProvenNode),
    /// Evidence was refused.
    Rejected(ProvenNode),
    /// Evidence waits for a dependency.
    Waits(ProvenNode, Dependency),
    /// No session of the node is left.
    Left(ProvenNode),
    /// A dependency answers, or does not.
    Dependency(Dependency, DependencyState),
    /// Everything so far was noted.
    Beat,
    /// Our nodes are asked to go elsewhere.
    Drained,
    /// We stop watching; answered when the books know.
    Stopped(oneshot::Sender<()>),
}

/// Where the plane notes what it sees.
#[derive(Debug, Clone)]
pub struct ObserverHandle {
    sightings: mpsc::Sender<(Timestamp, Sighting)>,
    overrun: Arc<AtomicBool>,
}

impl ObserverHandle {
    /// Notes a sighting; never waits.
    pub fn note(&self, at: Timestamp, sighting: Sighting) {
        if self.sightings.try_send((at, sighting)).is_err() {
            self.overrun.store(true, Ordering::Release);
        }
    }
}

/// Tells the books what was seen.
pub struct Observer {
    sightings: mpsc::Receiver<(Timestamp, Sighting)>,
    overrun: Arc<AtomicBool>,
    books: BooksHandle,
    clock: Arc<dyn Clock>,
    replica: ClientId,
    watch: Watch,
    epoch: u64,
    /// Nodes that joined and that the books have not heard of since.
    unsaid: BTreeMap<NodeId, NodeSeen>,
}

/// Begins to observe, as one replica. The caller runs [`Observer::run`].
pub fn open(
    books: BooksHandle,
    clock: Arc<dyn Clock>,
    replica: ClientId,
    reach: Reach,
) -> (ObserverHandle, Observer) {
    let (sender, sightings) = mpsc::channel(QUEUE_MAX);
    let overrun = Arc::new(AtomicBool::new(false));
    let watch = Watch::new(reach, clock.now());
    let handle = ObserverHandle {
        sightings: sender,
        overrun: Arc::clone(&overrun),
    };
    let observer = Observer {
        sightings,
        overrun,
        books,
        clock,
        replica,
        watch,
        epoch: 0,
        unsaid: BTreeMap::new(),
    };
    (handle, observer)
}

impl Observer {
    /// Works until it is told to stop or every handle is gone.
    pub async fn run(mut self) {
        self.tell().await;
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while self.sightings.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let mut stopped = None;
            if self.overrun.swap(false, Ordering::AcqRel) {
                tracing::warn!(event = "observer_overrun");
                self.watch.restart(self.clock.now());
            }
            for (at, sighting) in batch.drain(..) {
                stopped = self.take(at, sighting).or(stopped);
            }
            self.tell().await;
            if let Some(stopped) = stopped {
                let _nobody_waits = stopped.send(()).is_err();
                return;
            }
        }
    }

    fn take(&mut self, at: Timestamp, sighting: Sighting) -> Option<oneshot::Sender<()>> {
        let watch = &mut self.watch;
        match sighting {
            Sighting::Joined(node, first, seen) => {
                self.unsaid.insert(node.id().clone(), *seen);
                watch.attested(&node, first, at);
            }
            Sighting::Reattested(node) => watch.attested(&node, FirstPass::AttestationOnly, at),
            Sighting::Passed(node) => watch.passed(&node, at),
            Sighting::Failed(node) => watch.failed(&node, at),
            Sighting::Rejected(node) => watch.rejected(&node, at),
            Sighting::Waits(node, dependency) => watch.waiting(&node, dependency, at),
            Sighting::Left(node) => watch.left(&node, at),
            Sighting::Dependency(dependency, state) => watch.dependency(dependency, state, at),
            Sighting::Beat => watch.beat(at),
            Sighting::Drained => watch.drained(at),
            Sighting::Stopped(reply) => {
                watch.stopped(at);
                return Some(reply);
            }
        }
        None
    }

    /// Tells the books all there is to tell; if they did not take something, a new epoch begins
    /// with the next sighting.
    async fn tell(&mut self) {
        let Some(commands) = self.commands().await else {
            return self.lost("busy");
        };
        let replies = self.books.submit_facts(commands).await;
        match verdict(&replies) {
            Told::All => self.unsaid.clear(),
            Told::Over => self.lost("epoch_over"),
            Told::Not(SubmitError::Closed) => {}
            Told::Not(error) => self.lost(&error.to_string()),
        }
    }

    fn lost(&mut self, why: &str) {
        tracing::warn!(event = "observer_restarts", epoch = self.epoch, why);
        self.watch.restart(self.clock.now());
    }

    /// What is to be told: joins first, for the books cover no node that they do not know.
    async fn commands(&mut self) -> Option<Vec<Submission>> {
        let unsaid = self.unsaid.values().cloned().map(Command::NodeSeen);
        let mut commands: Vec<Submission> = unsaid.map(by_us).collect();
        while let Some(notice) = self.watch.poll() {
            if let Notice::Start { .. } = notice {
                let last = self.books.read(|books| books.next_epoch()).await.ok()?;
                self.epoch = last.0.max(self.epoch + 1);
            }
            commands.push(by_us(self.command(notice)));
        }
        Some(commands)
    }

    fn command(&self, notice: Notice) -> Command {
        let epoch = self.epoch;
        match notice {
            Notice::Start { .. } => {
                let replica = self.replica.clone();
                Command::ObserverStart(ObserverStart { epoch, replica })
            }
            Notice::Beat { watermark } => Command::ObserverBeat(ObserverBeat { epoch, watermark }),
            Notice::Drained { at } => Command::Drained(Drained { epoch, at }),
            Notice::Stop { at } => Command::ObserverStop(ObserverStop { epoch, at }),
            Notice::TrackOpen { node, track, at } => Command::TrackOpen(TrackOpen {
                epoch,
                node,
                track,
                at,
            }),
            Notice::TrackClose { node, track, at } => Command::TrackClose(TrackClose {
                epoch,
                node,
                track,
                at,
            }),
            Notice::Breach {
                node,
                breach: cause,
                at,
            } => Command::Breach(Breach {
                epoch,
                node,
                cause,
                at,
            }),
            Notice::Waiting {
                node,
                dependency,
                at,
            } => Command::Waiting(Waiting {
                epoch,
                node,
                dependency,
                at,
            }),
            Notice::Dependency {
                dependency,
                state: DependencyState::Down,
                at,
            } => Command::DependencyDown(DependencyDown {
                epoch,
                dependency,
                at,
            }),
            Notice::Dependency {
                dependency,
                state: DependencyState::Up,
                at,
            } => Command::DependencyUp(DependencyUp {
                epoch,
                dependency,
                at,
            }),
        }
    }
}

enum Told {
    All,
    Over,
    Not(SubmitError),
}

/// What became of a round of facts.
fn verdict(replies: &[Result<Reply, SubmitError>]) -> Told {
    let mut told = Told::All;
    for reply in replies {
        match reply {
            Ok(Reply {
                outcome: Ok(Outcome::EpochOver),
                ..
            }) => told = Told::Over,
            Ok(_) => {}
            Err(error) => return Told::Not(*error),
        }
    }
    told
}

fn by_us(command: Command) -> Submission {
    Submission {
        principal: Principal::System,
        key: None,
        command,
    }
}
