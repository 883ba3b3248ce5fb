//! When HTTP/2 goes to rest, and how its epoch ends (see `epoch`).

use tokio::io::{AsyncRead, AsyncWrite};

use super::{ControlTunnel, Mux};
use crate::epoch::{EndFailed, Rest};
use crate::event::Violation;
use crate::socket::BinaryRule;

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> ControlTunnel<S> {
    /// The agent ends an epoch only after we did.
    pub(super) fn notice_marker(&mut self) {
        if self.wire.has_marker() && !matches!(self.mux, Mux::Ending(_)) {
            self.wire.take_marker();
            self.wire.violate(Violation::MuxFailed);
        }
    }

    pub(super) fn rest_if_due(&mut self) {
        let Some(interval) = self.wire.take_ping() else {
            return;
        };
        let (begun, inflight) = (self.shared.begun(), self.shared.inflight());
        let due = |rest: &mut Rest| rest.is_due(interval, begun, inflight);
        if self.rest.as_mut().is_some_and(due) && self.shared.rest() {
            // Without its last reference h2 says GOAWAY and ends.
            self.shared.inboxes.driver().wake();
        }
    }

    /// The next request opens another epoch; it may have come already.
    pub(super) fn epoch_ended(&mut self, result: Result<(), EndFailed>) {
        let Mux::Ending(ending) = std::mem::replace(&mut self.mux, Mux::Off) else {
            return;
        };
        self.wire.set_rule(BinaryRule::Refused);
        match result {
            Ok(()) => self.mux = Mux::Ready(ending.into_link()),
            Err(EndFailed) => self.wire.violate(Violation::MuxFailed),
        }
    }
}
