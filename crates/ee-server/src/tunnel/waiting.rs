//! Requests that no tunnel can take at the moment (ROUTING 3, "no credit anywhere").
//!
//! A credit that is given back calls the newest request of its app: under overload some are
//! answered in time, where the oldest first would let all of them wait until they are late. Who
//! is not called looks again by himself, for tunnels also come and grow.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ee_protocol::{names::AppName, time::Timestamp};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

/// Requests of one app that wait for a credit; past it the oldest is turned away (ROUTING 3).
const WAITING_PER_APP_MAX: usize = 256;
/// Requests that wait while agents come back after a restart: as many as the kernel queues for us.
const RETURNING_MAX: usize = 4_096;
/// Time that a credit may take (ROUTING 3): a fraction of what people notice.
const CREDIT_WITHIN: Duration = Duration::from_millis(100);
/// Time from the start of this process in which agents come back: those that were asked to spread
/// over 15 s, and 5 s to be attested (TUNNEL 11).
const RETURN_WITHIN: Duration = Duration::from_secs(20);
/// Who is not called looks for new tunnels this often.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// A credit, or a tunnel that was lost a moment ago.
    Credit,
    /// The agents, which have not come back since this process started.
    Return,
}

/// An app, as the room knows it. Two of one key would only wake each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppKey(u64);

/// The waiting requests of a process.
#[derive(Debug)]
pub struct WaitingRoom {
    started: Timestamp,
    opened: Instant,
    names: RandomState,
    apps: Mutex<BTreeMap<AppKey, Vec<Waiter>>>,
    /// All of them: nobody takes the lock for an empty room.
    count: AtomicUsize,
    next: AtomicU64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    call: oneshot::Sender<()>,
}

/// A place in the room, given up when it is dropped.
struct Place<'room> {
    room: &'room WaitingRoom,
    key: AppKey,
    id: u64,
    called: oneshot::Receiver<()>,
}

impl WaitingRoom {
    /// An empty room of a process that began now.
    pub fn new(started: Timestamp) -> Self {
        Self {
            started,
            opened: Instant::now(),
            names: RandomState::new(),
            apps: Mutex::default(),
            count: AtomicUsize::new(0),
            next: AtomicU64::new(0),
        }
    }

    /// When this process began.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// The key of an app.
    pub fn key(&self, app: &AppName) -> AppKey {
        AppKey(self.names.hash_one(app.as_str()))
    }

    /// Tries until it succeeds, or nothing more is to be hoped for.
    pub async fn retry<T>(
        &self,
        key: AppKey,
        patience: Patience,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let until = match patience {
            Patience::Credit => Instant::now() + CREDIT_WITHIN,
            Patience::Return => self.opened + RETURN_WITHIN,
        };
        // First the place, then the look: what comes free in between calls us.
        let mut place = self.enter(key, patience)?;
        loop {
            if let Some(taken) = attempt() {
                return Some(taken);
            }
            if Instant::now() >= until {
                return None;
            }
            let look_again = until.min(Instant::now() + LOOK_EVERY);
            match timeout_at(look_again, &mut place.called).await {
                // Somebody may be faster.
                Ok(Ok(())) => place = self.enter(key, patience)?,
                Ok(Err(_turned_away)) => return None,
                Err(_not_called) => {}
            }
        }
    }

    /// Tells that a request of the app has ended: the newest that waits may have its credit.
    pub fn released(&self, key: AppKey) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut apps = self.lock();
        while let Some(newest) = apps.get_mut(&key).and_then(Vec::pop) {
            self.count.fetch_sub(1, Ordering::AcqRel);
            if newest.call.send(()).is_ok() {
                return;
            }
        }
    }

    fn enter(&self, key: AppKey, patience: Patience) -> Option<Place<'_>> {
        let (call, called) = oneshot::channel();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut apps = self.lock();
        let total = self.count.load(Ordering::Acquire);
        let waiting = apps.entry(key).or_default();
        match patience {
            Patience::Return if total >= RETURNING_MAX => return None,
            Patience::Credit if waiting.len() >= WAITING_PER_APP_MAX => drop(waiting.remove(0)),
            Patience::Return | Patience::Credit => {
                self.count.fetch_add(1, Ordering::AcqRel);
            }
        }
        waiting.push(Waiter { id, call });
        Some(Place {
            room: self,
            key,
            id,
            called,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppKey, Vec<Waiter>>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut apps = self.room.lock();
        let Some(waiting) = apps.get_mut(&self.key) else {
            return;
        };
        // Ids rise, and those in the middle leave without changing the order.
        if let Ok(at) = waiting.binary_search_by_key(&self.id, |waiter| waiter.id) {
            waiting.remove(at);
            self.room.count.fetch_sub(1, Ordering::AcqRel);
        }
        if waiting.is_empty() {
            apps.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::{join, join_all};

    use super::*;

    fn room() -> (WaitingRoom, AppKey) {
        let room = WaitingRoom::new(Timestamp::EPOCH);
        let key = room.key(&"hello".parse().expect("a name"));
        (room, key)
    }

    fn is_empty(room: &WaitingRoom) -> bool {
        room.count.load(Ordering::Acquire) == 0 && room.lock().is_empty()
    }

    #[tokio::test(start_paused = true)]
    async fn a_credit_given_back_calls_who_waits() {
        let (room, key) = room();
        let free = Cell::new(false);
        let began = Instant::now();
        let waiting = room.retry(key, Patience::Credit, || free.get().then_some(()));
        let give_back = async {
            tokio::time::sleep(Duration::from_millis(7)).await;
            free.set(true);
            room.released(key);
        };
        let (taken, ()) = join(waiting, give_back).await;
        assert!(taken.is_some());
        assert_eq!(began.elapsed(), Duration::from_millis(7), "at once");
        assert!(is_empty(&room));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_he_may() {
        let (room, key) = room();
        for (patience, within) in [
            (Patience::Credit, CREDIT_WITHIN),
            (Patience::Return, RETURN_WITHIN - CREDIT_WITHIN),
            (Patience::Return, Duration::ZERO),
        ] {
            let began = Instant::now();
            assert!(room.retry(key, patience, || None::<()>).await.is_none());
            assert_eq!(began.elapsed(), within);
        }
        assert!(is_empty(&room));
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_is_served_first_and_the_oldest_turned_away() {
        let (room, key) = room();
        let free = Cell::new(0_u32);
        let served = std::cell::RefCell::new(Vec::new());
        let number = WAITING_PER_APP_MAX + 1;
        let all = join_all((0..number).map(|at| {
            let (room, free, served) = (&room, &free, &served);
            async move {
                let attempt = || free.get().checked_sub(1).map(|left| free.set(left));
                let taken = room.retry(key, Patience::Credit, attempt).await;
                if taken.is_some() {
                    served.borrow_mut().push(at);
                }
                Instant::now()
            }
        }));
        let began = Instant::now();
        let release = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            for _ in 0..3 {
                free.set(1);
                room.released(key);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let (ends, ()) = join(all, release).await;
        assert_eq!(served.into_inner(), [number - 1, number - 2, number - 3]);
        assert_eq!(ends[0], began, "the oldest has left at once");
        assert!(is_empty(&room));
    }
}
