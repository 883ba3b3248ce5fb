//! The books in SQLite, on the thread that owns the connection: a batch is one piece of work, so
//! that the registry's writes share its commit.

use std::fmt::Write as _;

use ee_core::journal::LedgerId;
use rusqlite::{
    Connection, ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use super::{
    Batch, Cell, CommitError, Direction, Head, LedgerStore, Lookup, Page, Row, Table, TableChange,
    Trail,
    cell::{Column, Discipline},
    spelled,
};
use crate::{
    Store,
    error::StoreError,
    row::{signed, time, unsigned},
};

/// The books in the database of a [`Store`].
#[derive(Debug, Clone)]
pub struct SqliteLedger {
    store: Store,
}

impl SqliteLedger {
    /// Opens the books of a store; begins them, under `fresh_id`, if there are none.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn open(store: Store, fresh_id: LedgerId) -> Result<Self, StoreError> {
        store
            .run(move |db| create_head(db, &Head::fresh(fresh_id)))
            .await?;
        Ok(Self { store })
    }
}

impl SqliteLedger {
    /// The books of a store that was opened to read only.
    pub fn read_only(store: Store) -> Self {
        Self { store }
    }
}

impl LedgerStore for SqliteLedger {
    async fn head(&self) -> Result<Head, StoreError> {
        self.store.look(read_head).await
    }

    async fn lookup(&self, wanted: Vec<Lookup>) -> Result<Vec<Vec<Row>>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        // One read transaction: cheaper than one a question, and all answers are of one moment.
        self.store
            .look(move |db| {
                let alone = db.is_autocommit().then(|| db.unchecked_transaction());
                let _moment = alone.transpose()?;
                wanted.iter().map(|one| look_up(db, one)).collect()
            })
            .await
    }

    async fn trail(&self, trail: Trail) -> Result<Vec<Row>, StoreError> {
        let read =
            move |db: &Connection| read_rows(db, &Trail::sql(), Trail::table(), &trail.values());
        self.store.read(read).await
    }

    async fn page(&self, page: Page) -> Result<Vec<Row>, StoreError> {
        self.store.read(move |db| read_page(db, &page)).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        match self.store.run(move |db| write(db, &batch)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(CommitError::Lost),
            Err(StoreError::DiskFull) => Err(CommitError::DiskFull),
            Err(StoreError::Busy) => Err(CommitError::Unavailable(StoreError::Busy.to_string())),
            // A row that the schema refuses is a mistake of the books: memory is not to be
            // believed any more than after a failed commit.
            Err(
                error @ (StoreError::Closed
                | StoreError::OutcomeUnknown(_)
                | StoreError::Corrupt(_)
                | StoreError::Sqlite(_)
                | StoreError::Postgres(_)
                | StoreError::Unavailable(_)),
            ) => Err(CommitError::Unknown(error.to_string())),
        }
    }

    async fn failed(&self) -> String {
        self.store.failed().await
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn create_head(db: &Connection, fresh: &Head) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO head (id, ledger_id, batch, seq, epoch, root, at_us)
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO NOTHING",
    )?
    .execute((
        fresh.ledger_id,
        signed(fresh.batch),
        signed(fresh.seq),
        signed(fresh.epoch),
        fresh.root,
        fresh.at.unix_micros(),
    ))?;
    Ok(())
}

pub(super) fn read_head(db: &Connection) -> Result<Head, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT ledger_id, batch, seq, epoch, root, at_us
         FROM head
         WHERE id = 1",
    )?;
    let head = statement.query_row([], |row| {
        Ok(Head {
            ledger_id: row.get("ledger_id")?,
            batch: unsigned(row, "batch")?,
            seq: unsigned(row, "seq")?,
            epoch: unsigned(row, "epoch")?,
            root: row.get("root")?,
            at: time(row, "at_us")?,
        })
    })?;
    Ok(head)
}

/// Whether the batch was written: not if the head is another than it was made on.
fn write(db: &Connection, batch: &Batch) -> Result<bool, StoreError> {
    let (expected, next) = (&batch.expected, &batch.next);
    let moved = db
        .prepare_cached(
            "UPDATE head
             SET batch = ?1,
                 seq = ?2,
                 epoch = ?3,
                 root = ?4,
                 at_us = ?5
             WHERE id = 1
               AND seq = ?6
               AND epoch = ?7",
        )?
        .execute((
            signed(next.batch),
            signed(next.seq),
            signed(next.epoch),
            next.root,
            next.at.unix_micros(),
            signed(expected.seq),
            signed(expected.epoch),
        ))?;
    if moved == 0 {
        return Ok(false);
    }
    for change in &batch.changes {
        change_table(db, change)?;
    }
    Ok(true)
}

