//! Commits that fail: what was surely not written leaves no trace, what may have been written is
//! never answered from memory.

use std::sync::{Arc, atomic::AtomicI64};

use ee_control::{
    books::{BooksHandle, RequestKey, Submission, SubmitError},
    ports::Clock,
    sequencer::{self, Sequencer, Stopped},
};
use ee_core::books::{Command, Principal, command::Purchase, principal::Role};
use ee_protocol::{
    account::{AccountId, AccountName, IdempotencyKey},
    money::{Amount, MicroUsd},
};
use ee_store::{
    audit::{Check, verify},
    ledger::{Fault, Ledger, LedgerStore, MemoryLedger},
};

use super::{HandClock, LEDGER, policy};

async fn open(memory: &MemoryLedger) -> (BooksHandle, Sequencer) {
    let clock: Arc<dyn Clock> = Arc::new(HandClock(AtomicI64::new(1_770_000_000_000_000)));
    let ledger = Ledger::Memory(memory.clone());
    let (handle, sequencer) = sequencer::open(ledger, clock, policy()).await.unwrap();
    (handle, sequencer.with_redo(2))
}

fn purchase(key: &str) -> Submission {
    let amount = Amount::new(MicroUsd::from_micros(1_000_000)).unwrap();
    Submission {
        principal: Principal::Role(Role::Admin),
        key: Some(RequestKey {
            route: "POST /v1/credits/purchase",
            key: IdempotencyKey::parse(key).unwrap(),
        }),
        command: Command::Purchase(Purchase {
            account: AccountId::parse("alice").unwrap(),
            amount,
            external_ref: None,
        }),
    }
}

async fn posted(handle: &BooksHandle) -> i64 {
    let name = AccountName::from(&AccountId::parse("alice").unwrap());
    let found = handle.read(move |books| {
        let mut accounts = books.accounts();
        let row = accounts.find(|row| row.name == name);
        row.map_or(0, |row| row.posted.micros())
    });
    found.await.unwrap()
}

async fn sound(memory: &MemoryLedger) {
    let report = verify(memory, &Check::ALL).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_batch_that_was_surely_not_written_leaves_no_trace() {
    for (fault, error) in [
        (Fault::DiskFull, SubmitError::DiskFull),
        (Fault::Unavailable, SubmitError::StoreUnavailable),
    ] {
        let memory = MemoryLedger::new(LEDGER);
        let (handle, sequencer) = open(&memory).await;
        let before = memory.head().await.unwrap();
        let work = async {
            memory.fail_next(fault);
            assert_eq!(handle.submit(purchase("one")).await, Err(error));
            assert_eq!(memory.head().await.unwrap(), before);
            assert_eq!(posted(&handle).await, 0);
            // Nothing is kept under the key: the retry has its effect, once.
            let retried = handle.submit(purchase("one")).await.unwrap();
            assert!(!retried.replayed);
            assert!(handle.submit(purchase("one")).await.unwrap().replayed);
            assert_eq!(posted(&handle).await, 1_000_000);
            drop(handle);
        };
        assert_eq!(
            tokio::join!(sequencer.run(std::future::pending()), work).0,
            Stopped::Abandoned
        );
        sound(&memory).await;
    }
}

#[tokio::test]
async fn an_unknown_outcome_ends_the_sequencer_and_the_next_start_tells() {
    for (fault, committed) in [(Fault::AnswerLost, true), (Fault::CommitLost, false)] {
        let memory = MemoryLedger::new(LEDGER);
        let (handle, sequencer) = open(&memory).await;
        memory.fail_next(fault);
        let run = sequencer.run(std::future::pending());
        let (stopped, answer) = tokio::join!(run, handle.submit(purchase("one")));
        assert!(matches!(stopped, Stopped::OutcomeUnknown(_)), "{stopped:?}");
        assert_eq!(answer, Err(SubmitError::OutcomeUnknown));
        assert_eq!(
            handle.submit(purchase("one")).await,
            Err(SubmitError::Closed)
        );

        let (handle, sequencer) = open(&memory).await;
        let work = async {
            let again = handle.submit(purchase("one")).await.unwrap();
            assert_eq!(again.replayed, committed);
            assert_eq!(posted(&handle).await, 1_000_000);
            drop(handle);
        };
        tokio::join!(sequencer.run(std::future::pending()), work);
        sound(&memory).await;
    }
}

#[tokio::test]
async fn another_writer_is_noticed_before_anything_is_answered() {
    let memory = MemoryLedger::new(LEDGER);
    let (first, leader) = open(&memory).await;
    let (second, follower) = open(&memory).await;
    let (stopped, overtaken) = tokio::join!(leader.run(std::future::pending()), async {
        second_wins(&second, follower).await;
        first.submit(purchase("two")).await
    });
    assert_eq!(stopped, Stopped::Overtaken);
    assert_eq!(overtaken, Err(SubmitError::OutcomeUnknown));
    sound(&memory).await;
}

async fn second_wins(handle: &BooksHandle, sequencer: Sequencer) {
    let (told, stop) = tokio::sync::oneshot::channel();
    let work = async {
        handle.submit(purchase("one")).await.unwrap();
        told.send(()).unwrap();
    };
    let stop = async { stop.await.unwrap() };
    tokio::join!(sequencer.run(stop), work);
}

#[tokio::test]
async fn twins_in_one_batch_have_one_effect_and_one_answer() {
    let memory = MemoryLedger::new(LEDGER);
    let (handle, sequencer) = open(&memory).await;
    let work = async {
        let twins = vec![purchase("one"), purchase("one"), purchase("one")];
        let replies = handle.submit_all(twins).await;
        let seqs: Vec<u64> = replies
            .iter()
            .map(|one| one.as_ref().unwrap().seq)
            .collect();
        assert!(seqs.iter().all(|seq| *seq == seqs[0]), "{seqs:?}");
        assert_eq!(posted(&handle).await, 1_000_000);
        drop(handle);
    };
    tokio::join!(sequencer.run(std::future::pending()), work);
    sound(&memory).await;
}
