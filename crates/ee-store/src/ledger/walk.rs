//! Rows read one after the other, page by page, in the order of an index.

use super::{Cell, Direction, LedgerStore, Page, Row, Table, rows::stored::Stored};
use crate::error::StoreError;

/// Rows read at once: a bounded piece of memory, and a bounded read transaction.
const PAGE_ROWS: u32 = 10_000;

/// Rows to be read page by page, in the order of an index.
pub(crate) struct Walk {
    /// Columns that must have these values.
    pub equals: Vec<(&'static str, Cell)>,
    /// The order; together with `equals` it names a row.
    pub order: &'static [&'static str],
    /// Begin behind these values of `order`.
    pub after: Option<Row>,
}

impl Walk {
    /// The whole table.
    pub fn by_key<T: Stored>() -> Self {
        Self {
            equals: Vec::new(),
            order: key_order(T::TABLE),
            after: None,
        }
    }
}

/// Every row of a table.
///
/// # Errors
/// When the store cannot be read, or holds what no server wrote.
pub(crate) async fn all<S: LedgerStore, T: Stored>(store: &S) -> Result<Vec<T>, StoreError> {
    rows(store, Walk::by_key::<T>()).await
}

/// Hands over every row of a table, page by page.
///
/// # Errors
/// When the store cannot be read, or holds what no server wrote.
pub(crate) async fn each<S: LedgerStore, T: Stored>(
    store: &S,
    mut take: impl FnMut(T),
) -> Result<(), StoreError> {
    walk(store, Walk::by_key::<T>(), |row| {
        take(row);
        true
    })
    .await
}

pub(crate) async fn rows<S: LedgerStore, T: Stored>(
    store: &S,
    of: Walk,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    let take = |row| {
        found.push(row);
        true
    };
    walk(store, of, take).await?;
    Ok(found)
}

/// Reads rows until there are no more or `take` has enough. The store reads a page while the one
/// before it is taken.
pub(crate) async fn walk<S: LedgerStore, T: Stored>(
    store: &S,
    of: Walk,
    mut take: impl FnMut(T) -> bool,
) -> Result<(), StoreError> {
    let page = |after| {
        store.page(Page {
            table: T::TABLE,
            equals: of.equals.clone(),
            order: of.order,
            after,
            direction: Direction::Ascending,
            limit: PAGE_ROWS,
        })
    };
    let cell = |row: &Row, name: &&str| row[T::TABLE.position(name)].clone();
    let place = |row: &Row| -> Row { of.order.iter().map(|name| cell(row, name)).collect() };
    let mut rows = page(of.after.clone()).await?;
    loop {
        let more = rows.len() == PAGE_ROWS as usize;
        let last = rows.last().filter(|_| more).map(place);
        let next = async {
            match last {
                Some(last) => page(Some(last)).await,
                None => Ok(Vec::new()),
            }
        };
        let taken = async {
            for row in rows {
                if !take(T::from_row(row)?) {
                    return Ok(false);
                }
            }
            Ok::<_, StoreError>(true)
        };
        let (next, taken) = tokio::join!(next, taken);
        if !taken? {
            return Ok(());
        }
        rows = next?;
        if rows.is_empty() {
            return Ok(());
        }
    }
}

/// The names of a table's key, for a page in its order.
pub(crate) fn key_order(table: &'static Table) -> &'static [&'static str] {
    &table.order[..table.key]
}
