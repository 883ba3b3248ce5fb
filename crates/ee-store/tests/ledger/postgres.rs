//! What only PostgreSQL can get wrong: settings, servers that go away, answers that are lost.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use ee_store::{
    StoreError,
    ledger::{CommitError, Head, JOURNAL, LedgerStore, REQUEST, TABLES},
    postgres::{PostgresError, PostgresLedger},
};
use ee_testbed::PostgresCluster;
use tokio_postgres::NoTls;

use crate::{
    backends::{LEDGER, fresh_schema, shared_url, sql, try_sql},
    rows::{all, batch_on, commit_batches, whole},
    wire::Wire,
};

/// A cluster of this test's own, where there is PostgreSQL at all.
fn own_cluster() -> Option<PostgresCluster> {
    shared_url()?;
    Some(PostgresCluster::start().unwrap())
}

async fn refusal(url: &str) -> String {
    match PostgresLedger::open(url, LEDGER).await {
        Ok(_) => panic!("opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_server_that_may_lose_commits_is_refused() {
    let Some(cluster) = own_cluster() else { return };
    let careless = format!("{}?options=-csynchronous_commit%3Doff", cluster.url());
    assert!(
        refusal(&careless)
            .await
            .contains("synchronous_commit = off")
    );

    sql(
        &cluster.url(),
        "ALTER ROLE easyenclave SET synchronous_commit = local",
    )
    .await;
    assert!(
        refusal(&cluster.url())
            .await
            .contains("synchronous_commit = local")
    );
}

#[tokio::test]
async fn a_server_started_again_without_fsync_is_not_written_to() {
    let Some(cluster) = own_cluster() else { return };
    let store = PostgresLedger::open(&cluster.url(), LEDGER).await.unwrap();
    let head = commit_batches(&store, 1).await;
    cluster.stop_immediately().unwrap();
    cluster.start_server_with("-c fsync=off").unwrap();
    match store.commit(batch_on(&head, 1)).await {
        Err(CommitError::Unavailable(why)) => assert!(why.contains("fsync = off"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(refusal(&cluster.url()).await.contains("fsync = off"));
}

#[tokio::test]
async fn nobody_there_is_said() {
    let nowhere = "postgresql://ee@%2Fnonexistent/ee";
    assert!(refusal(nowhere).await.contains("EE_DATABASE_URL"));
}

#[tokio::test]
async fn second_server_is_refused_until_the_first_is_gone() {
    let Some(url) = shared_url() else { return };
    let url = fresh_schema(&url).await;
    let first = PostgresLedger::open_alone(&url, LEDGER).await.unwrap();
    let head = commit_batches(&first, 1).await;
    let second = PostgresLedger::open_alone(&url, LEDGER);
    let (second, ()) = tokio::join!(second, async {
        // Both have said what they wait for before the first goes: it held on to them until then.
        let refused = try_sql(
            &url,
            "SELECT 1 / (pg_try_advisory_lock(1701143918, \
                                     hashtext(current_schema())))::int",
        );
        assert!(refused.await.is_err(), "held");
        drop(first);
    });
    let second = second.unwrap();
    assert_eq!(second.head().await.unwrap(), head);
    commit_batches(&second, 1).await;
}

#[tokio::test]
async fn an_audit_reads_one_moment_while_a_server_writes() {
    let Some(url) = shared_url() else { return };
    let url = fresh_schema(&url).await;
    let store = PostgresLedger::open(&url, LEDGER).await.unwrap();
    let head = commit_batches(&store, 2).await;
    let audit = PostgresLedger::open_at_one_moment(&url).await.unwrap();
    assert_eq!(audit.head().await.unwrap(), head);
    let later = commit_batches(&store, 3).await;
    assert_eq!(store.head().await.unwrap(), later);
    assert_eq!(all(&audit, &JOURNAL).await.len(), 2, "as at the first look");
    assert_eq!(audit.head().await.unwrap(), head);
    let written = audit.commit(batch_on(&head, 1)).await;
    assert!(written.is_err(), "it only reads");
}

#[tokio::test]
async fn database_gone_and_back() {
    let Some(cluster) = own_cluster() else { return };
    let store = PostgresLedger::open(&cluster.url(), LEDGER).await.unwrap();
    let head = commit_batches(&store, 3).await;
    cluster.stop_immediately().unwrap();
    let next = batch_on(&head, 1);
    let refused = store.commit(next.clone()).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable(_))),
        "{refused:?}"
    );
    let unread = store.page(whole(&JOURNAL)).await;
    assert!(
        matches!(unread, Err(StoreError::Unavailable(_))),
        "{unread:?}"
    );

    cluster.start_server().unwrap();
    store.commit(next).await.unwrap();
    assert_eq!(all(&store, &JOURNAL).await.len(), 4);
}

#[tokio::test]
async fn a_lost_answer_is_found_by_the_head() {
    let Some(cluster) = own_cluster() else { return };
    let wire = Wire::to(cluster.socket_folder());
    let url = wire.url(&cluster.url(), cluster.socket_folder());
    let store = PostgresLedger::open(&url, LEDGER).await.unwrap();
    let head = commit_batches(&store, 1).await;
    wire.lose_next_answer();
    let batch = batch_on(&head, 2);
    store.commit(batch.clone()).await.unwrap();
    assert_eq!(store.head().await.unwrap(), batch.next);
    assert_eq!(all(&store, &JOURNAL).await.len(), 2);
}

#[tokio::test]
async fn a_lost_commit_is_sent_again() {
    let Some(cluster) = own_cluster() else { return };
    let wire = Wire::to(cluster.socket_folder());
    let url = wire.url(&cluster.url(), cluster.socket_folder());
    let store = PostgresLedger::open(&url, LEDGER).await.unwrap();
    let head = commit_batches(&store, 1).await;
    wire.lose_next_commit();
    let batch = batch_on(&head, 2);
    store.commit(batch.clone()).await.unwrap();
    assert_eq!(store.head().await.unwrap(), batch.next);
    assert_eq!(all(&store, &JOURNAL).await.len(), 2);
}

#[tokio::test]
async fn a_leader_that_lost_its_commit_and_its_place_hears_so() {
    let Some(cluster) = own_cluster() else { return };
    let wire = Wire::to(cluster.socket_folder());
    let url = wire.url(&cluster.url(), cluster.socket_folder());
    let store = PostgresLedger::open(&url, LEDGER).await.unwrap();
    let rival = PostgresLedger::open(&cluster.url(), LEDGER).await.unwrap();
    let head = commit_batches(&store, 1).await;
    wire.lose_next_commit();
    let (outcome, ()) = tokio::join!(store.commit(batch_on(&head, 2)), async {
        // Whoever is first holds the place: here that may be either.
        let _ = rival.commit(batch_on(&head, 3)).await;
    });
    let found = store.head().await.unwrap();
    match outcome {
        Ok(()) => assert_eq!(found.seq, head.seq + 2),
        Err(CommitError::Lost) => assert_eq!(found.seq, head.seq + 3),
        Err(other) => panic!("{other}"),
    }
    assert_eq!(all(&store, &JOURNAL).await.len(), 2);
}

/// PostgreSQL is stopped without farewell under commits, again and again: every batch that was
/// acknowledged is there, none twice, and none that was refused.
#[test]
fn immediate_stops_lose_nothing_that_was_acknowledged() {
    let Some(cluster) = own_cluster() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = cluster.url();
    let open = PostgresLedger::open(&url, LEDGER);
    let store = runtime.block_on(open).unwrap();
    let stopped = AtomicBool::new(false);
    let (cluster, stopped) = (&cluster, &stopped);
    let acknowledged = thread::scope(|scope| {
        scope.spawn(move || {
            for pause in [60, 110, 30, 170] {
                thread::sleep(Duration::from_millis(pause));
                cluster.stop_immediately().unwrap();
                cluster.start_server().unwrap();
            }
            stopped.store(true, Ordering::SeqCst);
        });
        runtime.block_on(write_until(&store, stopped))
    });
    let head = runtime.block_on(store.head()).unwrap();
    assert_eq!(head, acknowledged);
    let batches = runtime.block_on(all(&store, &JOURNAL)).len();
    assert_eq!(u64::try_from(batches).unwrap(), acknowledged.batch);
    assert!(acknowledged.batch > 20, "{}", acknowledged.batch);
}

async fn write_until(store: &PostgresLedger, stopped: &AtomicBool) -> Head {
    let mut head = Head::fresh(LEDGER);
    while !stopped.load(Ordering::SeqCst) {
        let batch = batch_on(&head, 1);
        match store.commit(batch.clone()).await {
            Ok(()) => head = batch.next,
            Err(CommitError::Unavailable(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    head
}

#[tokio::test]
async fn journal_and_head_refuse_to_be_changed_by_hand() {
    let Some(url) = shared_url() else { return };
    let url = fresh_schema(&url).await;
    let store = PostgresLedger::open(&url, LEDGER).await.unwrap();
    commit_batches(&store, 1).await;
    for statement in [
        "UPDATE journal SET count = 2",
        "DELETE FROM journal",
        "TRUNCATE journal",
        "DELETE FROM head",
        "TRUNCATE head",
    ] {
        assert!(try_sql(&url, statement).await.is_err(), "{statement}");
    }
}

#[tokio::test]
async fn a_newer_schema_and_a_changed_script_are_refused() {
    let Some(url) = shared_url() else { return };
    let url = fresh_schema(&url).await;
    drop(PostgresLedger::open(&url, LEDGER).await.unwrap());
    sql(
        &url,
        "INSERT INTO schema_migration SELECT 99, sha256 FROM schema_migration LIMIT 1",
    )
    .await;
    assert!(refusal(&url).await.contains("schema 99"));
    sql(&url, "DELETE FROM schema_migration WHERE version = 99").await;
    sql(
        &url,
        "UPDATE schema_migration SET sha256 = decode(repeat('00', 32), 'hex')",
    )
    .await;
    assert!(refusal(&url).await.contains("another script"));
}

#[tokio::test]
async fn reading_books_does_not_make_them() {
    let Some(url) = shared_url() else { return };
    let url = fresh_schema(&url).await;
    let none = PostgresLedger::open_existing(&url).await;
    assert!(matches!(
        none,
        Err(PostgresError::OlderSchema { found: 0, .. })
    ));
    assert!(try_sql(&url, "SELECT 1 FROM head").await.is_err());

    let store = PostgresLedger::open(&url, LEDGER).await.unwrap();
    let head = commit_batches(&store, 1).await;
    let reader = PostgresLedger::open_existing(&url).await.unwrap();
    assert_eq!(reader.head().await.unwrap(), head);
}

#[tokio::test]
async fn servers_that_start_together_migrate_once() {
    let Some(url) = shared_url() else { return };
    let url = fresh_schema(&url).await;
    let open = || PostgresLedger::open(&url, LEDGER);
    let (a, b, c) = tokio::join!(open(), open(), open());
    let heads = [
        a.unwrap().head().await.unwrap(),
        b.unwrap().head().await.unwrap(),
        c.unwrap().head().await.unwrap(),
    ];
    assert_eq!(heads, [const { Head::fresh }; 3].map(|fresh| fresh(LEDGER)));
}

/// The script spells the tables out; this is what keeps it to their one description.
#[tokio::test]
async fn the_schema_is_that_of_the_tables() {
    let Some(url) = shared_url() else { return };
    let url = fresh_schema(&url).await;
    drop(PostgresLedger::open(&url, LEDGER).await.unwrap());
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let reading = async move {
        for table in TABLES {
            let expected: Vec<String> = table
                .columns
                .iter()
                .map(|column| format!("{} {:?} {:?}", column.name, column.kind, column.presence))
                .collect();
            assert_eq!(
                columns(&client, table.name).await,
                expected,
                "{}",
                table.name
            );
            let key: Vec<&str> = table
                .key_columns()
                .iter()
                .map(|column| column.name)
                .collect();
            assert_eq!(
                primary_key(&client, table.name).await,
                key,
                "{}",
                table.name
            );
        }
    };
    tokio::select! {
        () = reading => {}
        ended = connection => panic!("{ended:?}"),
    }
}

async fn columns(client: &tokio_postgres::Client, table: &str) -> Vec<String> {
    let rows = client
        .query(
            "SELECT column_name::text, data_type::text, is_nullable::text, collation_name::text
             FROM information_schema.columns
             WHERE table_schema = current_schema() AND table_name = $1
             ORDER BY ordinal_position",
            &[&table],
        )
        .await
        .unwrap();
    let line = |row: &tokio_postgres::Row| {
        let (name, kind, nullable): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let collation: Option<String> = row.get(3);
        let kind = match (kind.as_str(), collation.as_deref()) {
            ("bigint", None) => "Int",
            ("text", Some("C")) => "Text",
            ("bytea", None) => "Blob",
            other => panic!("{table}.{name} is {other:?}"),
        };
        let presence = if nullable == "YES" {
            "Sometimes"
        } else {
            "Always"
        };
        format!("{name} {kind} {presence}")
    };
    rows.iter().map(line).collect()
}

async fn primary_key(client: &tokio_postgres::Client, table: &str) -> Vec<String> {
    let rows = client
        .query(
            "SELECT a.attname::text
             FROM pg_index i
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
             WHERE i.indrelid = to_regclass($1) AND i.indisprimary
             ORDER BY array_position(i.indkey::int2[], a.attnum)",
            &[&format!("\"{table}\"")],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn all_requests_survive_a_stop() {
    let Some(cluster) = own_cluster() else { return };
    let store = PostgresLedger::open(&cluster.url(), LEDGER).await.unwrap();
    commit_batches(&store, 5).await;
    let before = all(&store, &REQUEST).await;
    cluster.stop_immediately().unwrap();
    cluster.start_server().unwrap();
    let again = PostgresLedger::open(&cluster.url(), LEDGER).await.unwrap();
    assert_eq!(all(&again, &REQUEST).await, before);
}
