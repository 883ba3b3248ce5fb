//! The server's periodic work: passes without input that may be repeated at any time.

use std::time::Duration;

use ee_control::plane::Plane;

use crate::{auth, state::AppState, tunnel::Link};

/// Shortest pause between two passes: a pass that claims to be due at once must not spin.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause: a wrong "next" must not put a pass to sleep for good.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Starts the writer of the live half, the upkeep of collateral and allowlists, and the watch on
/// the store.
pub fn start(state: &AppState, plane: Plane<Link>) {
    let tasks = &state.tasks;
    let sessions = tasks.clone();
    tasks.spawn("plane", async move {
        // The last thing a session does is to say that it ended, so the writer outlives them.
        let served = async {
            sessions.closing().cancelled().await;
            sessions.sessions_finished().await;
        };
        tokio::select! {
            () = plane.run() => {}
            () = served => {}
        }
    });
    tasks.spawn("attestation_upkeep", attestation_upkeep(state.clone()));
    tasks.spawn("token_upkeep", auth::upkeep(state.clone()));
    tasks.spawn("store_watch", store_watch(state.clone()));
}

/// Refreshes collateral, revalidates allowlists, and has nodes attest again whose evidence would
/// now be judged otherwise.
async fn attestation_upkeep(state: AppState) {
    let stopping = state.tasks.stopping().clone();
    while !stopping.is_cancelled() {
        let done = state.attestor.reconcile().await;
        for release in done.reattest {
            tracing::warn!(event = "allowlist_changed", %release);
            state.plane.reattest(release.repo, release.tag).await;
        }
        for node in done.reattest_nodes {
            state.plane.reattest_node(node).await;
        }
        if let Some(date) = state.upstream.take_date()
            && let Err(error) = state.attestor.confirm_clock(date).await
        {
            tracing::warn!(event = "clock_not_kept", %error);
        }
        let pause = done.next.since(state.now()).clamp(PAUSE_MIN, PAUSE_MAX);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = state.attestor.wanted() => {}
            () = stopping.cancelled() => {}
        }
    }
}

/// A commit that failed leaves the store's state unknown: the process ends, and the next one
/// reads what is durable.
async fn store_watch(state: AppState) {
    let stopping = state.tasks.stopping().clone();
    tokio::select! {
        why = state.store.failed() => state.tasks.die("store", &why),
        () = stopping.cancelled() => {}
    }
}
