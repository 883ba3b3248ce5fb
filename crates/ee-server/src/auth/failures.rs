//! Counts wrong tokens per address: ten a minute, then waits that double up to 15 minutes.
//!
//! Only failures are slowed: whoever has a correct token never meets this.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use ee_protocol::time::Timestamp;

/// Wrong tokens that one address may send in a window: a person mistyping stays below.
const FAILURES_MAX: u32 = 10;
/// The window.
const WINDOW: Duration = Duration::from_secs(60);
/// First wait; it doubles with each further burst.
const WAIT_MIN: Duration = Duration::from_secs(60);
/// Longest wait. After as long without a wait the address starts anew.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// Addresses remembered at once, about 8 MiB; beyond that the oldest window is forgotten.
const ADDRESSES_MAX: usize = 65_536;

/// Addresses looked at to find one that can be forgotten: a flood of new addresses must not buy a
/// walk through all of them with each wrong token.
const LOOKED_AT_MAX: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Record {
    window_began: Timestamp,
    failures: u32,
    refused_until: Timestamp,
    wait: Duration,
}

/// The failures of all addresses.
#[derive(Debug, Default)]
pub struct FailureLimiter {
    records: BTreeMap<IpAddr, Record>,
}

impl FailureLimiter {
    /// Counts a failure; `Some(wait)` if the address has had too many.
    pub fn failed(&mut self, address: IpAddr, now: Timestamp) -> Option<Duration> {
        let address = neighbourhood(address);
        self.make_room(address);
        let fresh = Record {
            window_began: now,
            failures: 0,
            refused_until: Timestamp::EPOCH,
            wait: Duration::ZERO,
        };
        let record = self.records.entry(address).or_insert(fresh);
        if now < record.refused_until {
            return Some(record.refused_until.since(now));
        }
        if now >= record.window_began.after(WINDOW) {
            record.window_began = now;
            record.failures = 0;
        }
        if now >= record.refused_until.after(WAIT_MAX) {
            record.wait = Duration::ZERO;
        }
        record.failures += 1;
        if record.failures <= FAILURES_MAX {
            return None;
        }
        record.failures = 0;
        record.wait = (record.wait * 2).clamp(WAIT_MIN, WAIT_MAX);
        record.refused_until = now.after(record.wait);
        Some(record.wait)
    }

    /// Forgets the oldest of a few addresses around the new one, in the order of addresses. Whose
    /// neighbours an attacker chooses he can make forget, at the price of as many addresses.
    fn make_room(&mut self, address: IpAddr) {
        if self.records.len() < ADDRESSES_MAX || self.records.contains_key(&address) {
            return;
        }
        let after = self.records.range(address..);
        let around = after.chain(self.records.iter()).take(LOOKED_AT_MAX);
        let oldest = around.min_by_key(|(_, record)| record.window_began);
        if let Some(oldest) = oldest.map(|(address, _)| *address) {
            self.records.remove(&oldest);
        }
    }
}

/// An IPv4 address, or the /64 of an IPv6 address: one customer has a whole /64.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_000_000 + seconds)
    }

    fn burst(limiter: &mut FailureLimiter, address: &str, second: i64) -> Option<Duration> {
        let address = address.parse().expect("address");
        (0..=FAILURES_MAX).fold(None, |_, _| limiter.failed(address, at(second)))
    }

    #[test]
    fn waits_double_up_to_fifteen_minutes() {
        let mut limiter = FailureLimiter::default();
        let mut second = 0;
        for wanted in [60, 120, 240, 480, 900, 900] {
            let wait = burst(&mut limiter, "203.0.113.1", second).expect("refused");
            assert_eq!(wait.as_secs(), wanted);
            second += i64::try_from(wanted).expect("small");
        }
    }

    #[test]
    fn ten_failures_a_minute_are_forgiven() {
        let mut limiter = FailureLimiter::default();
        let address = "203.0.113.1".parse().expect("address");
        for second in (0..600).step_by(6) {
            assert_eq!(limiter.failed(address, at(second)), None, "second {second}");
        }
    }

    #[test]
    fn a_whole_ipv6_network_counts_as_one() {
        let mut limiter = FailureLimiter::default();
        for host in 1..=10 {
            let address = format!("2001:db8::{host}").parse().expect("address");
            assert_eq!(limiter.failed(address, at(0)), None);
        }
        let neighbour = "2001:db8::ffff".parse().expect("address");
        assert!(limiter.failed(neighbour, at(0)).is_some());
        let stranger = "2001:db8:0:1::1".parse().expect("address");
        assert_eq!(limiter.failed(stranger, at(0)), None);
    }

    #[test]
    fn a_full_table_makes_room_without_a_walk_and_stays_full() {
        let mut limiter = FailureLimiter::default();
        let address = |number: usize| {
            let number = u32::try_from(number).expect("small");
            IpAddr::from(number.to_be_bytes())
        };
        for number in 0..ADDRESSES_MAX {
            limiter.failed(address(number), at(0));
        }
        // Without a bound these would take minutes.
        for number in ADDRESSES_MAX..ADDRESSES_MAX * 4 {
            limiter.failed(address(number), at(1));
        }
        assert_eq!(limiter.records.len(), ADDRESSES_MAX);
        assert!(
            limiter
                .records
                .contains_key(&address(ADDRESSES_MAX * 4 - 1))
        );
    }
}
