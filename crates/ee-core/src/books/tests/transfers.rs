//! Purchases, transfers, payouts, adjustments, ids of clients.

use super::*;

#[test]
fn self_transfer_is_refused() {
    let mut rig = Rig::new();
    rig.buy("u1", 100);
    let refused = rig.run(Command::Transfer(transfer("u1", "u1", 10)));
    assert_eq!(refused, Err(Refusal::SameAccount));
}

#[test]
fn a_transfer_moves_what_is_available_and_no_more() {
    let mut rig = Rig::new();
    rig.buy("u1", 100);
    rig.run(Command::Transfer(transfer("u1", "u2", 60)))
        .expect("moved");
    let refused = rig.run(Command::Transfer(transfer("u1", "u2", 41)));
    assert_eq!(refused, Err(Refusal::InsufficientFunds));
    assert_eq!((rig.available("u1"), rig.available("u2")), (40, 60));
    let from_nobody = rig.run(Command::Transfer(transfer("nobody", "u2", 1)));
    assert_eq!(from_nobody, Err(Refusal::InsufficientFunds));
}

#[test]
fn an_unknown_receiver_is_opened_only_if_asked() {
    let mut rig = Rig::new();
    rig.buy("u1", 100);
    let to_nobody = Transfer {
        open_account: false,
        ..transfer("u1", "u2", 10)
    };
    let refused = rig.run(Command::Transfer(to_nobody));
    assert_eq!(refused, Err(Refusal::AccountNotFound));
    assert_eq!(rig.books.balance(&id("u2")), None);
}

#[test]
fn repeated_purchase_mints_once() {
    let mut rig = Rig::new();
    let first = rig.run(purchase("u1", 500, Some("invoice-1")));
    let again = rig.run(purchase("u1", 500, Some("invoice-1")));
    assert_eq!(first, again);
    assert_eq!(rig.available("u1"), 500);
    let other = rig.run(purchase("u1", 501, Some("invoice-1")));
    assert_eq!(other, Err(Refusal::IdReused));
}

#[test]
fn an_id_means_one_transfer_for_ever_and_its_refusal_is_remembered() {
    let mut rig = Rig::new();
    rig.buy("u1", 10);
    let wanted = Transfer {
        id: Some(client("t1")),
        ..transfer("u1", "u2", 25)
    };
    let refused = rig.run(Command::Transfer(wanted.clone()));
    assert_eq!(refused, Err(Refusal::InsufficientFunds));
    rig.buy("u1", 100);
    let again = rig.run(Command::Transfer(wanted));
    assert_eq!(
        again,
        Err(Refusal::InsufficientFunds),
        "even if funds came since"
    );
    assert_eq!(rig.available("u2"), 0);
}

#[test]
fn ids_of_one_account_are_not_met_by_another() {
    let mut rig = Rig::new();
    rig.buy("u1", 100);
    rig.buy("u2", 100);
    for from in ["u1", "u2"] {
        let wanted = Transfer {
            id: Some(client("same")),
            ..transfer(from, "u3", 5)
        };
        rig.run(Command::Transfer(wanted)).expect("moved");
    }
    assert_eq!(rig.available("u3"), 10);
}

#[test]
fn user_cannot_be_a_node() {
    let mut rig = Rig::with_node(1);
    let refused = rig.run(purchase("n1", 5, None));
    assert_eq!(refused, Err(Refusal::AccountKindConflict));
    rig.buy("u1", 5);
    let registered = rig.run(Command::RegisterNode(RegisterNode {
        node: node("u1"),
        price: None,
        effective_from: None,
        vcpus: None,
        stake: None,
        tier: None,
        allow_update: true,
    }));
    assert_eq!(registered, Err(Refusal::AccountKindConflict));
}

#[test]
fn to_be_paid_squats_nobodys_kind() {
    let mut rig = Rig::new();
    rig.buy("u1", 100);
    rig.run(Command::Transfer(transfer("u1", "n9", 5)))
        .expect("moved");
    rig.register("n9", 1, None);
    assert_eq!(rig.available("n9"), 5);
}

