//! The managed tokens in memory: found by id, compared in constant time, counted against their
//! rate. The store is the truth; this follows each durable change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use ee_core::rate::{Allowed, Bucket, Rate};
use ee_protocol::{
    access::{Resource, Role, TokenId},
    names::NodeId,
    time::Timestamp,
};
use ee_store::TokenRow;

use super::{
    actor::Actor,
    token::{self, Digest},
};

/// What one managed token may ask for (EXPERIENCE 7).
pub const TOKEN_RATE: Rate = Rate {
    burst: 600,
    window: Duration::from_secs(60),
};
/// Dead tokens stay listed for a month, so that a refusal can be traced to its revocation.
pub const DEAD_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Never used.
const NEVER: i64 = i64::MIN;

/// What a token's row means at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It opens doors.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody ended it.
    Revoked,
}

impl State {
    /// The word in lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// What a token's row means at `now`.
pub fn state(row: &TokenRow, now: Timestamp) -> State {
    if row.revoked_at.is_some() {
        return State::Revoked;
    }
    match row.expires_at {
        Some(end) if now >= end => State::Expired,
        Some(_) | None => State::Active,
    }
}

/// A token with what changes at every use.
pub struct Entry {
    row: TokenRow,
    /// Who its holder is.
    pub actor: Actor,
    bucket: Mutex<Bucket>,
    used_us: AtomicI64,
    /// The last use that the row holds.
    saved_us: AtomicI64,
}

impl Entry {
    fn new(row: TokenRow) -> Self {
        let actor = Actor::managed(
            row.id,
            row.role,
            row.scopes.clone(),
            row.resources.clone(),
            row.expires_at,
        );
        let used = row.last_used_at.map_or(NEVER, Timestamp::unix_micros);
        Self {
            row,
            actor,
            bucket: Mutex::default(),
            used_us: AtomicI64::new(used),
            saved_us: AtomicI64::new(used),
        }
    }

    /// The row with the latest use.
    pub fn row(&self) -> TokenRow {
        TokenRow {
            last_used_at: self.used_at(),
            ..self.row.clone()
        }
    }

    fn used_at(&self) -> Option<Timestamp> {
        let used = self.used_us.load(Ordering::Relaxed);
        (used != NEVER).then(|| Timestamp::from_unix_micros(used))
    }

    /// Counts a use; the wait if there were too many.
    pub fn take(&self, now: Timestamp) -> Result<Allowed, Duration> {
        self.used_us.fetch_max(now.unix_micros(), Ordering::Relaxed);
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(TOKEN_RATE, now)
    }

    fn opens(&self, presented: &Digest, now: Timestamp) -> bool {
        let grace = self.row.previous.filter(|(_, until)| now < *until);
        // Compared even where there is none, so that a rotated token answers in the same time.
        let (previous, in_grace) = grace.map_or((NOBODYS, false), |(digest, _)| (digest, true));
        let matches = token::equal(&self.row.digest, presented)
            | (token::equal(&previous, presented) & in_grace);
        matches & (state(&self.row, now) == State::Active)
    }
}

/// Compared with where there is no token of the id: one answer, one timing.
const NOBODYS: Digest = [0; 32];

/// All managed tokens.
#[derive(Default)]
pub struct TokenBook {
    by_id: BTreeMap<TokenId, Arc<Entry>>,
    /// Ends of the tokens not revoked, by role: whether a role has a live one is asked at every
    /// refusal, which strangers cause.
    ends: BTreeMap<Role, BTreeSet<(Timestamp, TokenId)>>,
    by_node: BTreeMap<NodeId, BTreeSet<TokenId>>,
}

impl TokenBook {
    /// The tokens of the store.
    pub fn new(rows: Vec<TokenRow>) -> Self {
        let mut book = Self::default();
        for row in rows {
            book.put(row);
        }
        book
    }

    /// Follows a durable change. The rate and the last use of a changed token go on.
    pub fn put(&mut self, row: TokenRow) {
        let before = self.remove(row.id);
        let end = (row.expires_at.unwrap_or(END_OF_TIME), row.id);
        if row.revoked_at.is_none() {
            self.ends.entry(row.role).or_default().insert(end);
        }
        for node in nodes_of(&row) {
            self.by_node.entry(node).or_default().insert(row.id);
        }
        let mut entry = Entry::new(row);
        if let Some(before) = before {
            entry.used_us = AtomicI64::new(before.used_us.load(Ordering::Relaxed));
            let bucket = *before.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            entry.bucket = Mutex::new(bucket);
        }
        self.by_id.insert(entry.row.id, Arc::new(entry));
    }

