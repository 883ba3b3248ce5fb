//! Rows that a batch appends: found by key until the store has them, gone from memory then.

use super::lookup::Lookup;

use super::{ids::ClientKey, rows::ClientRow};

/// The client ids of the batch in hand.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientLog {
    rows: Vec<ClientRow>,
    places: Lookup<ClientKey, usize>,
}

impl ClientLog {
    pub(super) fn get(&self, key: &ClientKey) -> Option<&ClientRow> {
        self.places.get(key).map(|place| &self.rows[*place])
    }

    pub(super) fn push(&mut self, row: ClientRow) {
        let twin = self.places.insert(row.key.clone(), self.rows.len());
        assert!(twin.is_none(), "a client id is decided once");
        self.rows.push(row);
    }

    pub(super) fn rows(&self) -> &[ClientRow] {
        &self.rows
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Forgets the rows after the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        for row in self.rows.drain(len..) {
            self.places.remove(&row.key);
        }
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.places.clear();
    }
}