fn change_table(db: &Connection, change: &TableChange) -> Result<(), StoreError> {
    if !change.delete.is_empty() {
        let mut delete = db.prepare_cached(&delete_sql(change.table))?;
        for key in &change.delete {
            delete.execute(params_from_iter(key))?;
        }
    }
    if change.put.is_empty() {
        return Ok(());
    }
    let mut insert = db.prepare_cached(&insert_sql(change.table))?;
    let mut update = match change.table.discipline {
        Discipline::Appended => None,
        // Most rows are there already: an upsert would try the row's insertion first, and look
        // into every index for it.
        Discipline::Kept => Some(db.prepare_cached(&update_sql(change.table))?),
    };
    for row in &change.put {
        let found = match &mut update {
            Some(update) => {
                let changed = &row[row.len() - updated(change.table).len()..];
                let values = changed.iter().chain(change.table.key_of(row));
                update.execute(params_from_iter(values))?
            }
            None => 0,
        };
        let written = match found {
            0 => insert.execute(params_from_iter(row))?,
            found => found,
        };
        assert_eq!(written, 1, "a put writes its row of {}", change.table.name);
    }
    Ok(())
}

fn look_up(db: &Connection, wanted: &Lookup) -> Result<Vec<Row>, StoreError> {
    let mut sql = select_sql(wanted.table);
    write_conditions(&mut sql, wanted.columns.iter().copied());
    read_rows(db, &sql, wanted.table, &wanted.values)
}

pub(super) fn read_page(db: &Connection, page: &Page) -> Result<Vec<Row>, StoreError> {
    let mut sql = select_sql(page.table);
    let mut values = Row::new();
    for (at, (column, value)) in page.equals.iter().enumerate() {
        let joint = if at == 0 { "WHERE" } else { "AND" };
        let _ = match spelled(column, value) {
            Some(condition) => write!(sql, " {joint} {condition}"),
            None => {
                values.push(value.clone());
                write!(sql, " {joint} {column} = ?")
            }
        };
    }
    let (sign, word) = match page.direction {
        Direction::Ascending => (">", "ASC"),
        Direction::Descending => ("<", "DESC"),
    };
    if let Some(after) = &page.after {
        let joint = if page.equals.is_empty() {
            "WHERE"
        } else {
            "AND"
        };
        let marks = vec!["?"; page.order.len()].join(", ");
        let order = page.order.join(", ");
        let _ = write!(sql, " {joint} ({order}) {sign} ({marks})");
        values.extend(after.iter().cloned());
    }
    let order: Vec<String> = page
        .order
        .iter()
        .map(|name| format!("{name} {word}"))
        .collect();
    let _ = write!(sql, " ORDER BY {} LIMIT {}", order.join(", "), page.limit);
    read_rows(db, &sql, page.table, &values)
}

fn read_rows(
    db: &Connection,
    sql: &str,
    table: &Table,
    values: &[Cell],
) -> Result<Vec<Row>, StoreError> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let cells = (0..table.columns.len()).map(|at| row.get_ref(at).map(cell));
        found.push(cells.collect::<Result<Result<Row, StoreError>, _>>()??);
    }
    Ok(found)
}

fn cell(value: ValueRef<'_>) -> Result<Cell, StoreError> {
    match value {
        ValueRef::Null => Ok(Cell::Null),
        ValueRef::Integer(number) => Ok(Cell::Int(number)),
        ValueRef::Text(text) => std::str::from_utf8(text)
            .map(|text| Cell::Text(text.to_owned()))
            .map_err(|error| StoreError::Corrupt(error.to_string())),
        ValueRef::Blob(bytes) => Ok(Cell::Blob(bytes.to_owned())),
        ValueRef::Real(_) => Err(StoreError::Corrupt("a float in a ledger".to_owned())),
    }
}

fn names(columns: &[Column]) -> Vec<&'static str> {
    columns.iter().map(|column| column.name).collect()
}

fn select_sql(table: &Table) -> String {
    format!(
        "SELECT {} FROM {}",
        names(table.columns).join(", "),
        table.name
    )
}

fn write_conditions(sql: &mut String, columns: impl Iterator<Item = &'static str>) {
    for (at, column) in columns.enumerate() {
        let joint = if at == 0 { "WHERE" } else { "AND" };
        let _ = write!(sql, " {joint} {column} = ?");
    }
}

fn insert_sql(table: &Table) -> String {
    let marks = vec!["?"; table.columns.len()].join(", ");
    let columns = names(table.columns).join(", ");
    format!("INSERT INTO {} ({columns}) VALUES ({marks})", table.name)
}

/// Takes what may change, then the key.
fn update_sql(table: &Table) -> String {
    let set: Vec<String> = updated(table)
        .iter()
        .map(|column| format!("{} = ?", column.name))
        .collect();
    let mut sql = format!("UPDATE {} SET {}", table.name, set.join(", "));
    write_conditions(&mut sql, names(table.key_columns()).into_iter());
    sql
}

/// A row that is all key is set to itself, so that a put always counts one row.
fn updated(table: &Table) -> &'static [Column] {
    match table.changing() {
        [] => table.key_columns(),
        some => some,
    }
}

fn delete_sql(table: &Table) -> String {
    let mut sql = format!("DELETE FROM {}", table.name);
    write_conditions(&mut sql, names(table.key_columns()).into_iter());
    sql
}
