//! A settlement of many locks, and what others see of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use ee_control::{
    books::{BooksHandle, Submission},
    ports::Clock,
    sequencer,
};
use ee_core::books::{
    Command, Outcome, Principal,
    command::{Purchase, RegisterNode, ReportFacts, ReportUsage, UsageIdentity},
    principal::Role,
    rows::Track,
};
use ee_protocol::{
    account::AccountId,
    money::{Amount, MicroUsd, Price, VcpuMicros},
    names::NodeId,
    period::Period,
    time::Timestamp,
};
use ee_store::{
    Store,
    ledger::{Ledger, SqliteLedger},
};
use tokio::sync::oneshot;

use super::{HandClock, LEDGER, policy};

/// 2026-02-02T03:00:00Z, the beginning of an hour.
const BEGIN_S: i64 = 1_770_001_200;
/// Several chunks of 2 000.
const LOCKS: usize = 9_000;

fn by(role: Role, command: Command) -> Submission {
    Submission {
        principal: Principal::Role(role),
        key: None,
        command,
    }
}

fn node(id: &str) -> NodeId {
    NodeId::parse(id).unwrap()
}

fn register(id: &str) -> Command {
    Command::RegisterNode(RegisterNode {
        node: node(id),
        price: Price::new(MicroUsd::from_micros(40_000)),
        effective_from: None,
        vcpus: Some(100),
        stake: None,
        tier: None,
        allow_update: false,
    })
}

/// A heartbeat that the uptime role vouches for.
fn heartbeat(at: Timestamp) -> Submission {
    let fact = ReportFacts {
        node: node("n2"),
        track: Track::Health,
        from: at.before(Duration::from_secs(60)),
        until: at,
    };
    by(Role::Uptime, Command::ReportFacts(fact))
}

/// Money, two nodes, and an hour on the first with many locks.
async fn used(books: &BooksHandle, period: Period) {
    let alice = AccountId::parse("alice").unwrap();
    let purchase = Command::Purchase(Purchase {
        account: alice.clone(),
        amount: Amount::new(MicroUsd::from_micros(1_000_000_000)).unwrap(),
        external_ref: None,
    });
    let begin = [purchase, register("n1"), register("n2")];
    let report = Command::ReportUsage(ReportUsage {
        account: alice,
        node: node("n1"),
        period,
        used: VcpuMicros::from_micros(3_600_000),
        identity: UsageIdentity::None,
        cumulative: false,
    });
    let reports = vec![report; LOCKS];
    for commands in [begin.to_vec(), reports] {
        let submissions = commands.into_iter().map(|command| by(Role::Admin, command));
        for reply in books.submit_all(submissions.collect()).await {
            assert!(reply.as_ref().unwrap().outcome.is_ok(), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn heartbeats_flow_during_settlement() {
    let begin = Timestamp::from_unix_seconds(BEGIN_S);
    let clock = Arc::new(HandClock(AtomicI64::new(begin.unix_micros())));
    let store = Store::in_memory().unwrap();
    let ledger = Ledger::Sqlite(SqliteLedger::open(store, LEDGER).await.unwrap());
    let port: Arc<dyn Clock> = Arc::<HandClock>::clone(&clock);
    let (books, sequencer) = sequencer::open(ledger, port, policy()).await.unwrap();
    let (told, stop) = oneshot::channel::<()>();
    let story = async {
        used(&books, Period::holding(begin, 3_600).unwrap()).await;
        // Past the hour, its grace and its deadline.
        clock.0.fetch_add(3 * 3_600_000_000, Ordering::SeqCst);
        let tick = Submission {
            principal: Principal::System,
            key: None,
            command: Command::Tick,
        };
        let ticked = books.submit_fact(tick).await.unwrap();
        assert!(matches!(&ticked.outcome, Ok(Outcome::Ticked(done)) if done.more));
        // Each tick is a record: where a heartbeat's follows another's at once, none ran between.
        let (mut last, mut meanwhile) = (ticked.seq, 0);
        loop {
            let reply = books.submit_fact(heartbeat(clock.now())).await.unwrap();
            assert!(reply.outcome.is_ok(), "{reply:?}");
            if reply.seq == last + 1 && meanwhile > 0 {
                break;
            }
            (last, meanwhile) = (reply.seq, meanwhile + 1);
            assert!(meanwhile < LOCKS, "the settlement ends");
        }
        assert!(
            meanwhile > 1,
            "a heartbeat waits for a chunk, not for the settlement"
        );
        let alice = AccountId::parse("alice").unwrap();
        let held = books.read(move |books| books.balance(&alice).map(|balance| balance.locked));
        assert_eq!(
            held.await.unwrap(),
            Some(MicroUsd::ZERO),
            "all of it is resolved"
        );
        told.send(()).unwrap();
    };
    let stop = async { stop.await.unwrap() };
    let (stopped, ()) = tokio::join!(sequencer.run(stop), story);
    assert!(matches!(stopped, sequencer::Stopped::Asked), "{stopped:?}");
}

/// LEDGER 8: now = max(last, wall).
#[tokio::test]
async fn a_clock_set_back_takes_no_record_back() {
    let begin = Timestamp::from_unix_seconds(BEGIN_S);
    let clock = Arc::new(HandClock(AtomicI64::new(begin.unix_micros())));
    let store = Store::in_memory().unwrap();
    let ledger = Ledger::Sqlite(SqliteLedger::open(store, LEDGER).await.unwrap());
    let port = || -> Arc<dyn Clock> { Arc::<HandClock>::clone(&clock) };
    let mut last = begin;
    // Forwards, back by a day, on a little, forwards beyond; the books are opened anew in between.
    for step_s in [60, -86_400, 5, 86_400 + 60] {
        clock.0.fetch_add(step_s * 1_000_000, Ordering::SeqCst);
        let (books, sequencer) = sequencer::open(ledger.clone(), port(), policy())
            .await
            .unwrap();
        let work = async {
            let command = register(&format!("n{}", last.unix_seconds() + step_s));
            let reply = books.submit(by(Role::Admin, command)).await.unwrap();
            assert_eq!(
                reply.at,
                last.max(clock.now()),
                "never before what was acted on"
            );
            last = reply.at;
            drop(books);
        };
        tokio::join!(sequencer.run(std::future::pending()), work);
    }
    assert_eq!(last, clock.now(), "the clock has caught up");
}
