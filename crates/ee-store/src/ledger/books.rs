//! Between the books and their tables: what a batch changed, what the start loads, what a command
//! needs.

use std::time::Duration;

use ee_core::books::{
    Changes, Rows,
    known::RequestKey,
    rows::{AbuseRow, LockState, MeterKey, MeterRow, PolicyRow, SettlementRow, SettlementState},
};
use ee_core::journal::{Body, Header, Root};
use ee_protocol::{period::PERIOD_MAX_MS, time::Timestamp};

use super::{
    Batch, Cell, Direction, Head, LedgerStore, Lookup, Page, Row, Table, TableChange,
    requests::Requests,
    rows::{field::Field, stored::Stored, tables::*},
    tables::JOURNAL,
};
use crate::error::StoreError;

/// Rows read at once while loading: a bounded piece of memory, and a bounded read transaction.
const PAGE_ROWS: u32 = 10_000;

/// What a batch writes, table by table.
pub fn changes(changes: &Changes) -> Vec<TableChange> {
    let Changes {
        accounts,
        transfers,
        meters,
        meters_gone,
        locks,
        usage,
        payers,
        payers_gone,
        clients,
        policies,
        nodes,
        prices,
        facts,
        observers,
        settlements,
        abuse,
        slashes,
        unbondings,
        holds,
        claims,
    } = changes;
    let mut all = vec![
        put(accounts),
        put(transfers),
        put(meters),
        put(locks),
        put(usage),
        put(payers),
        put(clients),
        put(policies),
        put(nodes),
        put(prices),
        put(facts),
        put(observers),
        put(settlements),
        put(abuse),
        put(slashes),
        put(unbondings),
        put(holds),
        put(claims),
    ];
    let of_payers = all.iter_mut().find(|change| *change.table == PAYER);
    if let Some(change) = of_payers {
        change.delete = payers_gone.iter().map(|app| vec![app.to_cell()]).collect();
    }
    let of_meters = all.iter_mut().find(|change| *change.table == METER);
    if let Some(change) = of_meters {
        change.delete = meters_gone.iter().map(meter_key).collect();
    }
    all.retain(|change| !change.put.is_empty() || !change.delete.is_empty());
    all
}

fn meter_key(key: &MeterKey) -> Row {
    let MeterKey {
        node,
        period,
        account,
    } = key;
    vec![
        node.to_cell(),
        period.start_ms().to_cell(),
        period.end_ms().to_cell(),
        account.to_cell(),
    ]
}

/// The transaction of a batch, and the head after it.
pub fn seal(
    head: &Head,
    changed: &Changes,
    header: Header,
    body: Body,
    requests: &Requests,
) -> (Batch, Head) {
    let (header, root) = body.seal(&head.root, header);
    let next = Head {
        ledger_id: head.ledger_id,
        batch: header.batch,
        seq: head.seq + u64::from(header.count),
        epoch: header.epoch,
        root,
        at: header.at,
    };
    let mut changes = changes(changed);
    changes.push(journal(&header, body.into_bytes(), root));
    changes.extend(of_requests(requests));
    let batch = Batch {
        expected: head.clone(),
        next: next.clone(),
        changes,
    };
    (batch, next)
}

fn of_requests(requests: &Requests) -> Option<TableChange> {
    let Requests {
        remembered,
        forgotten,
    } = requests;
    let keys = forgotten.iter().map(|key| {
        let RequestKey {
            principal,
            route,
            key,
        } = key;
        vec![principal.to_cell(), route.to_cell(), key.to_cell()]
    });
    let change = TableChange {
        delete: keys.collect(),
        ..put(remembered)
    };
    (!change.put.is_empty() || !change.delete.is_empty()).then_some(change)
}

/// A batch of the journal.
fn journal(header: &Header, body: Vec<u8>, root: Root) -> TableChange {
    let Header {
        batch,
        first_seq,
        count,
        at,
        epoch,
        watermark,
    } = header;
    let row = vec![
        batch.to_cell(),
        first_seq.to_cell(),
        count.to_cell(),
        at.to_cell(),
        epoch.to_cell(),
        watermark.to_cell(),
        Cell::Blob(body),
        root.to_cell(),
    ];
    TableChange {
        table: &JOURNAL,
        put: vec![row],
        delete: Vec::new(),
    }
}

/// A batch of the journal by its number: header, records, root.
///
/// # Errors
/// When the store cannot be read, or holds what no server wrote.
pub async fn batch<S: LedgerStore>(
    store: &S,
    number: u64,
) -> Result<Option<(Header, Vec<u8>, Root)>, StoreError> {
    let wanted = Lookup {
        table: &JOURNAL,
        columns: &["batch"],
        values: vec![number.to_cell()],
    };
    let answers = store.lookup(vec![wanted]).await?;
    let row = answers.into_iter().flatten().next();
    row.map(read_batch).transpose()
}

