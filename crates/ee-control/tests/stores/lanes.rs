//! Facts go first, and no further than their share of a batch.

use std::{
    pin::pin,
    sync::{Arc, atomic::AtomicI64},
};

use ee_control::{books::Submission, sequencer};
use ee_core::books::{
    Command, Principal,
    command::{ObserverBeat, Purchase},
    principal::Role,
};
use ee_protocol::{
    account::AccountId,
    money::{Amount, MicroUsd},
    time::Timestamp,
};
use ee_store::ledger::{Ledger, MemoryLedger};
use futures_util::{FutureExt, future};
use tokio::task::unconstrained;

use super::{HandClock, LEDGER, policy};

/// Facts that share a batch with users (LEDGER 12).
const LANE: usize = 1_024;

fn fact() -> Submission {
    Submission {
        principal: Principal::System,
        key: None,
        command: Command::ObserverBeat(ObserverBeat {
            epoch: 9,
            watermark: Timestamp::EPOCH,
        }),
    }
}

fn purchase() -> Submission {
    Submission {
        principal: Principal::Role(Role::Admin),
        key: None,
        command: Command::Purchase(Purchase {
            account: AccountId::parse("alice").unwrap(),
            amount: Amount::new(MicroUsd::from_micros(1)).unwrap(),
            external_ref: None,
        }),
    }
}

#[tokio::test]
async fn facts_go_first_and_keep_no_user_out() {
    let ledger = Ledger::Memory(MemoryLedger::new(LEDGER));
    let clock = Arc::new(HandClock(AtomicI64::new(1_770_000_000_000_000)));
    let (handle, sequencer) = sequencer::open(ledger, clock, policy()).await.unwrap();
    let before = handle.read(|books| books.head().seq.0);
    let mut run = pin!(sequencer.run(std::future::pending()).fuse());
    let mut before = pin!(before.fuse());
    let before = match future::select(&mut run, &mut before).await {
        future::Either::Right((seq, _)) => seq.unwrap(),
        future::Either::Left((stopped, _)) => panic!("{stopped}"),
    };

    // A full lane of facts, and, as the last of them is taken, another: as from a thread that
    // sends without end.
    let facts = |number: usize| handle.submit_facts((0..number).map(|_| fact()).collect());
    let mut first = Box::pin(unconstrained(facts(LANE)));
    assert!(first.as_mut().now_or_never().is_none());
    let more = handle.clone();
    let again = handle.read(move |_| {
        let lane = (0..LANE).map(|_| fact()).collect();
        let mut sent = Box::pin(unconstrained(more.submit_facts(lane)));
        assert!(sent.as_mut().now_or_never().is_none(), "they fill the lane");
    });
    let mut again = Box::pin(unconstrained(again));
    assert!(again.as_mut().now_or_never().is_none());

    let mut bought = Box::pin(unconstrained(handle.submit(purchase())));
    assert!(bought.as_mut().now_or_never().is_none());
    let told = future::join3(first, again, bought);
    let (first, again, bought) = match future::select(run, pin!(told)).await {
        future::Either::Right((told, _)) => told,
        future::Either::Left((stopped, _)) => panic!("{stopped}"),
    };
    again.unwrap();
    let seqs: Vec<u64> = first.into_iter().map(|reply| reply.unwrap().seq).collect();
    let lane = LANE as u64;
    assert_eq!(seqs, (before + 1..=before + lane).collect::<Vec<_>>());
    // The fact that ended the wait is not counted.
    assert_eq!(
        bought.unwrap().seq,
        before + 1 + lane + 1,
        "behind a full lane of facts, not behind all that come"
    );
}
