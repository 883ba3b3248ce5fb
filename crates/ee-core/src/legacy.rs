//! The queue in front of an agent that works off one request after another (TUNNEL 7).
//!
//! One request is with the agent; others wait in order of arrival. Each may wait 15 s, and the
//! agent then has 15 s. A request that was given up leaves its place at once, but the agent still
//! works on it: the next one goes out when that one is answered or its time is over. Challenges
//! do not pass through here, so they overtake everything that waits.
//!
//! **Invariants.** At most one request is with the agent. Requests are sent in the order in which
//! they came. Each leaves the queue exactly once: answered, expired, given up or at the end.
//! Nothing is sent after its time.

use std::{collections::VecDeque, fmt, time::Duration};

use ee_protocol::time::Timestamp;

/// Requests that may wait for an agent: at 15 s each no more than a few are ever served in time,
/// and their bodies, up to 4 MiB of text, are held in memory.
pub const WAITING_MAX: u32 = 64;
/// Time in the queue.
pub const WAIT_MAX: Duration = Duration::from_secs(15);
/// Time from sending to the answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Requests that an agent may be given: one at work and the queue.
pub const CREDITS: u32 = WAITING_MAX + 1;

/// `request_id`: a number of the session, on the wire 24 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:024x}", self.0)
    }
}

#[derive(Debug)]
struct Entry<T> {
    id: RequestId,
    until: Timestamp,
    item: T,
}

/// Requests of one session; `T` is what the shell knows of each.
#[derive(Debug)]
pub struct LegacyQueue<T> {
    sent: Option<Entry<T>>,
    waiting: VecDeque<Entry<T>>,
}

impl<T> Default for LegacyQueue<T> {
    fn default() -> Self {
        Self {
            sent: None,
            waiting: VecDeque::new(),
        }
    }
}

impl<T> LegacyQueue<T> {
    /// Queues a request.
    ///
    /// # Errors
    /// Gives it back when the queue is full.
    pub fn push(&mut self, now: Timestamp, id: RequestId, item: T) -> Result<(), T> {
        if self.waiting.len() >= WAITING_MAX as usize {
            return Err(item);
        }
        let until = now.after(WAIT_MAX);
        self.waiting.push_back(Entry { id, until, item });
        Ok(())
    }

    /// The next request to send, if the agent is free; its time to answer begins. `None` while
    /// [`Self::expired`] still has something to give.
    pub fn send_next(&mut self, now: Timestamp) -> Option<&mut T> {
        if self.sent.is_some() || self.waiting.front()?.until <= now {
            return None;
        }
        let mut entry = self.waiting.pop_front()?;
        entry.until = now.after(ANSWER_MAX);
        Some(&mut self.sent.insert(entry).item)
    }

    /// An answer came; whose it is. `None` for an id that is not with the agent (any more).
    pub fn answered(&mut self, id: &str) -> Option<T> {
        let entry = self.sent.take_if(|entry| entry.id.to_string() == id)?;
        Some(entry.item)
    }

    /// A request whose time is over; call it until it gives none.
    pub fn expired(&mut self, now: Timestamp) -> Option<T> {
        let late = |entry: &mut Entry<T>| entry.until <= now;
        if let Some(entry) = self.sent.take_if(late) {
            return Some(entry.item);
        }
        self.waiting.pop_front_if(late).map(|entry| entry.item)
    }

    /// Drops the waiting requests that nobody wants any more.
    pub fn retain(&mut self, mut wanted: impl FnMut(&T) -> bool) {
        self.waiting.retain(|entry| wanted(&entry.item));
    }

