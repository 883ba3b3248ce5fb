//! What every store of the books must do, in cells: nothing here knows what a row means.

use ee_core::books::{AccountNo, EntryNo, Seq};
use ee_store::ledger::{
    Cell, CommitError, Direction, Head, JOURNAL, LedgerStore, Lookup, Page, REQUEST, Row,
    TableChange, history,
    tables::{FACT, TRANSFER, USAGE},
};

use crate::{
    backends::{LEDGER, over_every_store},
    rows::{all, batch_on, commit_batches, put, request_row, text, whole},
};

over_every_store! {
    books_begin_with_a_fresh_head;
    committed_rows_and_head_are_read_back;
    a_moved_head_refuses_and_leaves_nothing;
    another_epoch_refuses_and_leaves_nothing;
    a_later_epoch_takes_over;
    one_of_many_writers_wins_each_place;
    kept_rows_are_replaced_and_removed;
    a_row_removed_and_written_in_one_batch_is_there;
    lookups_answer_in_their_order;
    lookups_of_many_kinds_answer_together;
    odd_values_come_back_as_they_were;
    pages_go_both_ways_without_gap_or_repeat;
    pages_keep_to_their_filter;
    texts_sort_by_their_bytes;
    a_large_batch_is_one_batch;
    a_history_goes_back_from_line_to_line_and_leaves_no_account;
    what_is_empty_or_in_a_state_is_found;
}

async fn books_begin_with_a_fresh_head(store: impl LedgerStore) {
    assert_eq!(store.head().await.unwrap(), Head::fresh(LEDGER));
    assert_eq!(all(&store, &JOURNAL).await, Vec::<Row>::new());
}

async fn committed_rows_and_head_are_read_back(store: impl LedgerStore) {
    let batch = batch_on(&Head::fresh(LEDGER), 3);
    store.commit(batch.clone()).await.unwrap();
    assert_eq!(store.head().await.unwrap(), batch.next);
    assert_eq!(all(&store, &JOURNAL).await, batch.changes[0].put);
}

async fn a_moved_head_refuses_and_leaves_nothing(store: impl LedgerStore) {
    let head = commit_batches(&store, 2).await;
    let mut late = batch_on(&Head::fresh(LEDGER), 1);
    late.changes = vec![put(&REQUEST, vec![request_row("late", b"done", 1)])];
    assert_eq!(store.commit(late).await, Err(CommitError::Lost));
    assert_eq!(store.head().await.unwrap(), head);
    assert_eq!(all(&store, &REQUEST).await.len(), 2);
    // The refusal is no obstacle to what comes next.
    commit_batches(&store, 1).await;
}

async fn another_epoch_refuses_and_leaves_nothing(store: impl LedgerStore) {
    let head = commit_batches(&store, 1).await;
    let mut stranger = head.clone();
    stranger.epoch += 1;
    let refused = store.commit(batch_on(&stranger, 1)).await;
    assert_eq!(refused, Err(CommitError::Lost));
    assert_eq!(store.head().await.unwrap(), head);
}

async fn a_later_epoch_takes_over(store: impl LedgerStore) {
    let head = commit_batches(&store, 1).await;
    let mut takeover = batch_on(&head, 1);
    takeover.next.epoch += 1;
    let taken = takeover.next.clone();
    store.commit(takeover).await.unwrap();
    let refused = store.commit(batch_on(&head, 1)).await;
    assert_eq!(refused, Err(CommitError::Lost));
    assert_eq!(store.head().await.unwrap(), taken);
}

async fn one_of_many_writers_wins_each_place(store: impl LedgerStore) {
    let mut head = Head::fresh(LEDGER);
    for _ in 0..10 {
        let rivals = [1, 2, 3].map(|count| batch_on(&head, count));
        let [first, second, third] = rivals.clone().map(|batch| store.commit(batch));
        let (first, second, third) = tokio::join!(first, second, third);
        let won: Vec<_> = [first, second, third]
            .iter()
            .zip(rivals)
            .filter_map(|(outcome, batch)| match outcome {
                Ok(()) => Some(batch.next),
                Err(CommitError::Lost) => None,
                Err(other) => panic!("{other}"),
            })
            .collect();
        assert_eq!(won.len(), 1);
        head = store.head().await.unwrap();
        assert_eq!(head, won[0]);
    }
    assert_eq!(all(&store, &JOURNAL).await.len(), 10);
}

