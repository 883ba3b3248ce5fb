//! How an epoch of HTTP/2 ends (see `epoch`).

use std::task::Context;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{AgentTunnel, Mux};
use crate::epoch::EndFailed;
use crate::event::Violation;

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AgentTunnel<S> {
    /// The control plane ends an epoch behind a GOAWAY, which ends HTTP/2 here if no stream is
    /// open. An agent that drains has no further epoch, so it does not matter there.
    pub(super) fn notice_marker(&mut self, cx: &mut Context<'_>) {
        if !self.wire.has_marker() || matches!(self.mux, Mux::Ending(_)) {
            return;
        }
        self.poll_mux(cx);
        if matches!(self.mux, Mux::Ending(_)) {
            return;
        }
        self.wire.take_marker();
        if !self.draining {
            self.wire.violate(Violation::MuxFailed);
        }
    }

    /// The control plane may begin another epoch.
    pub(super) fn epoch_ended(&mut self, result: Result<(), EndFailed>) {
        let Mux::Ending(ending) = std::mem::replace(&mut self.mux, Mux::Off) else {
            return;
        };
        match result {
            Ok(()) => self.mux = Mux::Ready(ending.into_link()),
            Err(EndFailed) => self.wire.violate(Violation::MuxFailed),
        }
    }
}