    /// When [`Self::expired`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let sent = self.sent.as_ref().map(|entry| entry.until);
        let waiting = self.waiting.front().map(|entry| entry.until);
        sent.into_iter().chain(waiting).min()
    }

    /// Whether no request is with the agent and none waits.
    pub fn is_idle(&self) -> bool {
        self.sent.is_none() && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(1_770_000_000).after(Duration::from_secs(seconds))
    }

    #[test]
    fn ids_are_24_lower_case_digits() {
        assert_eq!(RequestId(42).to_string(), "00000000000000000000002a");
        assert_eq!(RequestId(u64::MAX).to_string().len(), 24);
    }

    #[test]
    fn one_request_at_a_time_in_order() {
        let mut queue = LegacyQueue::default();
        for number in 0..3 {
            queue.push(at(0), RequestId(number), number).unwrap();
        }
        assert_eq!(queue.send_next(at(1)), Some(&mut 0));
        assert_eq!(queue.send_next(at(1)), None, "the agent is busy");
        assert_eq!(queue.answered(&RequestId(1).to_string()), None, "not sent");
        assert_eq!(queue.answered(&RequestId(0).to_string()), Some(0));
        assert_eq!(queue.answered(&RequestId(0).to_string()), None, "once");
        assert_eq!(queue.send_next(at(1)), Some(&mut 1));
    }

    #[test]
    fn the_sixty_fifth_waiting_request_is_refused() {
        let mut queue = LegacyQueue::default();
        for number in 0..64 {
            queue.push(at(0), RequestId(number), number).unwrap();
        }
        assert_eq!(queue.push(at(0), RequestId(64), 64), Err(64));
        queue.send_next(at(0));
        assert_eq!(queue.push(at(0), RequestId(64), 64), Ok(()));
    }

    #[test]
    fn waiting_and_answering_take_15_seconds_each_at_most() {
        let mut queue = LegacyQueue::default();
        queue.push(at(0), RequestId(0), 0).unwrap();
        queue.push(at(0), RequestId(1), 1).unwrap();
        queue.send_next(at(10));
        assert_eq!(queue.poll_timeout(), Some(at(15)));
        assert_eq!(queue.expired(at(14)), None);
        assert_eq!(queue.expired(at(15)), Some(1), "never sent");
        assert_eq!(queue.poll_timeout(), Some(at(25)));
        assert_eq!(queue.expired(at(25)), Some(0), "never answered");
        assert!(queue.is_idle() && queue.poll_timeout().is_none());
    }

    #[test]
    fn nothing_is_sent_after_its_time() {
        let mut queue = LegacyQueue::default();
        queue.push(at(0), RequestId(0), 0).unwrap();
        assert_eq!(queue.send_next(at(15)), None);
        assert_eq!(queue.expired(at(15)), Some(0));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Push,
        Send,
        Answer(usize),
        Expire,
        GiveUp(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => (0_u64..9).prop_map(Step::Wait),
            5 => Just(Step::Push),
            3 => Just(Step::Send),
            3 => (0_usize..200).prop_map(Step::Answer),
            2 => Just(Step::Expire),
            1 => (0_usize..200).prop_map(Step::GiveUp),
        ]
    }

    /// What each request is, by its number; the plainest account of the rules.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Fate {
        Waiting(u64),
        Sent(u64),
        Gone,
    }

    #[derive(Default)]
    struct Model(Vec<Fate>);

    impl Model {
        fn first(&self, pick: impl Fn(Fate) -> bool) -> Option<usize> {
            self.0.iter().position(|fate| pick(*fate))
        }

        fn waiting(&self) -> usize {
            let waiting = |fate: &&Fate| matches!(fate, Fate::Waiting(_));
            self.0.iter().filter(waiting).count()
        }

        fn send(&mut self, now: u64) -> Option<usize> {
            let first = self.first(|fate| matches!(fate, Fate::Waiting(_)))?;
            let busy = self.first(|fate| matches!(fate, Fate::Sent(_))).is_some();
            let late = matches!(self.0[first], Fate::Waiting(until) if until <= now);
            if busy || late {
                return None;
            }
            self.0[first] = Fate::Sent(now + 15);
            Some(first)
        }

        fn expire(&mut self, now: u64) -> Option<usize> {
            let late = |fate| matches!(fate, Fate::Sent(until) if until <= now);
            let waited = |fate| matches!(fate, Fate::Waiting(until) if until <= now);
            let number = self.first(late).or_else(|| self.first(waited))?;
            self.0[number] = Fate::Gone;
            Some(number)
        }
    }

    proptest! {
        #[test]
        fn the_queue_follows_the_model(steps in prop::collection::vec(step(), 0..300)) {
            let (mut queue, mut model, mut now) = (LegacyQueue::default(), Model::default(), 0);
            for step in steps {
                match step {
                    Step::Wait(seconds) => now += seconds,
                    Step::Push => {
                        let number = model.0.len();
                        let full = model.waiting() >= WAITING_MAX as usize;
                        let pushed = queue.push(at(now), RequestId(number as u64), number);
                        prop_assert_eq!(pushed.is_err(), full);
                        model.0.push(if full { Fate::Gone } else { Fate::Waiting(now + 15) });
                    }
                    Step::Send => {
                        let sent = queue.send_next(at(now)).map(|number| *number);
                        prop_assert_eq!(sent, model.send(now));
                    }
                    Step::Answer(number) => {
                        let answered = queue.answered(&RequestId(number as u64).to_string());
                        let with_agent = matches!(model.0.get(number), Some(Fate::Sent(_)));
                        prop_assert_eq!(answered, with_agent.then_some(number));
                        if with_agent {
                            model.0[number] = Fate::Gone;
                        }
                    }
                    Step::Expire => prop_assert_eq!(queue.expired(at(now)), model.expire(now)),
                    Step::GiveUp(number) => {
                        queue.retain(|item| *item != number);
                        if let Some(fate @ Fate::Waiting(_)) = model.0.get_mut(number) {
                            *fate = Fate::Gone;
                        }
                    }
                }
                let live = model.first(|fate| fate != Fate::Gone);
                prop_assert_eq!(queue.is_idle(), live.is_none());
                let soonest = model.0.iter().filter_map(|fate| match fate {
                    Fate::Waiting(until) | Fate::Sent(until) => Some(at(*until)),
                    Fate::Gone => None,
                });
                prop_assert_eq!(queue.poll_timeout(), soonest.min());
            }
        }
    }
}