async fn kept_rows_are_replaced_and_removed(store: impl LedgerStore) {
    let mut batch = batch_on(&Head::fresh(LEDGER), 1);
    let rows = ["a", "b", "c"].map(|key| request_row(key, b"first", 1));
    batch.changes.push(put(&REQUEST, rows.to_vec()));
    let head = batch.next.clone();
    store.commit(batch).await.unwrap();

    let mut batch = batch_on(&head, 1);
    batch.changes.push(TableChange {
        table: &REQUEST,
        put: vec![
            request_row("b", b"second", 2),
            request_row("d", b"first", 1),
        ],
        delete: vec![rows[2][..REQUEST.key].to_vec()],
    });
    store.commit(batch).await.unwrap();
    let expected = [
        request_row("a", b"first", 1),
        request_row("b", b"second", 2),
        request_row("d", b"first", 1),
    ];
    assert_eq!(all(&store, &REQUEST).await, expected);
}

async fn a_row_removed_and_written_in_one_batch_is_there(store: impl LedgerStore) {
    let mut batch = batch_on(&Head::fresh(LEDGER), 1);
    let row = request_row("a", b"first", 1);
    batch.changes.push(put(&REQUEST, vec![row.clone()]));
    let head = batch.next.clone();
    store.commit(batch).await.unwrap();

    let again = request_row("a", b"again", 2);
    let mut batch = batch_on(&head, 1);
    batch.changes.push(TableChange {
        table: &REQUEST,
        put: vec![again.clone()],
        delete: vec![row[..REQUEST.key].to_vec()],
    });
    store.commit(batch).await.unwrap();
    assert_eq!(all(&store, &REQUEST).await, [again]);
}

async fn lookups_answer_in_their_order(store: impl LedgerStore) {
    commit_batches(&store, 30).await;
    let wanted = |key: &str| Lookup {
        table: &REQUEST,
        columns: &["principal", "route", "key"],
        values: vec![
            text("role:admin"),
            text("POST /v1/credits/purchase"),
            text(key),
        ],
    };
    let keys = ["key 0007", "no such key", "key 0001", "key 0007"];
    let found = store.lookup(keys.map(wanted).to_vec()).await.unwrap();
    let names: Vec<Vec<&Cell>> = found
        .iter()
        .map(|rows| rows.iter().map(|row| &row[2]).collect())
        .collect();
    let [seven, one] = [text("key 0007"), text("key 0001")];
    assert_eq!(names, [vec![&seven], vec![], vec![&one], vec![&seven]]);
    assert!(store.lookup(Vec::new()).await.unwrap().is_empty());
}

async fn lookups_of_many_kinds_answer_together(store: impl LedgerStore) {
    commit_batches(&store, 5).await;
    let batch = |number| Lookup {
        table: &JOURNAL,
        columns: &["batch"],
        values: vec![Cell::Int(number)],
    };
    let of_admin = Lookup {
        table: &REQUEST,
        columns: &["principal"],
        values: vec![text("role:admin")],
    };
    let by_seq = Lookup {
        table: &JOURNAL,
        columns: &["first_seq"],
        values: vec![Cell::Int(4)],
    };
    let wanted = vec![batch(2), of_admin, by_seq, batch(9)];
    let found = store.lookup(wanted).await.unwrap();
    let counts: Vec<usize> = found.iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 5, 1, 0]);
    assert_eq!(found[0][0][0], Cell::Int(2));
    assert_eq!(found[2][0][0], Cell::Int(4));
}