    /// Forgets a token.
    pub fn remove(&mut self, id: TokenId) -> Option<Arc<Entry>> {
        let entry = self.by_id.remove(&id)?;
        let end = (entry.row.expires_at.unwrap_or(END_OF_TIME), id);
        if let Some(ends) = self.ends.get_mut(&entry.row.role) {
            ends.remove(&end);
        }
        for node in nodes_of(&entry.row) {
            let ids = self.by_node.get_mut(&node);
            if ids.is_some_and(|ids| ids.remove(&id) && ids.is_empty()) {
                self.by_node.remove(&node);
            }
        }
        Some(entry)
    }

    /// The token that was presented, if it is a live one.
    pub fn find(&self, presented: &str, now: Timestamp) -> Option<Arc<Entry>> {
        let digest = token::digest_of(presented);
        let entry = token::id_of(presented).and_then(|id| self.by_id.get(&id));
        match entry {
            Some(entry) => entry.opens(&digest, now).then(|| Arc::clone(entry)),
            None => {
                let _nobody = token::equal(&NOBODYS, &digest);
                None
            }
        }
    }

    /// The row of a token.
    pub fn row(&self, id: TokenId) -> Option<TokenRow> {
        self.by_id.get(&id).map(|entry| entry.row())
    }

    /// Rows by id, after `after`.
    pub fn page(&self, after: Option<TokenId>, limit: usize) -> Vec<TokenRow> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.by_id.range((from, Bound::Unbounded));
        entries.take(limit).map(|(_, entry)| entry.row()).collect()
    }

    /// How many there are, dead ones included.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether a token of the role opens doors at `now`.
    pub fn has_live(&self, role: Role, now: Timestamp) -> bool {
        let last = self.ends.get(&role).and_then(BTreeSet::last);
        last.is_some_and(|(end, _)| now < *end)
    }

    /// The nodes that have, or ever had, a token of their own.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.by_node.keys().cloned().collect()
    }

    /// The live token of a node that was made last.
    pub fn live_node_token(&self, node: &NodeId, now: Timestamp) -> Option<TokenRow> {
        let rows = self.node_rows(node);
        let live = rows.filter(|row| state(row, now) == State::Active);
        live.max_by_key(|row| row.created_at).cloned()
    }

    /// What an agent of the node must prove to hold, one of these; `None` if the node never had a
    /// token; empty if all of them are dead.
    pub fn node_keys(&self, node: &NodeId, now: Timestamp) -> Option<Vec<Digest>> {
        self.by_node.get(node)?;
        let live = self
            .node_rows(node)
            .filter(|row| state(row, now) == State::Active);
        let keys = live.flat_map(|row| {
            let previous = row.previous.filter(|(_, until)| now < *until);
            [Some(row.digest), previous.map(|(digest, _)| digest)]
        });
        Some(keys.flatten().collect())
    }

    fn node_rows(&self, node: &NodeId) -> impl Iterator<Item = &TokenRow> {
        let ids = self.by_node.get(node).into_iter().flatten();
        ids.filter_map(|id| self.by_id.get(id)).map(|e| &e.row)
    }

    /// When tokens were used since that was last written.
    pub fn unsaved_uses(&self) -> Vec<(TokenId, Timestamp)> {
        let used = self.by_id.values().filter_map(|entry| {
            let at = entry.used_at()?;
            let saved = entry.saved_us.load(Ordering::Relaxed);
            (at.unix_micros() != saved).then_some((entry.row.id, at))
        });
        used.collect()
    }

    /// These uses are durable.
    pub fn uses_saved(&self, uses: &[(TokenId, Timestamp)]) {
        for (id, at) in uses {
            if let Some(entry) = self.by_id.get(id) {
                entry.saved_us.store(at.unix_micros(), Ordering::Relaxed);
            }
        }
    }

    /// Tokens that have been dead for [`DEAD_KEPT`]. Of a node the last one stays: without any,
    /// its id would need no proof again.
    pub fn forgettable(&self, now: Timestamp) -> Vec<TokenId> {
        let long_dead = |row: &&TokenRow| {
            let died = row.revoked_at.or(row.expires_at);
            died.is_some_and(|at| now >= at.after(DEAD_KEPT))
        };
        let needed = |row: &&TokenRow| {
            let newest = |node: NodeId| {
                let rows = self.node_rows(&node);
                let last = rows.max_by_key(|row| (row.created_at, row.id));
                last.is_some_and(|last| last.id == row.id)
            };
            nodes_of(row).any(newest)
        };
        let rows = self.by_id.values().map(|entry| &entry.row);
        let dead = rows.filter(long_dead).filter(|row| !needed(row));
        dead.map(|row| row.id).collect()
    }
}

/// Of tokens that do not end by themselves.
const END_OF_TIME: Timestamp = Timestamp::from_unix_micros(i64::MAX);

