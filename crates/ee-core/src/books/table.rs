//! A table in memory that knows what changed since the last commit, and can take it back.
//!
//! One entry a row however often it changed, so a batch writes each row once.

use std::{collections::BTreeMap, ops::RangeBounds};

/// Rows by key, with the old values of those touched since the last commit.
#[derive(Debug, Clone)]
pub struct Table<K, V> {
    rows: BTreeMap<K, V>,
    touched: BTreeMap<K, Option<V>>,
    retired: BTreeMap<K, V>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            touched: BTreeMap::new(),
            retired: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> Table<K, V> {
    /// A table of committed rows.
    pub fn of(rows: impl IntoIterator<Item = (K, V)>) -> Self {
        Self {
            rows: rows.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The row of this key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    /// Whether there is a row of this key.
    pub fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    /// The row of this key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        self.touched
            .entry(key.clone())
            .or_insert_with(|| Some(row.clone()));
        Some(row)
    }

    /// Writes a row, new or old.
    pub fn insert(&mut self, key: K, row: V) {
        let old = self.rows.insert(key.clone(), row);
        self.retired.remove(&key);
        self.touched.entry(key).or_insert(old);
    }

    /// Deletes a row, here and in the store.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.rows.remove(key)?;
        self.touched
            .entry(key.clone())
            .or_insert_with(|| Some(old.clone()));
        Some(old)
    }

    /// Forgets a row that nothing in memory needs any more; the store keeps its last value.
    pub fn retire(&mut self, key: &K) -> Option<V> {
        let row = self.remove(key)?;
        self.retired.insert(key.clone(), row.clone());
        Some(row)
    }

    /// The last value of a row that was retired since the last commit.
    pub fn retired(&self, key: &K) -> Option<&V> {
        self.retired.get(key)
    }

    /// The rows touched since the last commit: their values then and now.
    pub fn touched(&self) -> impl Iterator<Item = (Option<&V>, Option<&V>)> {
        self.touched
            .iter()
            .map(|(key, old)| (old.as_ref(), self.rows.get(key)))
    }

    /// All rows, by key.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.iter()
    }

    /// The rows of these keys, in order.
    pub fn range(&self, keys: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.range(keys)
    }

    /// The first row.
    pub fn first(&self) -> Option<(&K, &V)> {
        self.rows.first_key_value()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows that the store must write: those that differ from the last commit, retired ones
    /// too.
    pub fn upserts(&self) -> impl Iterator<Item = (&K, &V)> {
        self.touched.iter().filter_map(|(key, old)| {
            let new = self.rows.get(key).or_else(|| self.retired.get(key))?;
            (old.as_ref() != Some(new)).then_some((key, new))
        })
    }

    /// The keys that the store must delete.
    pub fn deletes(&self) -> impl Iterator<Item = &K> {
        self.touched.iter().filter_map(|(key, old)| {
            let gone = !self.rows.contains_key(key) && !self.retired.contains_key(key);
            (gone && old.is_some()).then_some(key)
        })
    }

    /// The changes are durable: the old values are forgotten.
    pub fn committed(&mut self) {
        self.touched.clear();
        self.retired.clear();
    }

    /// The changes were not written: every row is as it was at the last commit.
    pub fn roll_back(&mut self) {
        self.retired.clear();
        for (key, old) in std::mem::take(&mut self.touched) {
            match old {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
    }
}
