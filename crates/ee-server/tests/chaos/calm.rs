//! What must be back at its resting place after every break.

use std::future::Future;

use tokio::time::timeout;

use crate::world::{PATIENCE, World};

/// The bystander's tunnel is the one session that stays.
const RESTING_SESSIONS: usize = 1;

/// What a break may leave behind, counted.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    /// Tasks of connections, tunnels, requests.
    sessions: usize,
    /// Agents that wait to be attested.
    pending: u32,
    /// Tunnels that routes lead to.
    tunnels: u64,
    /// Credits that requests hold.
    credits: u32,
    /// Bytes that the governor counts.
    buffered: usize,
}

const RESTING: Left = Left {
    sessions: RESTING_SESSIONS,
    pending: 0,
    tunnels: 1,
    credits: 0,
    buffered: 0,
};

fn left(world: &World) -> Left {
    let state = &world.server.state;
    let routes = state.plane.routes();
    let apps = routes.apps();
    let slots = apps.iter().flat_map(|app| app.pool.slots());
    Left {
        sessions: state.tasks.sessions(),
        pending: state.tunnels.pending(),
        tunnels: routes.counts().1,
        credits: slots.map(|slot| slot.cell().inflight()).sum(),
        buffered: state.tunnels.governor.buffered().bytes(),
    }
}

/// Waits until nothing is left of what the test has done; only the bystander goes on.
pub async fn calm(world: &World, after: impl std::fmt::Debug) {
    if !comes(|| left(world) == RESTING).await {
        panic!("stuck after {after:?}: {:?}", left(world));
    }
}

/// Waits until no request is under way and no byte waits; tunnels may be open.
pub async fn idle(world: &World, after: impl std::fmt::Debug) {
    let is_idle = || {
        let left = left(world);
        (left.credits, left.buffered, left.pending) == (0, 0, 0)
    };
    if !comes(is_idle).await {
        panic!("stuck after {after:?}: {:?}", left(world));
    }
}

/// Whether it becomes true while everything else runs.
pub async fn comes(mut condition: impl FnMut() -> bool) -> bool {
    let coming = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, coming).await.is_ok()
}

/// What `work` gives, unless it hangs.
pub async fn in_time<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("in time")
}
