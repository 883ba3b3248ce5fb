//! The line against a list of what has become of each request.

use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait(u64),
    /// So many requests, one after the other.
    Ask(usize),
    GiveUp(usize),
    /// The driver looks whether a text may leave.
    Look,
    /// An answer to this request, asked or not.
    Answer(usize),
    Leave,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u64..9).prop_map(Step::Wait),
        5 => (1_usize..4).prop_map(Step::Ask),
        1 => Just(Step::Ask(40)),
        2 => (0_usize..150).prop_map(Step::GiveUp),
        5 => Just(Step::Look),
        5 => (0_usize..150).prop_map(Step::Answer),
        1 => Just(Step::Leave),
    ]
}

/// What has become of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Waits(u64),
    /// With the agent.
    Asked(u64),
    /// With the agent, and nobody waits for it.
    Deserted(u64),
    Told(Answer),
    Over,
}

#[derive(Default)]
struct Model {
    fates: Vec<Fate>,
    leaving: bool,
}

impl Model {
    fn ask(&mut self, now: u64) {
        let waits = self
            .fates
            .iter()
            .filter(|fate| matches!(fate, Fate::Waits(_)));
        self.fates.push(match waits.count() < 64 {
            true => Fate::Waits(now + 15),
            false => Fate::Told(Err(LegacyError::QueueFull)),
        });
    }

    fn give_up(&mut self, number: usize) {
        if let Some(fate) = self.fates.get_mut(number) {
            *fate = match *fate {
                Fate::Asked(until) | Fate::Deserted(until) => Fate::Deserted(until),
                Fate::Waits(_) | Fate::Told(_) | Fate::Over => Fate::Over,
            };
        }
    }

    /// The request whose text leaves now.
    fn look(&mut self, now: u64) -> Option<usize> {
        for fate in &mut self.fates {
            match *fate {
                Fate::Waits(until) | Fate::Asked(until) if until <= now => {
                    *fate = Fate::Told(Err(LegacyError::TimedOut));
                }
                Fate::Deserted(until) if until <= now => *fate = Fate::Over,
                Fate::Waits(_)
                | Fate::Asked(_)
                | Fate::Deserted(_)
                | Fate::Told(_)
                | Fate::Over => {}
            }
        }
        if self.is_busy() {
            return None;
        }
        let next = self
            .fates
            .iter()
            .position(|fate| matches!(fate, Fate::Waits(_)))?;
        self.fates[next] = Fate::Asked(now + 15);
        Some(next)
    }

    fn is_busy(&self) -> bool {
        let busy = |fate: &Fate| matches!(fate, Fate::Asked(_) | Fate::Deserted(_));
        self.fates.iter().any(busy)
    }

    fn answer(&mut self, number: usize, text: &str) {
        if let Some(fate) = self.fates.get_mut(number) {
            match fate {
                Fate::Asked(_) => *fate = Fate::Told(Ok(text.to_owned())),
                Fate::Deserted(_) => *fate = Fate::Over,
                Fate::Waits(_) | Fate::Told(_) | Fate::Over => {}
            }
        }
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_770_000_000).after(Duration::from_secs(seconds))
}

fn response(number: usize) -> String {
    let id = RequestId(number as u64);
    format!(r#"{{"type":"proxy_response","request_id":"{id}","status":200}}"#)
}

type Asking = futures_util::future::BoxFuture<'static, Answer>;

struct Both {
    handle: LegacyHandle,
    line: LegacyLine,
    asking: Vec<Option<Asking>>,
    model: Model,
    now: u64,
}

impl Both {
    fn new() -> Self {
        let (handle, line) = LegacyLine::new();
        Self {
            handle,
            line,
            asking: Vec::new(),
            model: Model::default(),
            now: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Wait(seconds) => self.now += seconds,
            Step::Ask(count) => (0..count).for_each(|_| self.ask()),
            Step::GiveUp(number) => {
                if let Some(asking) = self.asking.get_mut(number) {
                    *asking = None;
                    self.model.give_up(number);
                }
            }
            Step::Look => {
                let text = self.line.next_text(at(self.now));
                let expected = self.model.look(self.now);
                let expected = expected.map(|number| RequestId(number as u64).to_string());
                assert_eq!(text, expected);
            }
            Step::Answer(number) => {
                assert_eq!(self.line.answer(response(number)), None);
                self.model.answer(number, &response(number));
            }
            Step::Leave => {
                self.line.leave_when_idle();
                self.model.leaving = true;
            }
        }
        self.compare(step);
    }

    fn ask(&mut self) {
        let id = self.handle.new_id();
        let caller = self.handle.clone();
        let asking = async move { caller.request(id, id.to_string()).await };
        let mut asking: Asking = asking.boxed();
        assert_eq!((&mut asking).now_or_never(), None, "answered unheard");
        let now = at(self.now);
        let taken = self.line.take_in(|| now).now_or_never();
        taken.expect("a request has arrived");
        self.asking.push(Some(asking));
        self.model.ask(self.now);
    }

    /// Everybody who was told something was told this, once, and nobody else was.
    fn compare(&mut self, step: Step) {
        for (asking, fate) in self.asking.iter_mut().zip(&mut self.model.fates) {
            let Some(waiting) = asking else {
                continue;
            };
            let told = waiting.now_or_never();
            let expected = match fate {
                Fate::Told(answer) => Some(answer.clone()),
                Fate::Waits(_) | Fate::Asked(_) | Fate::Deserted(_) | Fate::Over => None,
            };
            assert_eq!(told, expected, "after {step:?}");
            if told.is_some() {
                (*asking, *fate) = (None, Fate::Over);
            }
        }
        let idle = self.model.fates.iter().all(|fate| *fate == Fate::Over);
        if self.line.may_leave() {
            assert!(self.model.leaving && idle, "left too early after {step:?}");
        }
        if idle && self.model.leaving && matches!(step, Step::Look) {
            assert!(self.line.may_leave(), "stayed for nobody after {step:?}");
        }
    }
}

proptest! {
    #[test]
    fn callers_are_told_what_the_list_says(steps in prop::collection::vec(step(), 0..150)) {
        let mut both = Both::new();
        for step in steps {
            both.step(step);
        }
    }
}