async fn odd_values_come_back_as_they_were(store: impl LedgerStore) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let odd = [
        "", " ", "'", "\"", "\\", "$1", "NULL", "{a,b}", "\u{1}", "é", "e\u{301}", "𝛑", "%_",
        "a\nb\tc",
    ];
    let mut batch = batch_on(&Head::fresh(LEDGER), 1);
    let mut rows: Vec<Row> = odd
        .iter()
        .map(|key| request_row(key, &every_byte, i64::MIN))
        .collect();
    rows.push(request_row("empty", b"", i64::MAX));
    batch.changes.push(put(&REQUEST, rows.clone()));
    store.commit(batch).await.unwrap();
    rows.sort();
    assert_eq!(all(&store, &REQUEST).await, rows);
}

async fn pages_go_both_ways_without_gap_or_repeat(store: impl LedgerStore) {
    commit_batches(&store, 23).await;
    let mut upward = walk(&store, Direction::Ascending).await;
    let downward = walk(&store, Direction::Descending).await;
    let whole: Vec<Cell> = all(&store, &REQUEST)
        .await
        .into_iter()
        .map(|mut row| row.remove(2))
        .collect();
    assert_eq!(upward, whole);
    upward.reverse();
    assert_eq!(upward, downward);
}

/// All keys of the requests, read in pages of five by age and key.
async fn walk(store: &impl LedgerStore, direction: Direction) -> Vec<Cell> {
    let mut page = Page {
        order: &["at_us", "key"],
        equals: vec![("principal", text("role:admin"))],
        direction,
        limit: 5,
        ..whole(&REQUEST)
    };
    let mut keys = Vec::new();
    loop {
        let rows = store.page(page.clone()).await.unwrap();
        assert!(rows.len() <= 5);
        let Some(last) = rows.last() else {
            return keys;
        };
        page.after = Some(vec![last[6].clone(), last[2].clone()]);
        keys.extend(rows.into_iter().map(|mut row| row.remove(2)));
    }
}

async fn pages_keep_to_their_filter(store: impl LedgerStore) {
    let mut batch = batch_on(&Head::fresh(LEDGER), 1);
    let of = |principal: &str, key: &str| {
        let mut row = request_row(key, b"done", 1);
        row[0] = text(principal);
        row
    };
    let rows = vec![of("a", "1"), of("b", "1"), of("b", "2"), of("c", "1")];
    batch.changes.push(put(&REQUEST, rows));
    store.commit(batch).await.unwrap();
    let page = Page {
        equals: vec![("principal", text("b"))],
        order: &["route", "key"],
        ..whole(&REQUEST)
    };
    let found = store.page(page).await.unwrap();
    assert_eq!(found, [of("b", "1"), of("b", "2")]);
}

async fn texts_sort_by_their_bytes(store: impl LedgerStore) {
    // A locale would put `a` before `B` and leave out the hyphen.
    let sorted = ["-b", "A", "B", "_", "a", "a-c", "aB", "ab", "b", "é"];
    let mut batch = batch_on(&Head::fresh(LEDGER), 1);
    let rows = sorted.iter().rev().map(|key| request_row(key, b"", 1));
    batch.changes.push(put(&REQUEST, rows.collect()));
    store.commit(batch).await.unwrap();
    let found = all(&store, &REQUEST).await;
    let keys: Vec<&Cell> = found.iter().map(|row| &row[2]).collect();
    assert_eq!(keys, sorted.map(text).iter().collect::<Vec<_>>());
}

async fn a_large_batch_is_one_batch(store: impl LedgerStore) {
    let mut batch = batch_on(&Head::fresh(LEDGER), 4_096);
    let rows: Vec<Row> = (0..4_096)
        .map(|number| request_row(&format!("{number:05}"), b"done", number))
        .collect();
    batch.changes.push(put(&REQUEST, rows.clone()));
    store.commit(batch).await.unwrap();
    assert_eq!(all(&store, &REQUEST).await, rows);
}

