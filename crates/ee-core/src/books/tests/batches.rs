//! Many transfers in one command.

use super::*;
use crate::books::outcome::ItemResult;

fn item(from: &str, to: &str, micros: i64, chain: bool) -> BatchItem {
    BatchItem {
        transfer: transfer(from, to, micros),
        chain,
    }
}

fn run(rig: &mut Rig, items: Vec<BatchItem>) -> Vec<ItemResult> {
    match rig.run(Command::TransferBatch(TransferBatch { items })) {
        Ok(Outcome::Batch(results)) => results,
        other => panic!("not a batch: {other:?}"),
    }
}

#[test]
fn items_stand_each_on_their_own() {
    let mut rig = Rig::new();
    rig.buy("u1", 100);
    let items = vec![
        item("u1", "u2", 60, false),
        item("u1", "u2", 60, false),
        item("u2", "u3", 10, false),
    ];
    let results = run(&mut rig, items);
    assert!(matches!(results[0], ItemResult::Moved(_)));
    assert_eq!(results[1], ItemResult::Refused(Refusal::InsufficientFunds));
    assert!(matches!(results[2], ItemResult::Moved(_)));
    assert_eq!(rig.available("u2"), 50);
}

#[test]
fn a_chain_stands_and_falls_together() {
    let mut rig = Rig::new();
    rig.buy("u1", 100);
    let items = vec![
        item("u1", "u2", 60, true),
        item("u2", "new", 60, true),
        item("u1", "u3", 60, true),
        item("u3", "u4", 1, false),
        item("u1", "u5", 100, false),
    ];
    let results = run(&mut rig, items);
    let broken = ItemResult::ChainBroken;
    let refused = ItemResult::Refused(Refusal::InsufficientFunds);
    assert_eq!(
        results[..4],
        [broken.clone(), broken.clone(), refused, broken]
    );
    assert!(
        matches!(results[4], ItemResult::Moved(_)),
        "the chain took nothing"
    );
    assert_eq!(rig.books.balance(&id("new")), None);
    assert_eq!(rig.available("u5"), 100);
    assert_eq!(rig.transfers().len(), 2);
}

#[test]
fn a_broken_chain_may_come_again_but_for_what_broke_it() {
    let mut rig = Rig::new();
    rig.buy("u1", 50);
    let with_id = |name: &str, item: BatchItem| BatchItem {
        transfer: Transfer {
            id: Some(client(name)),
            ..item.transfer
        },
        ..item
    };
    let chain = || {
        vec![
            with_id("a", item("u1", "u2", 50, true)),
            with_id("b", item("u1", "u2", 50, false)),
        ]
    };
    let refused = ItemResult::Refused(Refusal::InsufficientFunds);
    assert_eq!(
        run(&mut rig, chain()),
        [ItemResult::ChainBroken, refused.clone()]
    );
    rig.buy("u1", 100);
    assert_eq!(run(&mut rig, chain()), [ItemResult::ChainBroken, refused]);
    let alone = run(&mut rig, vec![with_id("a", item("u1", "u2", 50, false))]);
    assert!(matches!(alone[0], ItemResult::Moved(_)));
    assert_eq!(
        run(&mut rig, vec![with_id("a", item("u1", "u2", 50, false))]),
        alone
    );
    assert_eq!(rig.available("u2"), 50);
}

#[test]
fn an_id_is_the_same_alone_and_in_a_batch() {
    let mut rig = Rig::new();
    rig.buy("u1", 50);
    let wanted = Transfer {
        id: Some(client("t1")),
        ..transfer("u1", "u2", 20)
    };
    let alone = rig.run(Command::Transfer(wanted.clone()));
    let Ok(Outcome::Moved(moved)) = alone else {
        panic!("not moved")
    };
    let results = run(
        &mut rig,
        vec![BatchItem {
            transfer: wanted,
            chain: false,
        }],
    );
    assert_eq!(results, [ItemResult::Moved(moved.transfer)]);
    assert_eq!(rig.available("u2"), 20);
}

#[test]
fn the_same_id_twice_in_a_batch_moves_once() {
    let mut rig = Rig::new();
    rig.buy("u1", 50);
    let wanted = Transfer {
        id: Some(client("t1")),
        ..transfer("u1", "u2", 20)
    };
    let item = BatchItem {
        transfer: wanted,
        chain: false,
    };
    let results = run(&mut rig, vec![item.clone(), item]);
    assert_eq!(results[0], results[1]);
    assert_eq!(rig.available("u2"), 20);
}
