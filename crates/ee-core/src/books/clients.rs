//! Ids that clients choose: one id, one effect, one answer, for ever (LEDGER 11, L6).
//!
//! A refusal is remembered as well: a repeat gets the same even if funds came since.

use ee_protocol::account::{AccountId, ClientId};

use super::{
    Books, Outcome, Refusal,
    dispatch::Step,
    ids::{ClientKey, Fingerprint},
    rows::ClientRow,
};
use crate::journal::{Canonical, sha256};

/// What a command does once for its client's ids.
pub(super) struct Once {
    keys: Vec<ClientKey>,
    fingerprint: Fingerprint,
}

impl Once {
    /// The ids and the fields that came with them; `kind` keeps commands apart that share a scope.
    pub(super) fn new(
        keys: impl IntoIterator<Item = ClientKey>,
        kind: u16,
        fields: &impl Canonical,
    ) -> Self {
        let keys: Vec<ClientKey> = keys.into_iter().collect();
        let fingerprint = match keys.is_empty() {
            true => Fingerprint([0; 32]),
            false => Fingerprint(sha256(&[&kind.to_le_bytes(), &fields.encoded()])),
        };
        Self { keys, fingerprint }
    }
}

/// The key of an `id` in the scope of the account that it debits.
pub(super) fn debit_key(account: &AccountId, id: Option<&ClientId>) -> Option<ClientKey> {
    id.map(|id| ClientKey::Debit(account.clone(), id.clone()))
}

impl Books {
    /// Runs it unless one of its ids was seen; remembers what it came to.
    ///
    /// # Errors
    /// `id_reused` if an id came before with other fields; else what it came to.
    pub(super) fn once(
        &mut self,
        step: &Step<'_>,
        once: Once,
        run: impl FnOnce(&mut Self) -> Result<Outcome, Refusal>,
    ) -> Result<Outcome, Refusal> {
        if once.keys.is_empty() {
            return run(self);
        }
        if let Some(earlier) = self.recall(step, &once) {
            return earlier;
        }
        let result = run(self);
        self.remember(step, once, &result);
        result
    }

    /// What came under one of these ids before.
    pub(super) fn recall(&self, step: &Step<'_>, once: &Once) -> Option<Result<Outcome, Refusal>> {
        let rows = || once.keys.iter().filter_map(|key| self.client(step, key));
        if rows().any(|row| row.fingerprint != once.fingerprint) {
            return Some(Err(Refusal::IdReused));
        }
        rows().next().map(|row| row.result.clone())
    }

    pub(super) fn remember(
        &mut self,
        step: &Step<'_>,
        once: Once,
        result: &Result<Outcome, Refusal>,
    ) {
        for key in once.keys {
            if self.client(step, &key).is_none() {
                let row = ClientRow {
                    key,
                    fingerprint: once.fingerprint,
                    seq: step.seq,
                    at: step.at,
                    result: result.clone(),
                };
                self.clients.push(row);
            }
        }
    }

    fn client<'a>(&'a self, step: &Step<'a>, key: &ClientKey) -> Option<&'a ClientRow> {
        self.clients
            .get(key)
            .or_else(|| step.known.clients.get(key))
    }
}
