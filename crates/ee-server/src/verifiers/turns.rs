//! Whose job is next: those that serve before newcomers, among newcomers each address in its turn.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use ee_control::ports::Turn;

/// Jobs that wait.
pub(super) struct Turns<T> {
    serving: VecDeque<T>,
    /// Never empty queues.
    newcomers: HashMap<IpAddr, VecDeque<T>>,
    /// Each address of `newcomers` once, the next first.
    addresses: VecDeque<IpAddr>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            serving: VecDeque::new(),
            newcomers: HashMap::new(),
            addresses: VecDeque::new(),
        }
    }
}

impl<T> Turns<T> {
    /// Adds a job behind those of its kind.
    pub(super) fn push(&mut self, turn: Turn, job: T) {
        let address = match turn {
            Turn::Serving => return self.serving.push_back(job),
            Turn::Newcomer(address) => address,
        };
        let jobs = self.newcomers.entry(address).or_default();
        if jobs.is_empty() {
            self.addresses.push_back(address);
        }
        jobs.push_back(job);
    }

    /// The job whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        if let Some(job) = self.serving.pop_front() {
            return Some(job);
        }
        let address = self.addresses.pop_front()?;
        let jobs = self.newcomers.get_mut(&address)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.newcomers.remove(&address);
        } else {
            self.addresses.push_back(address);
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn address(last: u8) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, last))
    }

    #[test]
    fn who_serves_goes_first_and_the_addresses_of_newcomers_take_turns() {
        let mut turns = Turns::default();
        let (crowd, alone, other) = (address(1), address(2), address(3));
        for name in ["crowd 1", "crowd 2", "crowd 3"] {
            turns.push(Turn::Newcomer(crowd), name);
        }
        turns.push(Turn::Newcomer(alone), "alone");
        turns.push(Turn::Serving, "serving 1");
        turns.push(Turn::Serving, "serving 2");
        let mut order = Vec::new();
        for _ in 0..4 {
            order.extend(turns.pop());
        }
        turns.push(Turn::Newcomer(other), "other");
        turns.push(Turn::Serving, "serving 3");
        order.extend(std::iter::from_fn(|| turns.pop()));
        assert_eq!(
            order,
            [
                "serving 1",
                "serving 2",
                "crowd 1",
                "alone",
                "serving 3",
                "crowd 2",
                "other",
                "crowd 3"
            ]
        );
        assert!(turns.newcomers.is_empty() && turns.addresses.is_empty());
    }
}