/// The nodes whose tunnel the token proves: only one of the role node does.
pub fn nodes_of(row: &TokenRow) -> impl Iterator<Item = NodeId> + '_ {
    let proves = row.role == Role::Node;
    row.resources
        .iter()
        .filter_map(move |resource| match resource {
            Resource::Node(node) if proves => Some(node.clone()),
            Resource::Node(_) | Resource::Account(_) | Resource::App(_) => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_000_000 + hours * 3_600)
    }

    fn made(role: Role, resources: &[&str], expires_at: Option<Timestamp>) -> (String, TokenRow) {
        let new = token::generate(role.as_str());
        let resources = resources.iter().map(|text| text.parse().expect("resource"));
        let row = TokenRow {
            id: new.id,
            role,
            name: String::new(),
            scopes: role.scopes(),
            resources: resources.collect(),
            digest: new.digest,
            previous: None,
            created_at: at(0),
            expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        (new.text, row)
    }

    #[test]
    fn only_the_whole_live_token_is_found() {
        let (text, row) = made(Role::Viewer, &[], Some(at(1)));
        let mut book = TokenBook::new(vec![row.clone()]);
        assert!(book.find(&text, at(0)).is_some());
        assert!(book.find(&text, at(1)).is_none(), "expired");
        let id_alone = format!("ee_viewer_{}_{}", row.id, "A".repeat(49));
        assert!(book.find(&id_alone, at(0)).is_none());
        assert!(book.find(&text[..text.len() - 1], at(0)).is_none());
        let revoked_at = Some(at(0));
        book.put(TokenRow { revoked_at, ..row });
        assert!(book.find(&text, at(0)).is_none(), "revoked");
    }

    #[test]
    fn a_rotated_token_is_good_for_its_grace() {
        let (old, row) = made(Role::Viewer, &[], None);
        let new = token::generate_for("viewer", row.id);
        let rotated = TokenRow {
            previous: Some((row.digest, at(24))),
            digest: new.digest,
            ..row
        };
        let book = TokenBook::new(vec![rotated]);
        assert!(book.find(&new.text, at(100)).is_some());
        assert!(book.find(&old, at(23)).is_some());
        assert!(book.find(&old, at(24)).is_none());
    }

    #[test]
    fn a_role_has_a_live_token_until_the_last_one_ends() {
        let (_, short) = made(Role::Uptime, &[], Some(at(1)));
        let (_, long) = made(Role::Uptime, &[], Some(at(2)));
        let mut book = TokenBook::new(vec![short, long.clone()]);
        assert!(book.has_live(Role::Uptime, at(1)));
        assert!(!book.has_live(Role::Uptime, at(2)));
        assert!(!book.has_live(Role::Admin, at(0)));
        let revoked_at = Some(at(0));
        book.put(TokenRow { revoked_at, ..long });
        assert!(book.has_live(Role::Uptime, at(0)));
        assert!(!book.has_live(Role::Uptime, at(1)));
    }

    #[test]
    fn a_node_whose_tokens_are_dead_is_closed_not_open() {
        let node: NodeId = "n1".parse().expect("node");
        let (_, row) = made(Role::Node, &["node=n1"], Some(at(1)));
        let mut book = TokenBook::new(vec![row.clone()]);
        assert_eq!(book.node_keys(&node, at(0)), Some(vec![row.digest]));
        assert_eq!(book.node_keys(&node, at(1)), Some(vec![]));
        assert_eq!(book.forgettable(at(1).after(DEAD_KEPT + HOUR)), []);
        let (_, newer) = made(Role::Node, &["node=n1"], None);
        let newer = TokenRow {
            created_at: at(1),
            ..newer
        };
        book.put(newer.clone());
        assert_eq!(book.node_keys(&node, at(1)), Some(vec![newer.digest]));
        assert_eq!(book.forgettable(at(1).after(DEAD_KEPT + HOUR)), [row.id]);
        let stranger: NodeId = "n2".parse().expect("node");
        assert_eq!(book.node_keys(&stranger, at(0)), None);
    }

    #[test]
    fn a_viewer_of_a_node_proves_nothing_of_it() {
        let (_, row) = made(Role::Viewer, &["node=n1"], None);
        let book = TokenBook::new(vec![row]);
        let node: NodeId = "n1".parse().expect("node");
        assert_eq!(book.node_keys(&node, at(0)), None);
    }

    #[test]
    fn uses_are_remembered_and_rates_survive_a_rotation() {
        let (text, row) = made(Role::Viewer, &[], None);
        let mut book = TokenBook::new(vec![row.clone()]);
        let entry = book.find(&text, at(0)).expect("found");
        for _ in 0..TOKEN_RATE.burst {
            assert!(entry.take(at(0)).is_ok());
        }
        assert!(entry.take(at(0)).is_err());
        assert_eq!(book.unsaved_uses(), [(row.id, at(0))]);
        book.uses_saved(&book.unsaved_uses());
        assert_eq!(book.unsaved_uses(), []);
        let new = token::generate_for("viewer", row.id);
        let digest = new.digest;
        book.put(TokenRow { digest, ..row });
        let entry = book.find(&new.text, at(0)).expect("found");
        assert!(entry.take(at(0)).is_err(), "a rotation refills nothing");
    }
}