async fn a_history_goes_back_from_line_to_line_and_leaves_no_account(store: impl LedgerStore) {
    // From whom, to whom, and the line before of either.
    let lines = [
        (1, 2, None, None),
        (2, 3, Some(1), None),
        (1, 3, Some(1), Some(2)),
        (2, 1, Some(2), Some(3)),
    ];
    let mut batch = batch_on(&Head::fresh(LEDGER), 4);
    let rows = (1..).zip(lines).map(|(seq, line)| transfer_row(seq, line));
    batch.changes.push(put(&TRANSFER, rows.collect()));
    store.commit(batch).await.unwrap();
    for (account, from, limit, expected) in [
        (1, 4, 9, &[4, 3, 1][..]),
        (1, 4, 2, &[4, 3]),
        (1, 3, 9, &[3, 1]),
        (2, 4, 9, &[4, 2, 1]),
        (3, 3, 9, &[3, 2]),
        (3, 4, 9, &[]),
        (1, 7, 9, &[]),
    ] {
        let found = history::transfers(&store, AccountNo(account), entry(from), limit).await;
        let found: Vec<u64> = found.unwrap().iter().map(|row| row.no.seq.0).collect();
        assert_eq!(found, expected, "{account} from {from}");
    }
}

fn entry(seq: u64) -> EntryNo {
    EntryNo {
        seq: Seq(seq),
        idx: 0,
    }
}

/// A number as it stands in a table: seq * 2^22 + idx.
fn number(seq: i64) -> Cell {
    Cell::Int(seq << 22)
}

type Line = (i64, i64, Option<i64>, Option<i64>);

fn transfer_row(seq: i64, (debit, credit, debit_before, credit_before): Line) -> Row {
    let before = |seq: Option<i64>| seq.map_or(Cell::Null, number);
    vec![
        number(seq),
        Cell::Int(2),
        Cell::Int(debit),
        Cell::Int(credit),
        Cell::Int(100),
        Cell::Null,
        Cell::Null,
        Cell::Null,
        text("system"),
        Cell::Int(1),
        before(debit_before),
        before(credit_before),
    ]
}

async fn what_is_empty_or_in_a_state_is_found(store: impl LedgerStore) {
    let fact = |seq, until: Cell| {
        let [kind, from, cause, ending] = [1, 0, 0, 1].map(Cell::Int);
        let begin = [number(seq), Cell::Null, kind, from, until];
        [&begin[..], &[cause, Cell::Null, ending]].concat()
    };
    let usage = |seq, state| {
        let ids = [Cell::Null, Cell::Null];
        let meter = [1, 1, 0, 1, 1].map(Cell::Int);
        let rest = [Cell::Int(5), Cell::Int(1), Cell::Null, Cell::Int(state)];
        [&[number(seq)][..], &meter, &ids, &rest].concat()
    };
    let mut batch = batch_on(&Head::fresh(LEDGER), 1);
    let facts = [(1, Cell::Null), (2, Cell::Int(7)), (3, Cell::Null)];
    let facts = facts.map(|(seq, until)| fact(seq, until)).to_vec();
    let used = [(4, 1), (5, 2), (6, 1)];
    let used = used.map(|(seq, state)| usage(seq, state)).to_vec();
    batch.changes.push(put(&FACT, facts.clone()));
    batch.changes.push(put(&USAGE, used.clone()));
    store.commit(batch).await.unwrap();
    let page = |table, equals, after| Page {
        table,
        equals,
        order: &["no"],
        after,
        direction: Direction::Ascending,
        limit: 9,
    };
    let open = vec![("until_us", Cell::Null)];
    let found = store.page(page(&FACT, open.clone(), None)).await.unwrap();
    assert_eq!(found, [facts[0].clone(), facts[2].clone()]);
    let behind = Some(vec![number(1)]);
    let found = store.page(page(&FACT, open, behind.clone())).await.unwrap();
    assert_eq!(found, [facts[2].clone()]);
    let collected = vec![("account", Cell::Int(1)), ("state", Cell::Int(1))];
    let found = store.page(page(&USAGE, collected, behind)).await.unwrap();
    assert_eq!(found, [used[0].clone(), used[2].clone()]);
}
