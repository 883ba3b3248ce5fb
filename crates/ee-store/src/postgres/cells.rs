//! Cells on their way to PostgreSQL and back: whole columns as arrays, rows one by one.

use bytes::BytesMut;
use tokio_postgres::{
    Row as PostgresRow,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use crate::{
    error::StoreError,
    ledger::{Cell, Column, ColumnKind, Row},
};

/// A value of a parameter's type, or nothing.
type Error = Box<dyn std::error::Error + Sync + Send>;

/// One parameter.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Ints(Vec<Option<i64>>),
    Texts(Vec<Option<&'a str>>),
    Blobs(Vec<Option<&'a [u8]>>),
    One(&'a Cell),
}

/// The columns of `rows`, which have cells for exactly `columns`.
///
/// # Panics
/// When a cell does not fit its column: rows are made by our own code. Better here, before
/// anything was sent, than in the middle of a transaction.
pub(super) fn arrays<'a, R: AsRef<[Cell]>>(columns: &[Column], rows: &'a [R]) -> Vec<Value<'a>> {
    for row in rows {
        assert_eq!(row.as_ref().len(), columns.len(), "a cell for each column");
    }
    let of = |(at, column): (usize, &Column)| {
        let cells = rows.iter().map(|row| &row.as_ref()[at]);
        match column.kind {
            ColumnKind::Int => Value::Ints(cells.map(|cell| int(column, cell)).collect()),
            ColumnKind::Text => Value::Texts(cells.map(|cell| text(column, cell)).collect()),
            ColumnKind::Blob => Value::Blobs(cells.map(|cell| blob(column, cell)).collect()),
        }
    };
    columns.iter().enumerate().map(of).collect()
}

fn int(column: &Column, cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Int(number) => Some(*number),
        Cell::Null => None,
        Cell::Text(_) | Cell::Blob(_) => misfit(column, cell),
    }
}

fn text<'a>(column: &Column, cell: &'a Cell) -> Option<&'a str> {
    match cell {
        Cell::Text(text) => Some(text),
        Cell::Null => None,
        Cell::Int(_) | Cell::Blob(_) => misfit(column, cell),
    }
}

fn blob<'a>(column: &Column, cell: &'a Cell) -> Option<&'a [u8]> {
    match cell {
        Cell::Blob(bytes) => Some(bytes),
        Cell::Null => None,
        Cell::Int(_) | Cell::Text(_) => misfit(column, cell),
    }
}

fn misfit(column: &Column, cell: &Cell) -> ! {
    panic!("column {} cannot hold {cell}", column.name)
}

impl ToSql for Value<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Error> {
        match self {
            Self::Ints(array) => array.to_sql(kind, out),
            Self::Texts(array) => array.to_sql(kind, out),
            Self::Blobs(array) => array.to_sql(kind, out),
            Self::One(Cell::Null) => Ok(IsNull::Yes),
            Self::One(Cell::Int(number)) => number.to_sql(kind, out),
            Self::One(Cell::Text(text)) => text.to_sql(kind, out),
            Self::One(Cell::Blob(bytes)) => bytes.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        const KINDS: [Type; 6] = [
            Type::INT8,
            Type::TEXT,
            Type::BYTEA,
            Type::INT8_ARRAY,
            Type::TEXT_ARRAY,
            Type::BYTEA_ARRAY,
        ];
        KINDS.contains(kind)
    }

    to_sql_checked!();
}

/// A row of a table, whose columns begin at `from` in what was selected.
pub(super) fn row(columns: &[Column], found: &PostgresRow, from: usize) -> Result<Row, StoreError> {
    let cell = |(at, column): (usize, &Column)| {
        let at = from + at;
        let cell = match column.kind {
            ColumnKind::Int => found
                .try_get::<_, Option<i64>>(at)
                .map(|v| v.map(Cell::Int)),
            ColumnKind::Text => found
                .try_get::<_, Option<String>>(at)
                .map(|v| v.map(Cell::Text)),
            ColumnKind::Blob => found
                .try_get::<_, Option<Vec<u8>>>(at)
                .map(|v| v.map(Cell::Blob)),
        };
        cell.map(|cell| cell.unwrap_or(Cell::Null))
            .map_err(|error| StoreError::Corrupt(error.to_string()))
    };
    columns.iter().enumerate().map(cell).collect()
}
