//! What a session tells the plane: in order, one at a time, beside the tunnel's own work.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;

use ee_control::plane::PlaneHandle;
use ee_core::registry::TunnelId;
use ee_core::session::{Admission, Event};

use super::link::Link;

type Telling = Pin<Box<dyn Future<Output = Option<Admission>> + Send>>;

/// The queue of one session. It is as short as the session's commands are few: a heartbeat or a
/// verdict each, and reading from the agent stops while a text waits.
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

    pub(super) fn push(&mut self, event: Event) {
        self.waiting.push_back(event);
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
