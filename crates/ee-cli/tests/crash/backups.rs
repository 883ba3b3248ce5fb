//! The second place of every batch fails (ADR 0014): full, gone, silent. Nothing stops, the alarm
//! is up before an answer goes out without it, and what was answered meanwhile is there afterwards.

use std::{
    fs,
    sync::mpsc::{self, TryRecvError},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    http::{Answer, Client},
    kill::at_last,
    recorder::Recorder,
    restore::{backups, home, lose_database, of_ledger, restore, wait_for_copy},
    server::{Home, Server},
    story::{Operation, Story, prologue},
};

const ALARM: &str = "backup_segments_failing";

/// A server whose backup directory is recorded, with a copy of its database, and its story.
struct Rig {
    home: Home,
    server: Server,
    client: Client,
    story: Story,
    _folder: TempDir,
}

/// `None`, and no test, without a C compiler.
fn rig() -> Option<(Rig, Recorder)> {
    let folder = TempDir::new().unwrap();
    let mut home = home(&folder);
    // The directory has the name of a ledger, which there is after the first start.
    let server = home.start();
    wait_for_copy(&home);
    server.stop();
    let recorder = Recorder::build(folder.path(), &of_ledger(&home))?;
    home.environment.extend(recorder.environment());
    let server = home.start();
    let mut client = Client::new(&server.api);
    let mut story = Story::default();
    for operation in prologue() {
        let answer = at_last(&operation, &mut client);
        story.take(operation, answer);
    }
    let rig = Rig {
        home,
        server,
        client,
        story,
        _folder: folder,
    };
    Some((rig, recorder))
}

fn purchase(key: &str) -> Operation {
    let body = serde_json::json!({"account_id": "bank-0", "amount_usd": "7"});
    Operation::new(key, "/v1/credits/purchase", body).moving(700)
}

impl Rig {
    /// What `/readyz` says; a server whose backups fail is ready all the same.
    fn alarms(&mut self) -> String {
        let ready = self.client.get("/readyz").unwrap();
        assert_eq!(ready.status, 200, "{ready:?}");
        ready.body["alarms"].to_string()
    }

    fn wait_for_alarm(&mut self, stands: bool) {
        for _ in 0..600 {
            if self.alarms().contains(ALARM) == stands {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("no alarm, or for ever:\n{}", self.home.said());
    }

    fn buy(&mut self, key: &str) {
        let operation = purchase(key);
        let answer = operation.send(&mut self.client).expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        self.story.take(operation, answer);
    }

    /// The database is lost: what was acknowledged comes back from the directory that failed.
    fn everything_is_restored(self) {
        let Self {
            home,
            server,
            story,
            _folder,
            ..
        } = self;
        server.kill();
        lose_database(&home);
        restore(&home, "").unwrap();
        home.audit();
        let server = home.start();
        let mut client = Client::new(&server.api);
        story.check_answers(&mut client, 0);
        story.check_balances(&mut client);
    }
}

#[test]
fn a_full_backup_directory_raises_the_alarm_and_stops_nothing() {
    let Some((mut rig, recorder)) = rig() else {
        return;
    };
    rig.wait_for_alarm(false);
    recorder.fail_writes();
    rig.buy("on a full disk");
    assert!(rig.alarms().contains(ALARM));
    let said = rig.home.said();
    assert!(
        said.contains(ALARM) && said.contains("No space left"),
        "{said}"
    );
    rig.buy("under the alarm");
    recorder.heal();
    rig.wait_for_alarm(false);
    rig.everything_is_restored();
}

#[test]
fn a_backup_directory_that_is_gone_raises_the_alarm_and_is_not_made_anew() {
    let Some((mut rig, _)) = rig() else {
        return;
    };
    rig.wait_for_alarm(false);
    let (place, elsewhere) = (backups(&rig.home), rig.home.folder.join("elsewhere"));
    fs::rename(&place, &elsewhere).unwrap();
    rig.buy("without the directory");
    assert!(rig.alarms().contains(ALARM));
    rig.buy("under the alarm");
    // Longer than until the next attempt: what is made in its place may be the disk below a mount.
    thread::sleep(Duration::from_secs(11));
    assert!(!place.exists() && rig.alarms().contains(ALARM));
    let said = rig.home.said();
    assert!(said.contains("is gone: mount or make it again"), "{said}");
    fs::rename(&elsewhere, &place).unwrap();
    rig.wait_for_alarm(false);
    rig.everything_is_restored();
}

#[test]
fn a_backup_directory_that_hangs_is_waited_for_and_then_goes_without() {
    let Some((mut rig, recorder)) = rig() else {
        return;
    };
    rig.wait_for_alarm(false);
    recorder.hang_syncs();
    let (told, answer) = mpsc::channel::<Answer>();
    let api = rig.server.api.clone();
    let asked = thread::spawn(move || {
        let answer = purchase("held").send(&mut Client::new(&api)).unwrap();
        told.send(answer).unwrap();
    });
    // The books have it, and yet it is not answered: unless by now the alarm is up.
    for _ in 0..2_000 {
        if rig.client.get("/v1/balances/bank-0").unwrap().body["exists"] == true {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    let early = answer.try_recv();
    let alarms = rig.alarms();
    assert!(
        matches!(early, Err(TryRecvError::Empty)) || alarms.contains(ALARM),
        "{early:?}, alarms {alarms}"
    );
    let answer = match early {
        Ok(answer) => answer,
        Err(_) => answer.recv().unwrap(),
    };
    assert!(
        rig.alarms().contains(ALARM),
        "answered without the segments"
    );
    rig.story.take(purchase("held"), answer);
    asked.join().unwrap();
    rig.buy("at once, under the alarm");
    recorder.heal();
    rig.wait_for_alarm(false);
    rig.everything_is_restored();
}
