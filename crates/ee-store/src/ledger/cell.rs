//! What a store keeps, without knowing what it means: cells in rows of described tables.
//!
//! One description of a table serves SQLite, PostgreSQL, the double in memory, restore and audit,
//! so that the five cannot drift apart. What a row means is said once, in `rows`.

use std::fmt;

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cell {
    /// No value.
    Null,
    /// A number, 64 bits with sign.
    Int(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Blob(bytes) => write!(f, "x{}", hex::encode(bytes)),
        }
    }
}

/// Cells in the order of [`Table::columns`].
pub type Row = Vec<Cell>;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// INTEGER, BIGINT.
    Int,
    /// TEXT.
    Text,
    /// BLOB, BYTEA.
    Blob,
}

/// Whether a column may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// NOT NULL.
    Always,
    /// May be NULL.
    Sometimes,
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name, in both dialects.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
    /// Whether it may be empty.
    pub presence: Presence,
}

impl Column {
    /// A number.
    pub const fn int(name: &'static str) -> Self {
        Self::new(name, ColumnKind::Int, Presence::Always)
    }

    /// A text.
    pub const fn text(name: &'static str) -> Self {
        Self::new(name, ColumnKind::Text, Presence::Always)
    }

    /// Bytes.
    pub const fn blob(name: &'static str) -> Self {
        Self::new(name, ColumnKind::Blob, Presence::Always)
    }

    /// The same, or NULL.
    #[must_use]
    pub const fn or_null(self) -> Self {
        Self::new(self.name, self.kind, Presence::Sometimes)
    }

    const fn new(name: &'static str, kind: ColumnKind, presence: Presence) -> Self {
        Self {
            name,
            kind,
            presence,
        }
    }
}

/// How rows of a table live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// Written once; triggers refuse UPDATE and DELETE.
    Appended,
    /// Written again under the same key; may go.
    Kept,
}

/// A table of the ledger.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name, in both dialects.
    pub name: &'static str,
    /// Its columns; the first [`Table::key`] of them are the primary key.
    pub columns: &'static [Column],
    /// The names of the columns, in the same order.
    pub order: &'static [&'static str],
    /// How many columns the primary key has.
    pub key: usize,
    /// How many leading columns, the key's included, never change while the row is there: a row
    /// that is written again leaves them, and their indexes, alone.
    pub fixed: usize,
    /// How its rows live.
    pub discipline: Discipline,
}

impl Table {
    /// The columns of the primary key.
    pub fn key_columns(&self) -> &'static [Column] {
        &self.columns[..self.key]
    }

    /// The columns that a row written again may change.
    pub fn changing(&self) -> &'static [Column] {
        &self.columns[self.fixed..]
    }

    /// Where a column stands.
    ///
    /// # Panics
    /// When the table has no such column: names are written in the code, not read.
    pub fn position(&self, column: &str) -> usize {
        self.columns
            .iter()
            .position(|known| known.name == column)
            .unwrap_or_else(|| panic!("table {} has no column {column}", self.name))
    }

    /// The primary key of a row.
    pub fn key_of<'a>(&self, row: &'a [Cell]) -> &'a [Cell] {
        &row[..self.key]
    }
}

/// A condition that is written out instead of bound: NULL, which no `=` finds; and a state,
/// because a partial index serves only what the planner sees.
pub(crate) fn spelled(column: &str, value: &Cell) -> Option<String> {
    match value {
        Cell::Null => Some(format!("{column} IS NULL")),
        Cell::Int(number) if column.trim_matches('"') == "state" => {
            Some(format!("{column} = {number}"))
        }
        Cell::Int(_) | Cell::Text(_) | Cell::Blob(_) => None,
    }
}
