//! What makes the books go by themselves: facts from the live half, ticks, renewed locks.
//!
//! Timers live here; what they drive is idempotent, so a pass that fails or comes late is made
//! good by the next.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ee_control::{
    books::{BooksHandle, Submission},
    observation::Observer,
    renewals::Renewer,
};
use ee_core::{
    books::{Books, Command, Principal},
    observer::BEAT_EVERY,
};
use ee_store::ledger::requests;

use crate::{archive::copies, state::AppState};

/// How often the books are asked whether something is due, and locks are renewed (LEDGER 8).
const PASS_EVERY: Duration = Duration::from_secs(1);
/// How often all of memory is added up: each batch is checked by what it touched (LEDGER 1).
const AUDIT_EVERY: Duration = Duration::from_secs(3_600);
/// When it is first done: tables that were changed while no server ran are found soon, and those
/// who waited for the start are served first.
const AUDIT_FIRST: Duration = Duration::from_secs(60);
/// How many passes lie between two questions whether idempotency keys are to be forgotten, unless
/// there is a rest from the last.
const KEYS_EVERY: u32 = 60;
/// Longest wait, at shutdown, for the books to hear that we stop watching.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// Starts the observer of nodes, its beat, the ticks of the books and the renewal of locks.
pub fn start(state: &AppState, observer: Observer) {
    let tasks = &state.tasks;
    tasks.spawn("observer", observer.run());
    tasks.spawn("beats", beats(state.clone()));
    tasks.spawn("ticks", ticks(state.clone()));
    tasks.spawn_aside("renewals", renewals(state.clone()));
    tasks.spawn("books_audit", audits(state.clone()));
    if let Some(status) = &state.backups {
        tasks.spawn("backups", copies::run(state.clone(), status.clone()));
    }
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
    let (mut passes, mut keys_are_old) = (0_u32, false);
    while pause(&state, PASS_EVERY).await {
        let now = state.now();
        if !state.attestor.clock_may_judge() {
            tracing::warn!(event = "ticks_halted", why = "clock_untrusted");
            continue;
        }
        if state.books_unsound.load(Ordering::Acquire) {
            continue;
        }
        let due = state.books.read(move |books| books.is_due(now)).await;
        if passes.is_multiple_of(KEYS_EVERY) || keys_are_old {
            let asked = requests::is_due(state.books.ledger(), now).await;
            keys_are_old = asked.unwrap_or_default();
        }
        passes = passes.wrapping_add(1);
        if due != Ok(true) && !keys_are_old {
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

/// Adds up everything that stands in memory (LEDGER 1: L1, L2, L4). Books that do not add up say so
/// in the log and in `/readyz`, and move no money by themselves until the next start, which takes
/// its memory from the tables; `easyenclave audit verify` tells which row is wrong.
async fn audits(state: AppState) {
    let mut wait = AUDIT_FIRST;
    while pause(&state, wait).await {
        audit(&state.books, &state.books_unsound).await;
        wait = AUDIT_EVERY;
    }
}

async fn audit(books: &BooksHandle, unsound: &AtomicBool) {
    match books.read(Books::audit).await {
        Ok(Ok(())) => tracing::info!(event = "books_audited", ok = true),
        Ok(Err(why)) => {
            unsound.store(true, Ordering::Release);
            tracing::error!(event = "books_audited", ok = false, %why);
        }
        Err(error) => tracing::warn!(event = "books_not_audited", %error),
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

#[cfg(test)]
mod tests;
