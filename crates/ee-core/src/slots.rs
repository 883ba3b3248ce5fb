//! How many strangers may wait to be attested: counts per address and in all (TUNNEL 10, 11).

use std::{collections::BTreeMap, net::IpAddr};

/// Un-attested sessions of one client address: a host with many agents fits, and one address
/// cannot fill the table of all.
pub const PENDING_PER_IP_MAX: u32 = 64;
/// Un-attested sessions of the process: each may hold 2 MiB of text while its challenge is open,
/// which attestation slots bound further; this bounds sockets and timers.
pub const PENDING_MAX: u32 = 16_384;

/// Too many sessions wait: `503 too_many_pending`, before the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many agents wait to be attested")]
pub struct TooManyPending;

/// Whether an address counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It does.
    Yes,
    /// Loopback and trusted proxies do not count per address, only in all.
    InTotalOnly,
}

/// Sessions that have not been attested yet.
#[derive(Debug, Clone, Default)]
pub struct PendingSessions {
    total: u32,
    by_ip: BTreeMap<IpAddr, u32>,
}

impl PendingSessions {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self {
            total: 0,
            by_ip: BTreeMap::new(),
        }
    }

    /// Takes a place.
    pub fn enter(&mut self, ip: IpAddr, counted: Counted) -> Result<(), TooManyPending> {
        if self.total >= PENDING_MAX {
            return Err(TooManyPending);
        }
        if counted == Counted::Yes {
            let held = self.by_ip.get(&ip).copied().unwrap_or(0);
            if held >= PENDING_PER_IP_MAX {
                return Err(TooManyPending);
            }
            self.by_ip.insert(ip, held + 1);
        }
        self.total += 1;
        Ok(())
    }

    /// Gives a place back: once for every success of [`PendingSessions::enter`].
    pub fn leave(&mut self, ip: IpAddr, counted: Counted) {
        assert!(self.total > 0, "a place is given back once");
        self.total -= 1;
        if counted == Counted::InTotalOnly {
            return;
        }
        match self.by_ip.get(&ip).copied() {
            Some(held) if held > 1 => {
                self.by_ip.insert(ip, held - 1);
            }
            Some(_) | None => {
                self.by_ip.remove(&ip);
            }
        }
    }

    /// How many wait.
    pub const fn total(&self) -> u32 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn one_address_holds_64_places() {
        let mut pending = PendingSessions::new();
        for _ in 0..PENDING_PER_IP_MAX {
            assert_eq!(pending.enter(ip(1), Counted::Yes), Ok(()));
        }
        assert_eq!(pending.enter(ip(1), Counted::Yes), Err(TooManyPending));
        assert_eq!(pending.enter(ip(2), Counted::Yes), Ok(()));
        assert_eq!(pending.enter(ip(1), Counted::InTotalOnly), Ok(()));
        pending.leave(ip(1), Counted::Yes);
        assert_eq!(pending.enter(ip(1), Counted::Yes), Ok(()));
    }

    #[test]
    fn exempt_addresses_still_fill_the_process() {
        let mut pending = PendingSessions::new();
        for _ in 0..PENDING_MAX {
            assert_eq!(pending.enter(ip(1), Counted::InTotalOnly), Ok(()));
        }
        assert_eq!(pending.enter(ip(2), Counted::Yes), Err(TooManyPending));
        pending.leave(ip(1), Counted::InTotalOnly);
        assert_eq!(pending.total(), PENDING_MAX - 1);
    }
}
