//! From the books to their tables: what a batch writes, and the journal's own rows.

use ee_core::books::{Books, Changes, known::RequestKey, rows::MeterKey};
use ee_core::journal::{Body, Header, Root};

use super::{
    Batch, Behind, Cell, Head, LedgerStore, Lookup, Row, TableChange,
    requests::Requests,
    rows::{field::Field, stored::Stored, tables::*},
    tables::JOURNAL,
};
use crate::error::StoreError;

pub use super::start::{Loaded, load};
pub(crate) use super::walk::{each, key_order};

/// What a batch writes, table by table, accounts aside.
fn changes(changes: &Changes) -> Vec<TableChange> {
    let Changes {
        accounts: _,
        accounts_untold: _,
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

/// The transaction of a batch, and the head after it. Once it is durable, `behind` and the books
/// are to hear of it.
pub fn seal(
    head: &Head,
    (books, behind): (&Books, &mut Behind),
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
    let changed = books.changes();
    let mut changes = changes(&changed);
    changes.extend(behind.plan(books, &changed));
    changes.retain(|change| !change.put.is_empty() || !change.delete.is_empty());
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
