//! Power cuts and failing disks, under SQLite: every image of the disk at every sync must open,
//! hold what had been acknowledged, and audit clean.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use ee_store::{
    Store,
    ledger::{Cell, Direction, LedgerStore, Page, REQUEST, SqliteLedger},
};
use tempfile::TempDir;

use crate::{
    http::Client,
    images::{Disk, LOSSES, Loss},
    kill::{asked, at_last, this_minute},
    random::Random,
    recorder::{Event, Recorder, What},
    server::{Books, Home, audit},
    story::{Operation, Period, Story, coverage, next, prologue},
};

/// Images of a normal test run; `cargo xtask crash` asks for more.
const IMAGES: u64 = 60;
/// Images are opened and audited on so many threads.
const THREADS: usize = 2;

/// A home whose server is recorded; `None`, and no test, without a C compiler.
fn recorded(folder: &Path) -> Option<(Home, Recorder)> {
    let mut home = Home::new(folder, Books::Sqlite);
    let recorder = Recorder::build(folder, &home.database_folder())?;
    home.environment = recorder.environment();
    Some((home, recorder))
}

/// An acknowledged write: its key, and how far the log was when its answer came.
struct Acknowledged {
    key: String,
    position: u64,
}

#[test]
fn power_cut_loses_nothing_that_was_acknowledged() {
    let folder = TempDir::new().unwrap();
    let Some((home, recorder)) = recorded(folder.path()) else {
        return;
    };
    let wanted = usize::try_from(asked("EE_CRASH_IMAGES", IMAGES)).unwrap();
    let seed = asked("EE_CRASH_SEED", 1);
    let acknowledged = live(&home, &recorder, wanted, seed);
    let events = recorder.events();
    let moments = moments(&events);
    assert!(
        moments.len() * LOSSES.len() >= wanted,
        "{} syncs",
        moments.len()
    );

    // Every sync if that many are wanted, else some evenly spread.
    let step = (moments.len() * LOSSES.len() / wanted).max(1);
    let images: Vec<(usize, Loss)> = moments
        .iter()
        .flat_map(|&moment| LOSSES.map(|loss| (moment, loss)))
        .step_by(step)
        .collect();
    let opened = check_images(&events, &images, &acknowledged, seed);
    eprintln!(
        "{opened} images at {} syncs of {} writes, {} acknowledged, seed {seed}",
        moments.len(),
        events
            .iter()
            .filter(|event| event.what == What::Written)
            .count(),
        acknowledged.len()
    );
}

/// A life with a stop in the middle, so that logs are brought home and begun anew.
fn live(home: &Home, recorder: &Recorder, images: usize, seed: u64) -> Vec<Acknowledged> {
    let minute = this_minute();
    let mut acknowledged = Vec::new();
    let per_life = images.div_ceil(LOSSES.len() * 2);
    for life in 0..2 {
        let server = home.start();
        let mut client = Client::new(&server.api);
        let mut random = Random::for_part(seed, life, 0);
        let period = Period::back(minute, life);
        let mut operations = if life == 0 { prologue() } else { Vec::new() };
        operations.extend(coverage(&period, life));
        let written =
            (0..per_life).map(|number| next(&mut random, &format!("{life}-{number}"), &period));
        for operation in operations.into_iter().chain(written) {
            let answer = at_last(&operation, &mut client);
            // What is refused before the books see it leaves nothing to be kept.
            if answer.body["seq"].is_u64() {
                let (key, position) = (operation.key, recorder.position());
                acknowledged.push(Acknowledged { key, position });
            }
        }
        if life == 0 {
            server.stop();
        } else {
            server.kill();
        }
    }
    acknowledged
}

/// The syncs that something hung on.
fn moments(events: &[Event]) -> Vec<usize> {
    let mut disk = Disk::default();
    let mut moments = Vec::new();
    for (at, event) in events.iter().enumerate() {
        if event.what == What::Synced && disk.is_at_risk() {
            moments.push(at);
        }
        disk.follow(event);
    }
    moments
}

