//! What a session tells the plane: in order, one at a time, beside the tunnel's own work.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;

use ee_control::plane::PlaneHandle;
use ee_core::registry::TunnelId;
use ee_core::session::{Admission, Event};

use super::legacy::LegacyHandle;
use super::link::{Link, Way};

type Telling = Pin<Box<dyn Future<Output = Option<Admission>> + Send>>;

/// The queue of one session. Verdicts and ends are as few as challenges; of what an agent may
/// repeat as fast as it likes (heartbeats, credits, drains) only the latest waits. So a session
/// that floods us costs a handful of events, however slowly the plane takes them.
pub(super) struct Reports {
    plane: PlaneHandle<Link>,
    tunnel: TunnelId,
    link: Link,
    waiting: VecDeque<Event>,
    telling: Option<Telling>,
}

impl Reports {
    pub(super) fn new(plane: PlaneHandle<Link>, tunnel: TunnelId, link: Link) -> Self {
        Self {
            plane,
            tunnel,
            link,
            waiting: VecDeque::new(),
            telling: None,
        }
    }

    /// The agent registered as one that takes requests in text. Nothing about it was told before.
    pub(super) fn use_legacy(&mut self, handle: LegacyHandle) {
        self.link.set_way(Way::Legacy(handle));
    }

    pub(super) fn push(&mut self, event: Event) {
        enqueue(&mut self.waiting, event);
    }

    /// Whether the plane knows everything.
    pub(super) fn are_told(&self) -> bool {
        self.waiting.is_empty() && self.telling.is_none()
    }

    /// Tells the plane what waits; resolves with its answer to `Event::Attested`, or when all is
    /// told. Pending while there is nothing. Cancel safe.
    pub(super) async fn tell(&mut self) -> Option<Admission> {
        loop {
            if let Some(telling) = &mut self.telling {
                let answer = telling.await;
                self.telling = None;
                if answer.is_some() || self.waiting.is_empty() {
                    return answer;
                }
            }
            match self.waiting.pop_front() {
                Some(event) => self.telling = Some(self.begin(event)),
                None => return pending().await,
            }
        }
    }

    fn begin(&self, event: Event) -> Telling {
        let (plane, tunnel, link) = (self.plane.clone(), self.tunnel, self.link.clone());
        Box::pin(async move {
            if let Event::Attested(attested) = event {
                return Some(plane.attested(tunnel, link, attested).await);
            }
            plane.emit(tunnel, event).await;
            None
        })
    }
}

fn enqueue(waiting: &mut VecDeque<Event>, event: Event) {
    if is_repeatable(&event) {
        waiting.retain(|earlier| !is_repeated_by(earlier, &event));
    }
    waiting.push_back(event);
}

/// Whether the later event says all that the earlier one did. A heartbeat that failed costs a
/// period: one that passed does not undo it.
fn is_repeated_by(earlier: &Event, later: &Event) -> bool {
    match (earlier, later) {
        (Event::Health(earlier), Event::Health(later)) => earlier.word == later.word,
        (earlier, later) => std::mem::discriminant(earlier) == std::mem::discriminant(later),
    }
}

/// Whether the agent alone decides how often this comes, and only the latest counts.
fn is_repeatable(event: &Event) -> bool {
    match event {
        Event::Health(_) | Event::Credits(_) | Event::Draining => true,
        Event::Attested(_)
        | Event::Reattested(_)
        | Event::Refused(_)
        | Event::Failed(_)
        | Event::Waiting(_)
        | Event::WaitingToJoin(..)
        | Event::HealthTimedOut
        | Event::Alive
        | Event::Closed => false,
    }
}

#[cfg(test)]
mod tests {
    use ee_core::session::{HealthWord, Heartbeat};

    use super::*;

    #[test]
    fn a_flood_of_heartbeats_waits_as_the_latest_of_each_word() {
        let beat = |word| {
            Event::Health(Heartbeat {
                word,
                inflight: None,
                load_permille: None,
            })
        };
        let mut waiting = VecDeque::new();
        for count in 0..1_000 {
            enqueue(&mut waiting, beat(HealthWord::Pass));
            enqueue(&mut waiting, Event::Credits(count));
            enqueue(&mut waiting, Event::Draining);
        }
        enqueue(&mut waiting, Event::HealthTimedOut);
        enqueue(&mut waiting, beat(HealthWord::Fail));
        let expected = [
            beat(HealthWord::Pass),
            Event::Credits(999),
            Event::Draining,
            Event::HealthTimedOut,
            beat(HealthWord::Fail),
        ];
        assert_eq!(Vec::from(waiting), expected);
    }
}
