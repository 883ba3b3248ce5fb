//! Attestation slots: how many strangers may have a challenge open at once (TUNNEL 11).
//!
//! An open challenge allows 2 MiB of text and costs an appraisal. A registered socket without a
//! slot waits; the session machine bounds that wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Open challenges per core; a quote check takes well under a millisecond of it, so the slots
/// bound memory (128 MiB of text per core at worst), not speed.
const SLOTS_PER_CORE: usize = 64;
/// One address may hold this part of the slots, so that it cannot keep others out.
const PER_IP_PART: usize = 8;

/// The slots of one process. A quarter of the capacity is kept for re-attestation, which asks for
/// none: only the other three quarters are given to newcomers.
pub(super) struct Slots {
    newcomers: Arc<Semaphore>,
    per_ip: usize,
    by_ip: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

/// A slot that is held.
pub(super) struct Slot {
    _own: Option<OwnedSemaphorePermit>,
    _shared: OwnedSemaphorePermit,
}

impl Slots {
    pub(super) fn new(cores: usize) -> Self {
        let all = cores * SLOTS_PER_CORE;
        Self {
            newcomers: Arc::new(Semaphore::new(all - all / 4)),
            per_ip: all / PER_IP_PART,
            by_ip: Mutex::new(HashMap::new()),
        }
    }

    /// Waits for a slot; `ip` is `None` for addresses that stand for many clients.
    pub(super) async fn acquire(&self, ip: Option<IpAddr>) -> Slot {
        let own = match ip {
            Some(ip) => Some(permit(self.of(ip)).await),
            None => None,
        };
        Slot {
            _own: own,
            _shared: permit(Arc::clone(&self.newcomers)).await,
        }
    }

    fn of(&self, ip: IpAddr) -> Arc<Semaphore> {
        let mut by_ip = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = by_ip.get(&ip).and_then(Weak::upgrade) {
            return known;
        }
        // Entries of addresses that hold nothing are dead: dropped before the table grows.
        if by_ip.len() == by_ip.capacity() {
            by_ip.retain(|_, slots| slots.strong_count() > 0);
        }
        let fresh = Arc::new(Semaphore::new(self.per_ip));
        by_ip.insert(ip, Arc::downgrade(&fresh));
        fresh
    }
}

async fn permit(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore
        .acquire_owned()
        .await
        .expect("the semaphore is never closed")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn one_address_gets_an_eighth_and_leaves_room_for_others() {
        let slots = Slots::new(1);
        let (greedy, other) = (
            IpAddr::from([203, 0, 113, 7]),
            IpAddr::from([203, 0, 113, 8]),
        );
        let mut held = Vec::new();
        for _ in 0..SLOTS_PER_CORE / PER_IP_PART {
            held.push(slots.acquire(Some(greedy)).await);
        }
        let ninth = slots.acquire(Some(greedy));
        assert!(
            tokio::time::timeout(Duration::from_millis(20), ninth)
                .await
                .is_err()
        );
        slots.acquire(Some(other)).await;
        held.pop();
        slots.acquire(Some(greedy)).await;
    }
}
