//! SQL made from the description of a table. Names are quoted: some of ours mean something to
//! PostgreSQL.

use std::fmt::Write as _;

use crate::ledger::{Column, ColumnKind, Direction, Discipline, Page, Table, spelled};

/// Moves the head if it is as expected, and otherwise fails the whole transaction: a COMMIT that is
/// already under way then undoes it. That is how one round trip can carry a compare-and-set, the
/// rows that hang on it, and the COMMIT.
pub(super) const MOVE_HEAD: &str = "UPDATE head
    SET batch = CASE WHEN seq = $6 AND epoch = $7
            THEN $1::BIGINT ELSE -1 END,
        seq = $2,
        epoch = $3,
        root = $4,
        at_us = $5
    WHERE id = 1";

/// The constraint that [`MOVE_HEAD`] violates when the head has moved.
pub(super) const HEAD_CONSTRAINT: &str = "head_is_as_expected";

/// Reads the head.
pub(super) const READ_HEAD: &str = "SELECT ledger_id, batch, seq, epoch, root, at_us
    FROM head
    WHERE id = 1";

/// Writes the first head, if there is none.
pub(super) const CREATE_HEAD: &str =
    "INSERT INTO head (id, ledger_id, batch, seq, epoch, root, at_us)
    VALUES (1, $1, $2, $3, $4, $5, $6)
    ON CONFLICT (id) DO NOTHING";

/// Writes rows, a parameter a column.
pub(super) fn put(table: &Table) -> String {
    let insert = format!(
        "INSERT INTO \"{}\" ({}) SELECT * FROM {}",
        table.name,
        names(table.columns).join(", "),
        unnest(table.columns)
    );
    match table.discipline {
        Discipline::Appended => insert,
        Discipline::Kept => format!("{insert} {}", on_conflict(table)),
    }
}

fn on_conflict(table: &Table) -> String {
    let key = names(table.key_columns()).join(", ");
    // A row that is all key is set to itself, so that a put always counts one row.
    let values = match table.changing() {
        [] => names(&table.columns[..1]),
        some => names(some),
    };
    let set: Vec<String> = values
        .iter()
        .map(|name| format!("{name} = excluded.{name}"))
        .collect();
    format!("ON CONFLICT ({key}) DO UPDATE SET {}", set.join(", "))
}

/// Removes rows by their keys, a parameter a column of the key.
pub(super) fn delete(table: &Table) -> String {
    let columns = table.key_columns();
    format!(
        "DELETE FROM \"{}\" t USING {} AS w ({}) WHERE {}",
        table.name,
        unnest(columns),
        places(columns.len()),
        conditions(columns)
    )
}

/// Finds rows for many lookups by the same columns: a parameter a column, the number of the lookup
/// (from 1) before each row.
pub(super) fn look_up(table: &Table, columns: &[Column]) -> String {
    let found: Vec<String> = names(table.columns)
        .iter()
        .map(|name| format!("t.{name}"))
        .collect();
    let order: Vec<&str> = found[..table.key].iter().map(String::as_str).collect();
    format!(
        "SELECT w.n, {} FROM {} WITH ORDINALITY AS w ({}, n) JOIN \"{}\" t ON {} ORDER BY w.n, {}",
        found.join(", "),
        unnest(columns),
        places(columns.len()),
        table.name,
        conditions(columns),
        order.join(", ")
    )
}

/// Reads one page; the parameters are the values of `equals` and then of `after`.
pub(super) fn page(page: &Page) -> String {
    let columns = names(page.table.columns).join(", ");
    let mut sql = format!("SELECT {columns} FROM \"{}\"", page.table.name);
    let mut joint = "WHERE";
    let mut bound = 0;
    for (column, value) in &page.equals {
        let column = format!("\"{column}\"");
        let _ = match spelled(&column, value) {
            Some(condition) => write!(sql, " {joint} {condition}"),
            None => {
                bound += 1;
                write!(sql, " {joint} {column} = ${bound}")
            }
        };
        joint = "AND";
    }
    let (sign, word) = match page.direction {
        Direction::Ascending => (">", "ASC"),
        Direction::Descending => ("<", "DESC"),
    };
    let order: Vec<String> = page
        .order
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    if page.after.is_some() {
        let from = bound + 1;
        let marks: Vec<String> = (from..from + order.len())
            .map(|n| format!("${n}"))
            .collect();
        let (order, marks) = (order.join(", "), marks.join(", "));
        let _ = write!(sql, " {joint} ({order}) {sign} ({marks})");
    }
    let order: Vec<String> = order.iter().map(|name| format!("{name} {word}")).collect();
    let _ = write!(sql, " ORDER BY {} LIMIT {}", order.join(", "), page.limit);
    sql
}

fn names(columns: &[Column]) -> Vec<String> {
    columns
        .iter()
        .map(|column| format!("\"{}\"", column.name))
        .collect()
}

fn unnest(columns: &[Column]) -> String {
    let arrays: Vec<String> = (1..)
        .zip(columns)
        .map(|(at, column)| format!("${at}::{}[]", kind(column.kind)))
        .collect();
    format!("UNNEST({})", arrays.join(", "))
}

fn kind(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Int => "BIGINT",
        ColumnKind::Text => "TEXT",
        ColumnKind::Blob => "BYTEA",
    }
}

/// Names for the columns of what is wanted: `c1, c2, …`.
fn places(count: usize) -> String {
    let places: Vec<String> = (1..=count).map(|at| format!("c{at}")).collect();
    places.join(", ")
}

fn conditions(columns: &[Column]) -> String {
    let equal: Vec<String> = (1..)
        .zip(names(columns))
        .map(|(at, name)| format!("t.{name} = w.c{at}"))
        .collect();
    equal.join(" AND ")
}
