//! The same commands over every store, restarted now and then: the same answers, the same rows, the
//! same journal, bit for bit.

#![expect(clippy::unwrap_used, reason = "a test stops where it stands")]

mod audit;
mod backup;
mod behind;
mod commands;
mod faults;
mod keys;
mod lanes;
mod random;
mod settling;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use ee_control::{
    books::{BooksHandle, Reply, RequestKey, Submission},
    ports::Clock,
    sequencer,
};
use ee_core::books::{Books, Policy, Principal, principal::Role, rows::AccountRow};
use ee_protocol::{account::IdempotencyKey, time::Timestamp};
use ee_store::{
    Store,
    ledger::{
        Direction, Head, Ledger, LedgerStore, MemoryLedger, Page, Row, SqliteLedger, TABLES, Table,
        books, tables::ACCOUNT,
    },
    postgres::PostgresLedger,
};
use ee_testbed::postgres::{TEST_URL, new_schema};

use commands::Author;
use tokio::sync::oneshot;

const LEDGER: [u8; 16] = *b"ledger of a test";
/// Commands of one story; long enough for every kind to meet every other's leftovers.
const COMMANDS: u64 = 600;
/// Account rows lag by about so many transfers: the sweep is seldom between two rounds.
const REDO: u64 = 40;
/// The books are loaded anew after so many.
const RESTART_EVERY: u64 = 50;
/// One in so many commands is sent again under its key.
const REPEAT: u64 = 10;
/// Stories that are told; each takes a second and a half on PostgreSQL.
const SEEDS: u64 = 3;

struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.load(Ordering::SeqCst))
    }
}

