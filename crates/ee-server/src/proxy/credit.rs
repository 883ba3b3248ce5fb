//! The right to one request on a tunnel, and who is told when it is free again.

use std::ops::Deref;

use ee_core::routing::{Lease, Slot};

use crate::{
    state::AppState,
    tunnel::{AppKey, Link},
};

/// Given back when it is dropped.
pub struct Credit {
    /// Always there until the drop.
    lease: Option<Lease<Link>>,
    key: AppKey,
    state: AppState,
}

impl Credit {
    pub(super) fn new(lease: Lease<Link>, key: AppKey, state: AppState) -> Self {
        Self {
            lease: Some(lease),
            key,
            state,
        }
    }
}

impl Deref for Credit {
    type Target = Slot<Link>;

    fn deref(&self) -> &Slot<Link> {
        self.lease.as_ref().expect("it is taken by the drop only")
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        drop(self.lease.take());
        self.state.tunnels.waiting.released(self.key);
    }
}
