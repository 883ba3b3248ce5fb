//! `kill -9` under load: whatever was acknowledged is there, chain and sums hold, and what was not
//! acknowledged takes effect once when it is asked for again.

use std::{
    thread,
    time::{Duration, SystemTime},
};

use ee_testbed::{PostgresCluster, postgres::TEST_URL};
use tempfile::TempDir;

use crate::{
    http::{Answer, Client},
    random::Random,
    server::{Books, Home, Server},
    story::{Operation, Period, Story, coverage, next, prologue},
};

/// Rounds of a normal test run; `cargo xtask crash` asks for more.
const ROUNDS: u64 = 5;
/// Clients that write at the same time.
const WORKERS: u64 = 6;
/// The longest that a round loads the server before it is killed.
const LOAD_MS: u64 = 400;
/// Old answers are asked for again in part: all of them would make round n cost n.
const OLD_ANSWERS: usize = 200;
/// Audits read the whole journal: not each round of a long run.
const AUDIT_EVERY: u64 = 10;

#[test]
fn kill_9_loses_nothing_that_was_acknowledged_on_sqlite() {
    let folder = TempDir::new().unwrap();
    let home = Home::new(folder.path(), Books::Sqlite);
    let report = run(&home, |server, _| server.kill());
    eprintln!("SQLite: {report}");
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged_on_postgresql() {
    if std::env::var_os(TEST_URL).is_none() {
        return;
    }
    let cluster = PostgresCluster::start().unwrap();
    let folder = TempDir::new().unwrap();
    let home = Home::new(folder.path(), Books::Postgres(cluster.url()));
    let mut stops = 0;
    let report = run(&home, |server, random| match random.below(3) {
        0 => server.kill(),
        // The server outlives its database, and must go on once that is back.
        1 => {
            stops += 1;
            restart(&cluster, random);
            thread::sleep(Duration::from_millis(random.below(300)));
            server.kill();
        }
        _ => {
            stops += 1;
            cluster.stop_immediately().unwrap();
            server.kill();
            cluster.start_server().unwrap();
        }
    });
    eprintln!("PostgreSQL: {report}, {stops} immediate stops of PostgreSQL");
}

fn restart(cluster: &PostgresCluster, random: &mut Random) {
    cluster.stop_immediately().unwrap();
    thread::sleep(Duration::from_millis(random.below(300)));
    cluster.start_server().unwrap();
}

/// A number from the environment, for longer runs.
pub fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var_os(name).map_or(otherwise, |text| text.to_str().unwrap().parse().unwrap())
}

pub fn run(home: &Home, mut kill: impl FnMut(Server, &mut Random)) -> String {
    let (rounds, seed) = (asked("EE_CRASH_ROUNDS", ROUNDS), asked("EE_CRASH_SEED", 1));
    let minute = this_minute();
    let mut story = Story::default();
    let mut unanswered = prologue();
    let mut in_doubt = 0;
    for round in 0..rounds {
        let mut random = Random::for_part(seed, round, 0);
        let period = Period::back(minute, round);
        let server = home.start();
        let mut client = Client::new(&server.api);
        unanswered.extend(coverage(&period, round));
        for operation in unanswered.drain(..) {
            let answer = at_last(&operation, &mut client);
            story.take(operation, answer);
        }
        let recent = story.acknowledged.len().saturating_sub(OLD_ANSWERS);
        story.check_answers(&mut client, recent);
        story.check_balances(&mut client);

        let told: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let random = Random::for_part(seed, round, worker + 1);
                let (api, period) = (server.api.clone(), period.clone());
                let name = format!("{round}-{worker}");
                thread::spawn(move || work(&api, random, &name, &period))
            })
            .collect();
        thread::sleep(Duration::from_millis(20 + random.below(LOAD_MS)));
        kill(server, &mut random);
        for worker in told {
            let (done, left) = worker.join().unwrap();
            done.into_iter()
                .for_each(|(operation, answer)| story.take(operation, answer));
            unanswered.extend(left);
        }
        in_doubt += unanswered.len();
        if round % AUDIT_EVERY == AUDIT_EVERY - 1 || round + 1 == rounds {
            home.audit();
        }
    }
    let acknowledged = story.acknowledged.len();
    assert!(
        acknowledged > usize::try_from(rounds).unwrap(),
        "{acknowledged}"
    );
    epilogue(home, &mut story, unanswered);
    format!("{rounds} kills, {acknowledged} writes acknowledged, {in_doubt} in doubt, seed {seed}")
}

/// Everything once more on a server that lives.
fn epilogue(home: &Home, story: &mut Story, unanswered: Vec<Operation>) {
    let server = home.start();
    let mut client = Client::new(&server.api);
    for operation in unanswered {
        let answer = at_last(&operation, &mut client);
        story.take(operation, answer);
    }
    story.check_answers(&mut client, 0);
    story.check_balances(&mut client);
    home.audit();
}

pub fn this_minute() -> i64 {
    let elapsed = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(elapsed.as_secs() / 60).unwrap()
}

/// Asks until there is an answer.
pub fn at_last(operation: &Operation, client: &mut Client) -> Answer {
    for _ in 0..600 {
        if let Some(answer) = operation.send(client) {
            return answer;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("no answer to {operation:?}");
}

/// Writes until the server is gone: what was answered, and what was not.
///
/// A server whose database is gone answers "try again"; then the same write is sent again, as a
/// client should.
fn work(
    api: &str,
    mut random: Random,
    name: &str,
    period: &Period,
) -> (Vec<(Operation, Answer)>, Option<Operation>) {
    let mut client = Client::new(api);
    let mut done = Vec::new();
    for number in 0_u64.. {
        let operation = next(&mut random, &format!("{name}-{number}"), period);
        loop {
            match operation.try_send(&mut client) {
                Ok(Some(answer)) => {
                    done.push((operation, answer));
                    break;
                }
                Ok(None) => thread::sleep(Duration::from_millis(20)),
                Err(_) => return (done, Some(operation)),
            }
        }
    }
    (done, None)
}
