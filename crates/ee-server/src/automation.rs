//! What makes the books go by themselves: facts from the live half, ticks, renewed locks.
//!
//! Timers live here; what they drive is idempotent, so a pass that fails or comes late is made
//! good by the next.

use std::time::Duration;

use ee_control::{books::Submission, observation::Observer, renewals::Renewer};
use ee_core::{
    books::{Command, Principal},
    observer::BEAT_EVERY,
};

use crate::state::AppState;

/// How often the books are asked whether something is due, and locks are renewed (LEDGER 8).
const PASS_EVERY: Duration = Duration::from_secs(1);
/// Longest wait, at shutdown, for the books to hear that we stop watching.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// Starts the observer of nodes, its beat, the ticks of the books and the renewal of locks.
pub fn start(state: &AppState, observer: Observer) {
    let tasks = &state.tasks;
    tasks.spawn("observer", observer.run());
    tasks.spawn("beats", beats(state.clone()));
    tasks.spawn("ticks", ticks(state.clone()));
    tasks.spawn("renewals", renewals(state.clone()));
}

/// Says good-bye: what happens from now on is nobody's fault.
pub async fn stop(state: &AppState) {
    let told = state.plane.stop_observing();
    if tokio::time::timeout(FAREWELL_MAX, told).await.is_err() {
        tracing::warn!(event = "observer_not_stopped");
    }
}

/// Everything that was seen is noted, and which dependencies answer.
async fn beats(state: AppState) {
    while pause(&state, BEAT_EVERY).await {
        state.plane.beat(state.attestor.dependencies()).await;
    }
}

/// Has the books do what is due, unless nobody knows what time it is.
async fn ticks(state: AppState) {
    while pause(&state, PASS_EVERY).await {
        let now = state.now();
        if !state.attestor.clock_may_judge() {
            tracing::warn!(event = "ticks_halted", why = "clock_untrusted");
            continue;
        }
        let due = state.books.read(move |books| books.is_due(now)).await;
        if due != Ok(true) {
            continue;
        }
        let tick = Submission {
            principal: Principal::System,
            key: None,
            command: Command::Tick,
        };
        if let Err(error) = state.books.submit_fact(tick).await {
            tracing::warn!(event = "tick_not_taken", %error);
        }
    }
}

/// Renews the locks of apps; closes and opens what the books say.
async fn renewals(state: AppState) {
    let mut renewer = Renewer::new(state.books.clone(), state.plane.clone());
    loop {
        if let Err(error) = renewer.pass(state.now()).await {
            tracing::warn!(event = "renewals_not_made", %error);
        }
        if !pause(&state, PASS_EVERY).await {
            return;
        }
    }
}

/// Waits; false when the server is shutting down.
async fn pause(state: &AppState, length: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(length) => true,
        () = state.tasks.stopping().cancelled() => false,
    }
}