#[test]
fn the_supply_has_a_cap() {
    let mut rig = Rig::new();
    let most = ee_protocol::money::AMOUNT_MAX_MICRO_USD;
    for _ in 0..4_500 {
        rig.books
            .apply(
                at(0),
                &ADMIN,
                &purchase("u1", most, None),
                &Known::default(),
            )
            .expect("below the cap");
    }
    assert_eq!(rig.run(purchase("u1", 1, None)), Err(Refusal::SupplyCap));
}

#[test]
fn payouts_and_adjustments_keep_the_sum_at_zero() {
    let mut rig = Rig::new();
    rig.buy("u1", 100);
    let payout = Payout {
        id: Some(client("p1")),
        account: id("u1"),
        amount: amount(30),
        external_ref: Some(client("wire-7")),
    };
    rig.run(Command::Payout(payout.clone())).expect("paid out");
    rig.run(Command::Payout(payout)).expect("the same");
    let adjust = |debit: &str, credit: &str, micros| {
        Command::Adjust(Adjust {
            id: None,
            debit: ee_protocol::account::AccountName::parse(debit).expect("a name"),
            credit: ee_protocol::account::AccountName::parse(credit).expect("a name"),
            amount: amount(micros),
            reason: ee_protocol::account::Note::parse("by hand").expect("a note"),
        })
    };
    rig.run(adjust("sys:mint", "u1", 7)).expect("adjusted");
    assert_eq!(rig.available("u1"), 77);
    assert_eq!(
        rig.run(adjust("u1", "sys:mint", 78)),
        Err(Refusal::InsufficientFunds)
    );
    assert_eq!(
        rig.run(adjust("u1", "nobody", 1)),
        Err(Refusal::AccountNotFound)
    );
}

#[test]
fn a_batch_that_was_not_written_leaves_no_trace() {
    let mut rig = Rig::with_node(3_600);
    rig.buy("u1", 20_000);
    let before = rig.books.clone();
    let wanted = Transfer {
        id: Some(client("t1")),
        ..transfer("u1", "new", 25)
    };
    let known = Known::default();
    for command in [
        Command::Transfer(wanted.clone()),
        Command::Lock(lock("u1", hour(5), 1, LockMode::Metered)),
        Command::ReportUsage(report(hour(2), 7_200_000_000)),
    ] {
        rig.books
            .apply(at(1), &ADMIN, &command, &known)
            .expect("applied");
    }
    rig.books.roll_back();
    assert_eq!(rig.books.changes(), Changes::default());
    assert_eq!(rig.books.head(), before.head());
    assert_eq!(rig.books.accounts().count(), before.accounts().count());
    assert_eq!(rig.available("u1"), 20_000);
    rig.run(Command::Transfer(wanted))
        .expect("as if for the first time");
    assert_eq!(rig.available("new"), 25);
}

#[test]
fn a_row_that_changed_often_is_written_once() {
    let mut rig = Rig::new();
    rig.buy("u1", 100);
    for _ in 0..5 {
        let command = Command::Transfer(transfer("u1", "u2", 1));
        rig.books
            .apply(at(0), &ADMIN, &command, &rig.known)
            .expect("moved");
    }
    let changes = rig.books.changes();
    assert_eq!((changes.accounts.len(), changes.transfers.len()), (2, 5));
}

#[test]
fn ids_print_in_the_order_of_rows_and_read_back() {
    let id = |seq, idx| {
        EntryId::new(
            at(1),
            EntryNo {
                seq: crate::books::Seq(seq),
                idx,
            },
        )
    };
    let (first, second) = (id(7, 9), id(7, 10));
    assert!(first.to_string() < second.to_string());
    assert_eq!(first.to_string().len(), 32);
    assert_eq!(EntryId::parse(&first.to_string()), Some(first));
    assert_eq!(EntryId::parse(&"f".repeat(32)), None);
    assert_eq!(EntryId::parse("00"), None);
}
