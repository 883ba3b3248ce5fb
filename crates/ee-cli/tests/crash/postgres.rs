//! Books in PostgreSQL that were restored by its own tools, and how they come back to the present.

use std::{fs::File, path::Path, process::Command};

use ee_protocol::settings::{SecretRule, Sources};
use ee_server::{
    backup::{self, UntilArg},
    config::Settings,
};
use ee_testbed::{PostgresCluster, postgres::TEST_URL};
use tempfile::TempDir;

use crate::{
    http::Client,
    kill::{asked, at_last, this_minute},
    random::Random,
    server::{Books, Home},
    story::{Period, Story, next, prologue},
};

/// Writes before the dump, and as many after it.
const WRITES: u64 = 40;

/// A cluster of the test's own; `None`, and no test, where `cargo xtask test` found no PostgreSQL.
pub fn cluster() -> Option<PostgresCluster> {
    std::env::var_os(TEST_URL)?;
    Some(PostgresCluster::start().unwrap())
}

/// Runs `psql` on a database.
pub fn psql(url: &str, arguments: &[&str]) {
    let program = PostgresCluster::programs().unwrap().join("psql");
    let output = Command::new(program)
        .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"])
        .args(arguments)
        .arg(url)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "psql {arguments:?}: {said}");
}

fn dump(url: &str, file: &Path) {
    let program = PostgresCluster::programs().unwrap().join("pg_dump");
    let status = Command::new(program)
        .arg(url)
        .stdout(File::create(file).unwrap())
        .status();
    assert!(status.unwrap().success());
}

/// `easyenclave-server restore` with the settings of a home.
fn restore(home: &Home, backups: &Path) -> Result<String, String> {
    let backups = backups.display().to_string();
    let data = home.database_folder().display().to_string();
    let pairs = [
        ("EE_DATABASE_URL", home.database()),
        ("EE_DATA_DIR", data),
        ("EE_BACKUP_DIR", backups),
    ];
    let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str()));
    let sources = Sources::from_pairs(pairs);
    let settings = Settings::from_sources(&sources, SecretRule::Strong).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let restored = runtime.block_on(backup::restore(&settings, None, UntilArg::default()));
    restored.map_err(|error| format!("{error:#}"))
}

#[test]
fn a_postgresql_that_was_restored_is_brought_forward_along_the_segments() {
    let Some(cluster) = cluster() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let mut home = Home::new(folder.path(), Books::Postgres(cluster.url()));
    let backups = folder.path().join("backups");
    let setting = backups.display().to_string();
    home.environment.push(("EE_BACKUP_DIR", setting));
    let server = home.start();
    let mut client = Client::new(&server.api);
    let mut story = Story::default();
    let mut random = Random::new(asked("EE_CRASH_SEED", 1));
    let period = Period::back(this_minute(), 0);
    for operation in prologue() {
        let answer = at_last(&operation, &mut client);
        story.take(operation, answer);
    }
    let mut write = |part: &str, client: &mut Client| {
        for number in 0..WRITES {
            let operation = next(&mut random, &format!("{part} {number}"), &period);
            let answer = at_last(&operation, client);
            story.take(operation, answer);
        }
    };
    write("before", &mut client);
    let night = folder.path().join("night.sql");
    dump(&home.database(), &night);
    write("after", &mut client);
    server.kill();

    // The database is lost; last night's is restored as another.
    psql(&cluster.url(), &["-c", "CREATE DATABASE restored"]);
    let url = cluster.url().replace("/postgres", "/restored");
    let file = format!("--file={}", night.display());
    psql(&url, &["--output=/dev/null", &file]);
    home.books = Books::Postgres(url);
    let (code, said) = home.fails_to_start();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("older than what was acknowledged"), "{said}");

    let said = restore(&home, &backups).unwrap();
    assert!(said.contains("brought forward by"), "{said}");
    home.audit();
    let server = home.start();
    let mut client = Client::new(&server.api);
    story.check_answers(&mut client, 0);
    story.check_balances(&mut client);
    server.stop();
    assert!(
        restore(&home, &backups).unwrap().contains("by 0 batches"),
        "once is enough"
    );
}
