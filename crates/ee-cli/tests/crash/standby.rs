//! Two servers want the same books: one has them, the other says so, and whoever lost them answers
//! nothing any more (ADR 0015).

use std::{fs, os::unix::fs::symlink, thread, time::Duration};

use tempfile::TempDir;

use crate::{
    http::Client,
    kill::at_last,
    postgres::{cluster, psql},
    server::{Books, Home},
    story::{Operation, Story, prologue},
};

/// A second server's own place.
fn beside(folder: &TempDir, books: Books) -> Home {
    let place = folder.path().join("second");
    fs::create_dir(&place).unwrap();
    Home::new(&place, books)
}

fn purchase(key: &str) -> Operation {
    let body = serde_json::json!({"account_id": "bank-0", "amount_usd": "7"});
    Operation::new(key, "/v1/credits/purchase", body).moving(700)
}

/// What the first server does before there is a second.
fn begin(client: &mut Client) -> Story {
    let mut story = Story::default();
    for operation in prologue().into_iter().chain([purchase("first")]) {
        let answer = at_last(&operation, client);
        story.take(operation, answer);
    }
    story
}

#[test]
fn a_second_process_on_one_sqlite_file_ends_and_says_why() {
    let folder = TempDir::new().unwrap();
    let home = Home::new(folder.path(), Books::Sqlite);
    let server = home.start();
    let mut client = Client::new(&server.api);
    let story = begin(&mut client);
    let second = beside(&folder, Books::Sqlite);
    fs::remove_dir(second.database_folder()).unwrap();
    symlink(home.database_folder(), second.database_folder()).unwrap();
    let (code, said) = second.fails_to_start();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("held by another running server"), "{said}");
    // The first has noticed nothing.
    story.check_answers(&mut client, 0);
    story.check_balances(&mut client);
    assert_eq!(client.get("/readyz").unwrap().status, 200);
    server.kill();
    home.audit();
    // A lock of a process that was killed holds nobody up.
    second.start().stop();
}

#[test]
fn a_second_server_on_one_postgresql_stands_by_and_takes_over() {
    let Some(cluster) = cluster() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let home = Home::new(folder.path(), Books::Postgres(cluster.url()));
    let first = home.start();
    let mut client = Client::new(&first.api);
    let mut story = begin(&mut client);

    let second = beside(&folder, Books::Postgres(cluster.url()));
    let (code, said) = second.fails_to_start();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("another server has these books open"),
        "{said}"
    );
    assert_eq!(client.get("/readyz").unwrap().status, 200);

    // The first hangs and loses its connections: whoever stands by takes over.
    let of_the_first = "CREATE TABLE of_the_first AS SELECT pid FROM pg_stat_activity \
                        WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
    psql(&cluster.url(), &["-c", of_the_first]);
    let waiting = second.launch();
    first.signal("STOP");
    let end = "SELECT pg_terminate_backend(pid) FROM of_the_first";
    psql(&cluster.url(), &["-c", end]);
    let server = waiting.serves(&second);
    let mut client = Client::new(&server.api);
    let operation = purchase("second");
    let answer = at_last(&operation, &mut client);
    story.take(operation, answer);

    // It wakes up, and answers for books that it no longer has to nobody.
    first.signal("CONT");
    let mut late = Client::new(&first.api);
    let refused = late.post("/v1/credits/purchase", "late", &purchase("late").body);
    let refused = refused.unwrap();
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (503, &"store_unavailable".into())
    );
    for _ in 0..200 {
        if late.get("/readyz").unwrap().status == 503 {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let ready = late.get("/readyz").unwrap();
    let why = ready.body["detail"].as_str().unwrap_or_default();
    let told = why.contains("another server has these books open");
    assert!(ready.status == 503 && told, "{ready:?}");
    story.check_answers(&mut client, 0);
    story.check_balances(&mut client);
    first.kill();
    server.stop();
    second.audit();
}
