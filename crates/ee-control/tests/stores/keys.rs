//! Answers are kept under their keys for thirty days, and then forgotten some at a time, by the
//! replay as by the server.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use ee_control::{
    books::{BooksHandle, RequestKey, Submission},
    ports::Clock,
    sequencer,
};
use ee_core::books::{Command, Principal, command::Purchase, principal::Role};
use ee_protocol::{
    account::{AccountId, IdempotencyKey},
    money::{Amount, MicroUsd},
};
use ee_store::{
    Store,
    audit::{Check, verify},
    ledger::{
        Ledger, LedgerStore, MemoryLedger, REQUEST, SqliteLedger,
        requests::{FORGOTTEN_AT_ONCE, REMEMBERED, is_due},
    },
};

use super::{HandClock, LEDGER, policy, postgres, whole};

/// More than one tick forgets.
const KEYS: usize = FORGOTTEN_AT_ONCE as usize + 500;

fn purchase(key: &str) -> Submission {
    Submission {
        principal: Principal::Role(Role::Admin),
        key: Some(RequestKey {
            route: "POST /v1/credits/purchase",
            key: IdempotencyKey::parse(key).unwrap(),
        }),
        command: Command::Purchase(Purchase {
            account: AccountId::parse("alice").unwrap(),
            amount: Amount::new(MicroUsd::from_micros(1)).unwrap(),
            external_ref: None,
        }),
    }
}

async fn tick(handle: &BooksHandle) {
    let tick = Submission {
        principal: Principal::System,
        key: None,
        command: Command::Tick,
    };
    handle.submit_fact(tick).await.unwrap().outcome.unwrap();
}

#[tokio::test]
async fn a_key_is_new_again_after_thirty_days_in_every_store() {
    story(Ledger::Memory(MemoryLedger::new(LEDGER))).await;
    let sqlite = SqliteLedger::open(Store::in_memory().unwrap(), LEDGER).await;
    story(Ledger::Sqlite(sqlite.unwrap())).await;
    if let Some(postgres) = postgres().await {
        story(postgres).await;
    }
}

async fn story(ledger: Ledger) {
    let clock = Arc::new(HandClock(AtomicI64::new(1_770_000_000_000_000)));
    let port: Arc<dyn Clock> = Arc::<HandClock>::clone(&clock);
    let (handle, sequencer) = sequencer::open(ledger.clone(), port, policy())
        .await
        .unwrap();
    let kept = async || ledger.page(whole(&REQUEST)).await.unwrap().len();
    let work = async {
        let keys = (0..KEYS).map(|number| purchase(&format!("key {number}")));
        let all = handle.submit_all(keys.collect()).await;
        assert!(all.iter().all(|reply| !reply.as_ref().unwrap().replayed));
        let first = clock.now();

        clock.0.fetch_add(whole_micros() - 1, Ordering::SeqCst);
        let again = handle.submit(purchase("key 7")).await.unwrap();
        assert!(again.replayed, "a moment before its time is over");
        tick(&handle).await;
        assert_eq!(kept().await, KEYS);
        assert!(!is_due(&ledger, clock.now()).await.unwrap());

        clock.0.fetch_add(1, Ordering::SeqCst);
        assert!(is_due(&ledger, clock.now()).await.unwrap());
        let anew = handle.submit(purchase("key 7")).await.unwrap();
        assert!(
            !anew.replayed && anew.at > first,
            "new, though nothing is forgotten yet"
        );
        assert_eq!(kept().await, KEYS);
        assert!(handle.submit(purchase("key 7")).await.unwrap().replayed);

        tick(&handle).await;
        assert_eq!(kept().await, KEYS - FORGOTTEN_AT_ONCE as usize);
        tick(&handle).await;
        assert_eq!(kept().await, 1, "the key that was used again");
        assert!(!is_due(&ledger, clock.now()).await.unwrap());
        assert!(handle.submit(purchase("key 7")).await.unwrap().replayed);
        assert!(!handle.submit(purchase("key 8")).await.unwrap().replayed);
        drop(handle);
    };
    tokio::join!(sequencer.run(std::future::pending()), work);
    let report = verify(&ledger, &Check::ALL).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
}

fn whole_micros() -> i64 {
    i64::try_from(REMEMBERED.as_micros()).unwrap()
}
