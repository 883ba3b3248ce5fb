//! The time that dates of collateral are judged by (ATTESTATION 6): never earlier than any time
//! that was acted on before, so that a clock set back brings nothing expired to life.
//!
//! `now` = the latest of the wall clock, the last time kept in the store, and the newest date of
//! issue ever accepted. A wall clock that lies more than [`BEHIND_MAX`] behind is not trusted at
//! all. A jump ahead is acted on, but kept only once an upstream's own date confirms it: one bad
//! hour must not lock us out for as long.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use ee_core::attestation::{AttestationCode, Failure};
use ee_protocol::{refusal::Refusal, time::Timestamp};
use ee_store::{Store, StoreError};

use crate::ports::Clock;

/// How far a clock may lie behind what it showed before: time servers step by less.
const BEHIND_MAX: Duration = Duration::from_secs(300);
/// A step ahead of the kept time that needs no confirmation: reconcilers run far more often.
const AHEAD_MAX: Duration = Duration::from_secs(3_600);
/// How far our clock may differ from an upstream's date that confirms it.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(300);
/// How far the wall clock may run ahead of the clock that nobody sets (LEDGER 8).
const JUMP_MAX: Duration = Duration::from_secs(300);

/// When the wall clock was last known to be right.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    wall: Timestamp,
    running: Option<Duration>,
    /// At the start the clock stood far ahead of what was kept.
    doubtful: bool,
}

/// The wall clock with a floor.
pub(crate) struct TrustedTime {
    clock: Arc<dyn Clock>,
    store: Store,
    /// Nothing before this is believed, in microseconds.
    floor_us: AtomicI64,
    /// What the store holds, in microseconds; 0 if nothing.
    kept_us: AtomicI64,
    anchor: Mutex<Anchor>,
}

impl TrustedTime {
    /// Starts from what the store kept.
    pub(crate) async fn open(clock: Arc<dyn Clock>, store: Store) -> Result<Self, StoreError> {
        let kept = store.clock_mark().await?.unwrap_or(Timestamp::EPOCH);
        let wall = clock.now();
        let anchor = Anchor {
            wall,
            running: clock.running(),
            doubtful: kept != Timestamp::EPOCH && wall > kept.after(AHEAD_MAX),
        };
        Ok(Self {
            anchor: Mutex::new(anchor),
            clock,
            store,
            floor_us: AtomicI64::new(kept.unix_micros()),
            kept_us: AtomicI64::new(kept.unix_micros()),
        })
    }

    /// The time now.
    ///
    /// # Errors
    /// `clock_untrusted`, with both times.
    pub(crate) fn now(&self) -> Result<Timestamp, Failure> {
        let wall = self.clock.now();
        let floor = Timestamp::from_unix_micros(self.floor_us.load(Ordering::Acquire));
        if wall.after(BEHIND_MAX) < floor {
            return Err(untrusted(wall, floor));
        }
        Ok(wall.max(floor))
    }

    /// Whether the clock has jumped ahead since it was last known to be right: then nothing may be
    /// judged that only time has made due, until somebody confirms it.
    pub(crate) fn has_jumped_ahead(&self) -> bool {
        let anchor = *self
            .anchor
            .lock()
            .expect("nothing panics while it holds this");
        let passed = anchor.running.zip(self.clock.running());
        let passed = passed.map(|(then, now)| now.saturating_sub(then));
        let expected = passed.map(|passed| anchor.wall.after(passed).after(JUMP_MAX));
        anchor.doubtful || expected.is_some_and(|latest| self.clock.now() > latest)
    }

    /// The wall clock, for schedules: being wrong only moves the next try.
    pub(crate) fn wall(&self) -> Timestamp {
        self.clock.now()
    }

    /// Accepted collateral was issued at `date`: it cannot be earlier now.
    pub(crate) fn raise_floor(&self, date: Timestamp) {
        self.floor_us
            .fetch_max(date.unix_micros(), Ordering::AcqRel);
    }

    /// Keeps the time that has passed since the last call, unless it is a jump.
    pub(crate) async fn keep(&self) -> Result<(), StoreError> {
        let wall = self.clock.now();
        let kept = Timestamp::from_unix_micros(self.kept_us.load(Ordering::Acquire));
        if wall <= kept || wall > kept.after(AHEAD_MAX) {
            return Ok(());
        }
        self.persist(wall).await
    }

    /// An upstream's own date confirms the clock, and with it any jump.
    pub(crate) async fn confirm(&self, upstream: Timestamp) -> Result<(), StoreError> {
        let wall = self.clock.now();
        let apart = wall.since(upstream).max(upstream.since(wall));
        if apart > CONFIRMED_WITHIN {
            return Ok(());
        }
        self.persist(wall).await?;
        *self
            .anchor
            .lock()
            .expect("nothing panics while it holds this") = Anchor {
            wall,
            running: self.clock.running(),
            doubtful: false,
        };
        Ok(())
    }

    async fn persist(&self, wall: Timestamp) -> Result<(), StoreError> {
        self.store.raise_clock_mark(wall).await?;
        self.kept_us.fetch_max(wall.unix_micros(), Ordering::AcqRel);
        self.raise_floor(wall);
        Ok(())
    }
}

fn untrusted(wall: Timestamp, floor: Timestamp) -> Failure {
    let code = AttestationCode::ClockUntrusted;
    let hint = "the operator sets the control plane's clock (time synchronisation); agents need \
                do nothing and are asked again";
    let row = Refusal::new(code.as_str(), "clock of the control plane", hint)
        .compared(format!("not before {floor}"), wall.to_string());
    Failure::new(code).explained(row)
}