fn check_images(
    events: &[Event],
    images: &[(usize, Loss)],
    acknowledged: &[Acknowledged],
    seed: u64,
) -> usize {
    let opened = AtomicUsize::new(0);
    thread::scope(|scope| {
        for part in images.chunks(images.len().div_ceil(THREADS)) {
            let opened = &opened;
            scope.spawn(move || {
                let mut disk = Disk::default();
                let mut followed = 0;
                for &(moment, loss) in part {
                    events[followed..moment]
                        .iter()
                        .for_each(|event| disk.follow(event));
                    followed = moment;
                    let mut random = Random::for_part(seed, moment as u64, loss as u64);
                    let before = events[moment].position;
                    let must: Vec<&str> = acknowledged
                        .iter()
                        .filter(|write| write.position <= before)
                        .map(|write| write.key.as_str())
                        .collect();
                    check_image(&disk, loss, &mut random, &must, moment);
                    opened.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    opened.into_inner()
}

fn check_image(disk: &Disk, loss: Loss, random: &mut Random, must: &[&str], moment: usize) {
    let folder = TempDir::new().unwrap();
    disk.write_image(folder.path(), loss, random);
    let database = folder.path().join("control-plane.db");
    let context = format!("event {moment}, {loss:?} lost, {} acknowledged", must.len());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let there = runtime
        .block_on(keys(&database))
        .unwrap_or_else(|why| panic!("{context}: {why}"));
    for key in must {
        assert!(there.contains(*key), "{context}: {key} is lost");
    }
    // Before the first answer there may be no books yet.
    if !must.is_empty() {
        audit(&database.display().to_string(), &context);
    }
}

/// The keys of all requests that the books remember, after the recovery that a start does.
async fn keys(database: &Path) -> Result<BTreeSet<String>, String> {
    let store = Store::open(database).map_err(|error| error.to_string())?;
    let ledger = SqliteLedger::open(store.clone(), *b"an image's books");
    let ledger = ledger.await.map_err(|error| error.to_string())?;
    let mut page = Page {
        table: &REQUEST,
        equals: Vec::new(),
        order: &["principal", "route", "key"],
        after: None,
        direction: Direction::Ascending,
        limit: 1_000,
    };
    let mut keys = BTreeSet::new();
    loop {
        let rows = ledger
            .page(page.clone())
            .await
            .map_err(|error| error.to_string())?;
        let Some(last) = rows.last() else { break };
        page.after = Some(last[..3].to_vec());
        keys.extend(rows.iter().map(|row| match &row[2] {
            Cell::Text(key) => key.clone(),
            other @ (Cell::Null | Cell::Int(_) | Cell::Blob(_)) => panic!("{other}"),
        }));
    }
    store.close().await;
    Ok(keys)
}

#[test]
fn failed_fsync_ends_the_server_unacknowledged() {
    let folder = TempDir::new().unwrap();
    let Some((home, recorder)) = recorded(folder.path()) else {
        return;
    };
    let mut story = Story::default();
    let mut server = home.start();
    let mut client = Client::new(&server.api);
    for operation in prologue() {
        let answer = at_last(&operation, &mut client);
        story.take(operation, answer);
    }
    recorder.fail_syncs();
    let period = Period::back(this_minute(), 0);
    let operation = next(&mut Random::new(1), "unsynced", &period);
    let answer = operation.send(&mut client);
    assert!(answer.is_none(), "{answer:?}");
    let code = server.wait();
    assert!(
        code.is_some_and(|code| code != 0),
        "{code:?}: {}",
        home.said()
    );
    let events = recorder.events();
    let failed = events
        .iter()
        .filter(|event| event.what == What::Failed)
        .count();
    assert_eq!(failed, 1, "a second sync could lie");
    assert!(
        events
            .last()
            .is_some_and(|event| event.what == What::Failed)
    );

    recorder.heal();
    go_on(&home, &mut story, operation);
}

#[test]
fn disk_full_is_said_and_passes() {
    let folder = TempDir::new().unwrap();
    let Some((home, recorder)) = recorded(folder.path()) else {
        return;
    };
    let mut story = Story::default();
    let server = home.start();
    let mut client = Client::new(&server.api);
    for operation in prologue() {
        let answer = at_last(&operation, &mut client);
        story.take(operation, answer);
    }
    let period = Period::back(this_minute(), 0);
    let operation = next(&mut Random::new(1), "too much", &period);
    recorder.fail_writes();
    let answer = client
        .post(&operation.path, &operation.key, &operation.body)
        .unwrap();
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (507, &"disk_full".into())
    );
    let read = client.get("/v1/balances/user-0").unwrap();
    assert_eq!((read.status, &read.body["exists"]), (200, &true.into()));
    // Long enough for what the server writes by itself to meet the full disk too.
    thread::sleep(Duration::from_millis(1_500));

    recorder.heal();
    let answer = at_last(&operation, &mut client);
    story.take(operation, answer);
    story.check_balances(&mut client);
    server.kill();
    let operation = next(&mut Random::new(2), "afterwards", &period);
    go_on(&home, &mut story, operation);
}

/// The next server has everything, and takes what the last one could not.
fn go_on(home: &Home, story: &mut Story, operation: Operation) {
    let server = home.start();
    let mut client = Client::new(&server.api);
    let answer = at_last(&operation, &mut client);
    story.take(operation, answer);
    story.check_answers(&mut client, 0);
    story.check_balances(&mut client);
    server.kill();
    home.audit();
}