/// Reads a row of the journal.
///
/// # Errors
/// When no server wrote it.
pub fn read_batch(row: Row) -> Result<(Header, Vec<u8>, Root), StoreError> {
    let cells = <[Cell; 8]>::try_from(row)
        .map_err(|_| StoreError::Corrupt("a batch of another width".to_owned()))?;
    let [batch, first_seq, count, at, epoch, watermark, body, root] = cells;
    let header = Header {
        batch: Field::from_cell(batch)?,
        first_seq: Field::from_cell(first_seq)?,
        count: Field::from_cell(count)?,
        at: Field::from_cell(at)?,
        epoch: Field::from_cell(epoch)?,
        watermark: Field::from_cell(watermark)?,
    };
    Ok((header, Field::from_cell(body)?, Field::from_cell(root)?))
}

fn put<T: Stored>(rows: &[T]) -> TableChange {
    TableChange {
        table: T::TABLE,
        put: rows.iter().map(T::to_row).collect(),
        delete: Vec::new(),
    }
}

/// What the books hold in memory, as of the last commit.
///
/// # Errors
/// When the store cannot be read, or holds what no server wrote.
pub async fn load<S: LedgerStore>(store: &S) -> Result<Rows, StoreError> {
    let head = store.head().await?;
    let policies: Vec<PolicyRow> = all(store).await?;
    let recent = recent(&policies, head.at);
    let open = vec![("state", LockState::Open.number().to_cell())];
    Ok(Rows {
        seq: ee_core::books::Seq(head.seq),
        at: head.at,
        accounts: all(store).await?,
        meters: kept(store, |row: &MeterRow| row.key.period.end() >= recent).await?,
        locks: pages(store, open, |_| true).await?,
        payers: all(store).await?,
        policies,
        nodes: all(store).await?,
        prices: all(store).await?,
        facts: kept(store, |fact: &ee_core::books::rows::FactRow| {
            fact.until.is_none_or(|until| until >= recent)
        })
        .await?,
        observers: all(store).await?,
        settlements: kept(store, |row: &SettlementRow| {
            row.state == SettlementState::Settling || row.key.period.end() >= recent
        })
        .await?,
        abuse: kept(store, |report: &AbuseRow| {
            let decided = report.decision.as_ref().map(|decision| decision.at);
            decided.is_none_or(|at| at >= recent)
        })
        .await?,
        slashes: kept(store, |slash: &ee_core::books::rows::SlashRow| {
            slash.decision.is_none()
        })
        .await?,
        unbondings: kept(store, |row: &ee_core::books::rows::UnbondingRow| {
            row.amount.micros() > 0
        })
        .await?,
        holds: kept(store, |row: &ee_core::books::rows::HoldRow| {
            row.amount.micros() > 0
        })
        .await?,
        claims: kept(store, |row: &ee_core::books::rows::ClaimRow| {
            row.amount.micros() > 0
        })
        .await?,
    })
}

/// Whatever ended before this concerns no period that may still be judged: the longest period, and
/// the longest time that any policy gave for its settlement.
fn recent(policies: &[PolicyRow], now: Timestamp) -> Timestamp {
    let deadlines = policies.iter().map(|row| row.policy.settlement_deadline_s);
    let deadline = Duration::from_secs(deadlines.max().unwrap_or(0).into());
    let longest = Duration::from_millis(PERIOD_MAX_MS.unsigned_abs());
    now.before(deadline + longest)
}

/// Every row of a table.
///
/// # Errors
/// When the store cannot be read, or holds what no server wrote.
pub(crate) async fn all<S: LedgerStore, T: Stored>(store: &S) -> Result<Vec<T>, StoreError> {
    pages(store, Vec::new(), |_| true).await
}

/// Hands over every row of a table, page by page.
///
/// # Errors
/// When the store cannot be read, or holds what no server wrote.
pub(crate) async fn each<S: LedgerStore, T: Stored>(
    store: &S,
    take: impl FnMut(T),
) -> Result<(), StoreError> {
    each_of(store, Vec::new(), take).await
}

async fn kept<S: LedgerStore, T: Stored>(
    store: &S,
    keep: impl Fn(&T) -> bool,
) -> Result<Vec<T>, StoreError> {
    pages(store, Vec::new(), keep).await
}

async fn pages<S: LedgerStore, T: Stored>(
    store: &S,
    equals: Vec<(&'static str, Cell)>,
    keep: impl Fn(&T) -> bool,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    let take = |row| {
        if keep(&row) {
            found.push(row);
        }
    };
    each_of(store, equals, take).await?;
    Ok(found)
}

async fn each_of<S: LedgerStore, T: Stored>(
    store: &S,
    equals: Vec<(&'static str, Cell)>,
    mut take: impl FnMut(T),
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let rows = store
            .page(Page {
                table: T::TABLE,
                equals: equals.clone(),
                order: key_order(T::TABLE),
                after: after.take(),
                direction: Direction::Ascending,
                limit: PAGE_ROWS,
            })
            .await?;
        let more = rows.len() == PAGE_ROWS as usize;
        after = rows.last().map(|row| T::TABLE.key_of(row).to_vec());
        for row in rows {
            take(T::from_row(row)?);
        }
        if !more {
            return Ok(());
        }
    }
}

/// The names of a table's key, for a page in its order.
pub(crate) fn key_order(table: &'static Table) -> &'static [&'static str] {
    &table.order[..table.key]
}
