//! Evidence that passed, kept in memory as long as its pass may count.
//!
//! Only what repeating stages 8 and 9 takes: the canonical quote and what it was matched with.
//! It need not survive a restart: sessions do not either, so every node is challenged anew then,
//! under whatever settings the new process has.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ee_attest::ParsedQuote;
use ee_core::{
    attestation::{AttestationResult, TcbStatus},
    session::VerificationRequest,
};
use ee_protocol::{
    names::{Network, NodeId},
    report_data::{Binding, Digest, sha256},
    time::Timestamp,
};

use super::stages::Finished;
use crate::reference_values::PinnedRelease;

/// Sessions whose evidence is kept: 5 KiB each as a rule, 16 KiB at most, so 80 MiB and at worst
/// 256. Beyond it the oldest goes, and its node waits for its next periodic challenge.
const SESSIONS_MAX: usize = 16_384;
/// No pass counts for longer (ATTESTATION 10).
const KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);

/// A node and its channel: whoever attests as somebody else's node replaces nothing here.
pub(super) type SessionKey = (NodeId, Digest);

/// Names the session that a request belongs to.
pub(super) fn session_of(request: &VerificationRequest) -> SessionKey {
    let channel = match &request.binding {
        Binding::TlsExporter { exporter, .. } => sha256(exporter),
        Binding::None => Digest::default(),
    };
    (request.registration.node_id.clone(), channel)
}

/// Which collateral an outcome rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Basis {
    pub(super) bundle: Digest,
    pub(super) newest_evaluation: u32,
}

/// What of an outcome collateral decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) status: TcbStatus,
    pub(super) advisories: Vec<String>,
    pub(super) flagged: bool,
}

/// Evidence that passed.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) network: Network,
    pub(super) reference: PinnedRelease,
    pub(super) outcome: Outcome,
    pub(super) basis: Basis,
    pub(super) quote: Arc<ParsedQuote>,
    at: Timestamp,
}

impl Kept {
    pub(super) fn new(
        network: Network,
        finished: &Finished,
        result: &AttestationResult,
        basis: Basis,
    ) -> Self {
        Self {
            network,
            reference: finished.reference.clone(),
            outcome: Outcome {
                status: result.tcb_status,
                advisories: result.advisories.clone(),
                flagged: result.flagged,
            },
            basis,
            quote: Arc::new(finished.opened.quote.clone()),
            at: finished.now,
        }
    }
}

/// All kept evidence.
#[derive(Default)]
pub(super) struct KeptEvidence(Mutex<Sessions>);

#[derive(Default)]
struct Sessions {
    by_key: BTreeMap<SessionKey, Kept>,
    /// Where the last look ended: the next one goes on behind it.
    looked_at: Option<SessionKey>,
}

impl KeptEvidence {
    /// Keeps a session's newest evidence.
    pub(super) fn put(&self, session: SessionKey, kept: Kept) {
        let mut sessions = self.sessions();
        let by_key = &mut sessions.by_key;
        if by_key.len() >= SESSIONS_MAX && !by_key.contains_key(&session) {
            let oldest = by_key.iter().min_by_key(|(_, kept)| kept.at);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.map(|key| by_key.remove(&key));
        }
        by_key.insert(session, kept);
    }

    /// Sessions whose evidence `due` picks, at most `limit`, in turns; what is too old to count
    /// is dropped first.
    pub(super) fn due(
        &self,
        now: Timestamp,
        limit: usize,
        due: impl Fn(&Kept) -> bool,
    ) -> Vec<(SessionKey, Kept)> {
        let mut sessions = self.sessions();
        let Sessions { by_key, looked_at } = &mut *sessions;
        by_key.retain(|_, kept| now < kept.at.after(KEPT_FOR));
        let behind =
            |(key, _): &(&SessionKey, &Kept)| looked_at.as_ref().is_some_and(|last| *key > last);
        let (later, earlier): (Vec<_>, Vec<_>) = by_key.iter().partition(behind);
        let in_turn = later.into_iter().chain(earlier);
        let picked = in_turn.filter(|(_, kept)| due(kept)).take(limit);
        let picked: Vec<_> = picked
            .map(|(key, kept)| (key.clone(), kept.clone()))
            .collect();
        *looked_at = picked.last().map(|(key, _)| key.clone());
        picked
    }

    /// The outcome is the same on another basis.
    pub(super) fn confirm(&self, session: &SessionKey, seen: &Kept, basis: Basis) {
        let mut sessions = self.sessions();
        if let Some(kept) = sessions
            .by_key
            .get_mut(session)
            .filter(|kept| kept.is(seen))
        {
            kept.basis = basis;
        }
    }

    /// The evidence is of no use any more: its node was asked for new.
    pub(super) fn forget(&self, session: &SessionKey, seen: &Kept) {
        let mut sessions = self.sessions();
        if sessions
            .by_key
            .get(session)
            .is_some_and(|kept| kept.is(seen))
        {
            sessions.by_key.remove(session);
        }
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // Every critical section leaves the map whole, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Whether this is the same evidence, and no newer one that came meanwhile.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.quote, &other.quote)
    }
}
