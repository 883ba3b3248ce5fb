//! What an attested session says and tells, against a model of flat facts: when silence, renewal
//! and the next challenge are due, and a handful of flags. No states, no line of challenges.
//!
//! The time of the next challenge is drawn at random; the model only knows its bounds.

mod naive;
mod real;

use std::time::Duration;

use ee_protocol::time::Timestamp;
use proptest::prelude::*;

use self::{naive::Naive, real::Real};
use super::{Admission, Stage, rig};
use crate::attestation::Verdict;

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait(u64),
    Junk,
    Register,
    Health(bool),
    Credits(u32),
    AgentDrain,
    Sent,
    Answer {
        right: bool,
        error: bool,
    },
    Verdict {
        stale: bool,
        judged: Judged,
    },
    /// The plane wants to know whether the agent lives.
    Ping,
    Pong,
    HolderAlive,
    Reattest,
    Drain,
    Replaced,
    Shutdown,
    Violation,
    Disconnect,
    /// Answers to questions that were never asked.
    Stray,
}

#[derive(Debug, Clone, Copy)]
enum Judged {
    Pass,
    Fail,
    Unsure,
}

fn step() -> impl Strategy<Value = Step> {
    let waits = vec![
        0, 1, 2, 5, 29, 30, 59, 60, 89, 90, 119, 120, 299, 300, 3_000, 3_600,
    ];
    let judged = prop::sample::select(vec![Judged::Pass, Judged::Unsure, Judged::Fail]);
    let rarely = |step: Step| {
        prop::bool::weighted(0.1).prop_map(move |yes| if yes { step } else { Step::Pong })
    };
    prop_oneof![
        8 => prop::sample::select(waits).prop_map(Step::Wait),
        1 => Just(Step::Junk),
        1 => Just(Step::Register),
        3 => any::<bool>().prop_map(Step::Health),
        1 => (0_u32..3_000).prop_map(Step::Credits),
        1 => Just(Step::AgentDrain),
        4 => Just(Step::Sent),
        8 => (prop::bool::weighted(0.97), prop::bool::weighted(0.15))
            .prop_map(|(right, error)| Step::Answer { right, error }),
        8 => (prop::bool::weighted(0.1), judged)
            .prop_map(|(stale, judged)| Step::Verdict { stale, judged }),
        1 => Just(Step::Ping),
        1 => Just(Step::Pong),
        1 => Just(Step::HolderAlive),
        3 => Just(Step::Reattest),
        1 => Just(Step::Drain),
        1 => rarely(Step::Replaced),
        1 => rarely(Step::Shutdown),
        1 => rarely(Step::Violation),
        1 => rarely(Step::Disconnect),
        1 => Just(Step::Stray),
    ]
}

fn after(seconds: u64) -> Timestamp {
    rig::start().after(Duration::from_secs(seconds))
}

struct Both {
    real: Real,
    naive: Naive,
}

impl Both {
    /// Both attested; the agent is asked to renew after so many seconds.
    fn new(renew: u64) -> Self {
        let mut rig = rig::Rig::new();
        let nonce = rig.challenged();
        rig.answer(&nonce);
        rig.verdict(&nonce, Verdict::Pass(Box::new(rig::result(rig.now))));
        let expires_at = after(renew).after(rig::policy().registration_warn);
        rig.session
            .handle_admission(rig.now, Admission::Joined { expires_at });
        rig.commands();
        let (session, now) = (rig.session, rig.now);
        Self {
            real: Real {
                session,
                now,
                nonce,
            },
            naive: Naive::new(now, renew),
        }
    }

    fn step(&mut self, step: Step) {
        if let Step::Wait(seconds) = step {
            return self.wait(self.naive.later(seconds));
        }
        self.real.step(step);
        self.naive.step(step);
        self.compare(step);
    }

    /// As its shell does, each deadline is met when it comes.
    fn wait(&mut self, end: Timestamp) {
        while let Some(due) = self.real.session.poll_timeout().filter(|due| *due <= end) {
            self.move_to(due);
        }
        self.move_to(end);
    }

    fn move_to(&mut self, now: Timestamp) {
        (self.real.now, self.naive.now) = (now, now);
        self.real.step(Step::Wait(0));
        self.naive.time();
        self.compare(Step::Wait(0));
    }

    fn compare(&mut self, step: Step) {
        let real = self.real.said();
        self.naive.chance(&real);
        let expected = std::mem::take(&mut self.naive.said);
        assert_eq!(real, expected, "after {step:?}");
        let session = &self.real.session;
        assert_eq!(session.stage() == Stage::Closed, self.naive.over);
        assert_eq!(session.text_max_bytes(), self.naive.text_max());
        let timeout = session.poll_timeout();
        if self.naive.over {
            return assert_eq!(timeout, None, "nothing is due any more");
        }
        match (self.naive.next(), self.naive.periodic) {
            (next, None) => assert_eq!(timeout, next, "after {step:?}"),
            (next, Some([from, to])) => {
                let timeout = timeout.expect("a challenge is due");
                let by_chance =
                    (from..=to).contains(&timeout) && next.is_none_or(|at| timeout <= at);
                assert!(Some(timeout) == next || by_chance, "after {step:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn an_attested_session_does_what_the_flat_facts_say(
        renew in prop::sample::select(vec![0, 1, 120, 1_000, 3_500, 1_000_000]),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut both = Both::new(renew);
        both.step(Step::Wait(0));
        for step in steps {
            both.step(step);
        }
    }
}

/// The model reaches what it is about: a day of honest answers, with a change of policy.
#[test]
fn the_model_serves_a_day() {
    let mut both = Both::new(1_000_000);
    let mut passes = 0;
    for second in 0..86_400 {
        both.step(Step::Wait(1));
        match second {
            _ if both.naive.open.is_some() => {
                both.step(Step::Sent);
                both.step(Step::Answer {
                    right: true,
                    error: false,
                });
                passes += 1;
            }
            _ if both.naive.judging.is_some() => both.step(Step::Verdict {
                stale: false,
                judged: Judged::Pass,
            }),
            40_000 => both.step(Step::Reattest),
            _ if second % 30 == 0 => both.step(Step::Health(true)),
            _ => {}
        }
    }
    assert!(!both.naive.over);
    assert!((25..=29).contains(&passes), "{passes}");
}