/// What is to be the same everywhere.
#[derive(Debug, PartialEq)]
struct Told {
    replies: Vec<Reply>,
    head: Head,
    tables: Vec<(&'static str, Vec<Row>)>,
    accounts: Vec<AccountRow>,
}

#[tokio::test]
async fn random_commands_leave_the_same_rows_in_every_store() {
    let mut written = BTreeSet::new();
    for seed in 1..=SEEDS {
        let memory = || Ledger::Memory(MemoryLedger::new(LEDGER));
        let expected = tell(memory(), seed, u64::MAX).await;
        written.extend(check_variety(&expected));

        let store = Store::in_memory().unwrap();
        let sqlite = Ledger::Sqlite(SqliteLedger::open(store, LEDGER).await.unwrap());
        check(
            "memory",
            &tell(memory(), seed, RESTART_EVERY).await,
            &expected,
        );
        check(
            "SQLite",
            &tell(sqlite, seed, RESTART_EVERY).await,
            &expected,
        );
        if let Some(postgres) = postgres().await {
            check(
                "PostgreSQL",
                &tell(postgres, seed, RESTART_EVERY).await,
                &expected,
            );
        }
    }
    let all: BTreeSet<&str> = TABLES.iter().map(|table| table.name).collect();
    assert_eq!(written, all, "each kind of row was written");
}

/// `None` where `cargo xtask test` found no PostgreSQL, and says so.
async fn postgres() -> Option<Ledger> {
    static SCHEMAS: AtomicU32 = AtomicU32::new(0);
    let url = std::env::var_os(TEST_URL)?.into_string().unwrap();
    let number = SCHEMAS.fetch_add(1, Ordering::SeqCst);
    let schema = format!("stores_{}_{number}", std::process::id());
    let url = new_schema(&url, &schema).unwrap();
    let opened = PostgresLedger::open(&url, LEDGER).await;
    Some(Ledger::Postgres(opened.unwrap()))
}

/// Tells a story; the books are closed and loaded again after every `restart` commands.
async fn tell(ledger: Ledger, seed: u64, restart: u64) -> Told {
    let clock = Arc::new(HandClock(AtomicI64::new(1_770_000_000_000_000)));
    let mut author = Author::new(seed);
    let mut replies = Vec::new();
    let mut number = 0;
    while number < COMMANDS {
        let port: Arc<dyn Clock> = Arc::<HandClock>::clone(&clock);
        let opened = sequencer::open(ledger.clone(), port, policy()).await;
        let (handle, sequencer) = opened.unwrap();
        let sequencer = sequencer.with_redo(REDO);
        let until = COMMANDS.min(number.saturating_add(restart));
        let (told, stop) = oneshot::channel();
        let part = async {
            while number < until {
                one(&handle, &clock, &mut author, &mut replies, number).await;
                number += 1;
            }
            // Whoever waits for it may have ended already.
            let _ = told.send(());
        };
        let stop = async { stop.await.unwrap() };
        let stopped = tokio::join!(sequencer.run(stop), part).0;
        assert!(matches!(stopped, sequencer::Stopped::Asked), "{stopped:?}");
    }
    Told {
        replies,
        head: ledger.head().await.unwrap(),
        tables: tables(&ledger).await,
        accounts: accounts(&ledger).await,
    }
}

async fn one(
    handle: &BooksHandle,
    clock: &HandClock,
    author: &mut Author,
    replies: &mut Vec<Reply>,
    number: u64,
) {
    clock.0.fetch_add(author.pause_us(), Ordering::SeqCst);
    let command = author.next(clock.now());
    let key = IdempotencyKey::parse(&format!("key {number}")).unwrap();
    let route = "POST /v1/stories";
    let submission = Submission {
        principal: Principal::Role(Role::Admin),
        key: (number.is_multiple_of(2)).then_some(RequestKey { route, key }),
        command,
    };
    let reply = handle.submit(submission.clone()).await.unwrap();
    handle.read(|books| books.audit()).await.unwrap().unwrap();
    author.hear(&reply);
    if submission.key.is_some() && number.is_multiple_of(REPEAT) {
        let again = handle.submit(submission).await.unwrap();
        assert!(again.replayed);
        assert_eq!((&again.outcome, again.seq), (&reply.outcome, reply.seq));
    }
    replies.push(reply);
}

/// Short spans, so that a story lives through all of them.
fn policy() -> Policy {
    Policy {
        settlement_grace_s: 120,
        settlement_deadline_s: 7_200,
        payout_hold_s: 300,
        abuse_decision_s: 900,
        unbonding_s: 1_800,
        slash_delay_s: 600,
        ..Policy::documented()
    }
}

async fn tables(ledger: &Ledger) -> Vec<(&'static str, Vec<Row>)> {
    let mut tables = Vec::new();
    let account = TABLES.iter().position(|table| **table == ACCOUNT).unwrap();
    for table in TABLES {
        tables.push((table.name, ledger.page(whole(table)).await.unwrap()));
    }
    // How far an account's row is behind depends on when the books were opened.
    for row in &mut tables[account].1 {
        row.truncate(ACCOUNT.fixed);
    }
    tables
}

/// The accounts that a start comes to.
async fn accounts(ledger: &impl LedgerStore) -> Vec<AccountRow> {
    let loaded = books::load(ledger).await.unwrap();
    Books::restore(loaded.rows).accounts().cloned().collect()
}

fn whole(table: &'static Table) -> Page {
    Page {
        table,
        equals: Vec::new(),
        order: &table.order[..table.key],
        after: None,
        direction: Direction::Ascending,
        limit: 100_000,
    }
}

#[track_caller]
fn check(store: &str, told: &Told, expected: &Told) {
    for (number, (reply, expected)) in told.replies.iter().zip(&expected.replies).enumerate() {
        assert_eq!(reply, expected, "{store}: command {number}");
    }
    for ((name, rows), (_, expected)) in told.tables.iter().zip(&expected.tables) {
        assert_eq!(rows, expected, "{store}: table {name}");
    }
    assert_eq!(told, expected, "{store}");
}

/// A story in which little happens would prove little. What it wrote to.
fn check_variety(told: &Told) -> BTreeSet<&'static str> {
    let outcomes = told.replies.iter().map(|reply| &reply.outcome);
    let done = outcomes.filter(|outcome| outcome.is_ok()).count();
    let commands = told.replies.len();
    assert!(done * 2 > commands, "{done} of {commands}");
    let written = told.tables.iter().filter(|(_, rows)| !rows.is_empty());
    written.map(|(name, _)| *name).collect()
}
