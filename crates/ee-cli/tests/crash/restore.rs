//! The database is lost with the process that wrote it: a copy and the segments behind it bring
//! back everything that was acknowledged, and nothing that somebody changed.

use std::{fs, path::PathBuf, thread, time::Duration};

use ee_protocol::settings::{SecretRule, Sources};
use ee_server::{
    archive::copies,
    backup::{self, UntilArg},
    config::Settings,
};
use tempfile::TempDir;

use crate::{
    http::Client,
    kill::{at_last, run},
    server::{Books, Home},
    story::prologue,
};

/// A home whose backups lie in a folder of their own.
pub fn home(folder: &TempDir) -> Home {
    let mut home = Home::new(folder.path(), Books::Sqlite);
    let backups = backups(&home).display().to_string();
    home.environment.push(("EE_BACKUP_DIR", backups));
    home
}

pub fn backups(home: &Home) -> PathBuf {
    home.folder.join("backups")
}

/// The backups of its one ledger.
pub fn of_ledger(home: &Home) -> PathBuf {
    let mut entries = fs::read_dir(backups(home)).unwrap();
    entries.next().unwrap().unwrap().path()
}

fn last_segment(home: &Home) -> PathBuf {
    let mut all = ee_store::segments::segments(&of_ledger(home)).unwrap();
    all.pop().unwrap().path
}

/// The copy of the first night is made when the server starts; here it may take its time.
pub fn wait_for_copy(home: &Home) {
    for _ in 0..600 {
        if backups(home).exists() && !copies::copies(&of_ledger(home)).unwrap().is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("no copy was made:\n{}", home.said());
}

pub fn lose_database(home: &Home) {
    for suffix in ["", "-wal", "-shm"] {
        let file = format!("{}{suffix}", home.database());
        assert!(fs::remove_file(file).is_ok() || suffix == "-shm");
    }
}

pub fn restore(home: &Home, until: &str) -> Result<String, String> {
    let (database, backups) = (home.database(), backups(home).display().to_string());
    let pairs = [
        ("EE_DB_PATH", database.as_str()),
        ("EE_BACKUP_DIR", backups.as_str()),
    ];
    let sources = Sources::from_pairs(pairs);
    let settings = Settings::from_sources(&sources, SecretRule::Strong).unwrap();
    let until = match until {
        "" => UntilArg::default(),
        until => until.parse().unwrap(),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let restored = runtime.block_on(backup::restore(&settings, None, until));
    restored.map_err(|error| format!("{error:#}"))
}

#[test]
fn a_lost_database_comes_back_with_all_that_was_acknowledged() {
    let folder = TempDir::new().unwrap();
    let home = home(&folder);
    let mut batches = Vec::new();
    let report = run(&home, |server, _| {
        wait_for_copy(&home);
        server.kill();
        lose_database(&home);
        let said = restore(&home, "").unwrap();
        batches.push(said.lines().last().unwrap().to_owned());
    });
    eprintln!("restored: {report}; {batches:?}");
}

#[test]
fn what_a_writer_did_not_finish_is_cut_and_what_somebody_changed_is_refused() {
    let folder = TempDir::new().unwrap();
    let home = home(&folder);
    let server = home.start();
    let mut client = Client::new(&server.api);
    wait_for_copy(&home);
    for operation in prologue() {
        at_last(&operation, &mut client);
    }
    server.kill();
    let database = fs::read(home.database()).unwrap();
    let log = fs::read(format!("{}-wal", home.database())).unwrap();
    lose_database(&home);
    let segment = last_segment(&home);
    let whole = fs::read(&segment).unwrap();

    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(&segment, changed).unwrap();
    let refused = restore(&home, "").unwrap_err();
    assert!(refused.contains("segment-"), "{refused}");
    assert!(
        !fs::exists(home.database()).unwrap(),
        "nothing was restored"
    );

    // Its own beginning, cut short, is what a next record might begin with.
    fs::write(&segment, [&whole[..], &whole[..5]].concat()).unwrap();
    let said = restore(&home, "").unwrap();
    assert!(said.contains("cut 5 bytes"), "{said}");
    home.audit();

    // An older place: what lies behind it is kept, but no longer followed.
    lose_database_only(&home);
    let head: u64 = word_after(&said, "batch ").parse().unwrap();
    let said = restore(&home, &(head - 1).to_string()).unwrap();
    assert!(said.contains("set aside"), "{said}");
    home.audit();
    home.start().stop();
    home.audit();

    // The segments now tell another story than the database of before, and say so.
    fs::write(home.database(), database).unwrap();
    fs::write(format!("{}-wal", home.database()), log).unwrap();
    let settings = home.environment.clone();
    let refused = std::panic::catch_unwind(|| {
        let mut again = Home::new(folder.path(), Books::Sqlite);
        again.environment = settings;
        again.start().kill();
    });
    assert!(refused.is_err(), "other books than the backups'");
    let said = home.said();
    let told = said.contains("not the same books") || said.contains("older than");
    assert!(said.contains("EE_BACKUP_DIR") && told, "{said}");
}

fn lose_database_only(home: &Home) {
    fs::remove_file(home.database()).unwrap();
}

fn word_after<'a>(text: &'a str, mark: &str) -> &'a str {
    let (_, rest) = text.split_once(mark).unwrap();
    rest.split([',', '\n', ' ']).next().unwrap()
}
