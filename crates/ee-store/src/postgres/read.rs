//! Reading: the head, rows by key for a whole batch at once, pages.

use std::collections::BTreeMap;

use ee_protocol::time::Timestamp;
use tokio_postgres::{Row as PostgresRow, types::ToSql};

use super::{
    cells::{self, Value},
    error::of_read,
    flight::{Boxed, together},
    line::Session,
    statements,
};
use crate::{
    error::StoreError,
    ledger::{Column, Head, Lookup, Page, Row, Table, Trail, spelled},
};

/// Where the books stand.
pub(super) async fn head(session: &Session) -> Result<Head, StoreError> {
    let row = query(session, statements::READ_HEAD, &[]).await?;
    let row = row
        .first()
        .ok_or_else(|| StoreError::Corrupt("the books have no head".to_owned()))?;
    Ok(Head {
        ledger_id: bytes(row, 0)?,
        batch: unsigned(row, 1)?,
        seq: unsigned(row, 2)?,
        epoch: unsigned(row, 3)?,
        root: bytes(row, 4)?,
        at: Timestamp::from_unix_micros(row.get(5)),
    })
}

fn bytes<const N: usize>(row: &PostgresRow, at: usize) -> Result<[u8; N], StoreError> {
    let found: &[u8] = row.get(at);
    found
        .try_into()
        .map_err(|_| StoreError::Corrupt("the head has a hash of another length".to_owned()))
}

fn unsigned(row: &PostgresRow, at: usize) -> Result<u64, StoreError> {
    let found: i64 = row.get(at);
    u64::try_from(found)
        .map_err(|_| StoreError::Corrupt("the head has a negative number".to_owned()))
}

/// Lookups of the same columns of the same table: one statement finds all of them.
struct Group<'a> {
    table: &'static Table,
    columns: &'static [&'static str],
    /// Which of the lookups, and what they look for.
    wanted: Vec<(usize, &'a Row)>,
}

/// The rows that were asked for, in one round trip: one answer a lookup, in their order.
pub(super) async fn look_up(
    session: &Session,
    wanted: &[Lookup],
) -> Result<Vec<Vec<Row>>, StoreError> {
    let mut groups: BTreeMap<(&str, &[&str]), Group<'_>> = BTreeMap::new();
    for (at, lookup) in wanted.iter().enumerate() {
        let place = (lookup.table.name, lookup.columns);
        let group = groups.entry(place).or_insert_with(|| Group {
            table: lookup.table,
            columns: lookup.columns,
            wanted: Vec::new(),
        });
        group.wanted.push((at, &lookup.values));
    }
    let searches: Vec<Boxed<'_, _>> = groups
        .values()
        .map(|group| -> Boxed<'_, _> { Box::pin(search(session, group)) })
        .collect();
    let mut answers = vec![Vec::new(); wanted.len()];
    for found in together(searches).await {
        for (at, row) in found? {
            answers[at].push(row);
        }
    }
    Ok(answers)
}

async fn search(session: &Session, group: &Group<'_>) -> Result<Vec<(usize, Row)>, StoreError> {
    let column = |name: &&str| group.table.columns[group.table.position(name)];
    let columns: Vec<Column> = group.columns.iter().map(column).collect();
    let values: Vec<&Row> = group.wanted.iter().map(|(_, values)| *values).collect();
    let sql = statements::look_up(group.table, &columns);
    let arrays = cells::arrays(&columns, &values);
    let found = query(session, &sql, &arrays).await?;
    let rows = found.iter().map(|row| {
        let number: i64 = row.get(0);
        let at = usize::try_from(number - 1).expect("PostgreSQL numbers what we sent from 1");
        Ok((group.wanted[at].0, cells::row(group.table.columns, row, 1)?))
    });
    rows.collect()
}

/// One page of a table.
pub(super) async fn page(session: &Session, page: &Page) -> Result<Vec<Row>, StoreError> {
    let equals = page.equals.iter();
    let equals = equals.filter(|(column, value)| spelled(column, value).is_none());
    let equals = equals.map(|(_, value)| value);
    let values: Vec<Value<'_>> = equals
        .chain(page.after.iter().flatten())
        .map(Value::One)
        .collect();
    let found = query(session, &statements::page(page), &values).await?;
    let rows = found
        .iter()
        .map(|row| cells::row(page.table.columns, row, 0));
    rows.collect()
}

/// A part of an account's history.
pub(super) async fn trail(session: &Session, trail: &Trail) -> Result<Vec<Row>, StoreError> {
    let values = trail.values();
    let values: Vec<Value<'_>> = values.iter().map(Value::One).collect();
    let found = query(session, &Trail::sql(), &values).await?;
    let columns = Trail::table().columns;
    found
        .iter()
        .map(|row| cells::row(columns, row, 0))
        .collect()
}

async fn query(
    session: &Session,
    sql: &str,
    values: &[Value<'_>],
) -> Result<Vec<PostgresRow>, StoreError> {
    let statement = session
        .prepare(sql)
        .await
        .map_err(|error| of_read(&error))?;
    let parameters: Vec<&(dyn ToSql + Sync)> = values
        .iter()
        .map(|value| value as &(dyn ToSql + Sync))
        .collect();
    let found = session.client.query(&statement, &parameters).await;
    found.map_err(|error| of_read(&error))
}
