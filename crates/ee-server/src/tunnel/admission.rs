//! Places for sessions that are not attested yet (TUNNEL 10).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ee_core::slots::{Counted, PendingSessions, TooManyPending};

use super::turnstile::Ticket;

/// The places of one process; clones share them.
#[derive(Clone, Default)]
pub(super) struct Admissions(Arc<Mutex<PendingSessions>>);

impl Admissions {
    /// Takes a place, held until the guard is dropped.
    pub(super) fn enter(&self, ip: IpAddr, counted: Counted) -> Result<Place, TooManyPending> {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.enter(ip, counted)?;
        Ok(Place {
            admissions: self.clone(),
            ip,
            counted,
            ticket: Arc::default(),
        })
    }

    /// Places that are taken.
    pub(super) fn count(&self) -> u32 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .total()
    }
}

/// A place that is held.
pub(super) struct Place {
    admissions: Admissions,
    ip: IpAddr,
    counted: Counted,
    ticket: Arc<Ticket>,
}

impl Place {
    /// What its holder's steps are let in by.
    pub(super) fn ticket(&self) -> Arc<Ticket> {
        Arc::clone(&self.ticket)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ticket.pass();
        let mut pending = self
            .admissions
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        pending.leave(self.ip, self.counted);
    }
}

#[cfg(test)]
mod tests {
    use ee_core::slots::PENDING_PER_IP_MAX;

    use super::*;

    #[test]
    fn the_65th_stranger_of_an_address_is_refused_until_one_leaves() {
        let admissions = Admissions::default();
        let ip = IpAddr::from([203, 0, 113, 7]);
        let enter = || admissions.enter(ip, Counted::Yes);
        let mut held: Vec<Place> = (0..PENDING_PER_IP_MAX)
            .map(|_| enter().expect("a free place"))
            .collect();
        assert!(enter().is_err());
        assert!(
            admissions
                .enter(IpAddr::from([203, 0, 113, 8]), Counted::Yes)
                .is_ok()
        );
        held.pop();
        assert!(enter().is_ok());
    }
}
