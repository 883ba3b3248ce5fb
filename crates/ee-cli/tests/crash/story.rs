//! What clients do, what they were answered, and what must therefore be true.
//!
//! Every write carries a key. A client that got no answer asks again with the same key until it has
//! one; so in the end each write has taken effect exactly once, and the balances of accounts that
//! only buy and transfer follow from the answers.

use std::{collections::BTreeMap, io};

use serde_json::{Value, json};

use crate::{
    http::{Answer, Client},
    kill::at_last,
    random::Random,
};

/// Accounts that only buy and transfer: their balances follow from the answers.
pub const BANKS: u64 = 6;
/// Accounts whose compute is metered.
pub const USERS: u64 = 4;
/// Nodes that are paid.
pub const NODES: u64 = 3;

/// One write that may be repeated.
#[derive(Debug, Clone)]
pub struct Operation {
    pub path: String,
    pub key: String,
    pub body: Value,
    /// What it moves between banks.
    cents: i64,
}

impl Operation {
    /// A write under a key.
    pub fn new(key: &str, path: impl Into<String>, body: Value) -> Self {
        Self {
            path: path.into(),
            key: key.to_owned(),
            body,
            cents: 0,
        }
    }

    /// Says what it moves between banks.
    pub fn moving(mut self, cents: u64) -> Self {
        self.cents = i64::try_from(cents).unwrap();
        self
    }

    /// Sends it; an answer that says "try again" is none. An error is a server that went away.
    pub fn try_send(&self, client: &mut Client) -> io::Result<Option<Answer>> {
        let answer = client.post(&self.path, &self.key, &self.body)?;
        Ok(match answer.status {
            503 | 507 | 429 => None,
            500.. => panic!("{self:?}: {answer:?}"),
            _ => Some(answer),
        })
    }

    /// Sends it; a server that went away gives no answer either.
    pub fn send(&self, client: &mut Client) -> Option<Answer> {
        self.try_send(client).ok().flatten()
    }
}

/// A period of the past that a round reports usage of, and settles.
#[derive(Debug, Clone)]
pub struct Period {
    pub start: String,
    pub end: String,
    pub id: String,
    /// The minute that it was counted back from.
    now: i64,
}

impl Period {
    /// The `number`th minute back from `minute` (since the epoch).
    pub fn back(minute: i64, number: u64) -> Self {
        let start = minute - 2 - i64::try_from(number).unwrap();
        Self {
            id: format!("{}--{}", basic(start), basic(start + 1)),
            start: extended(start),
            end: extended(start + 1),
            now: minute,
        }
    }
}

/// `20261122T130000Z` of a minute since the epoch.
fn basic(minute: i64) -> String {
    extended(minute).replace(['-', ':'], "")
}

/// `2026-11-22T13:00:00Z` of a minute since the epoch (civil-from-days, Howard Hinnant).
fn extended(minute: i64) -> String {
    let (days, minutes) = (minute.div_euclid(1440), minute.rem_euclid(1440));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 {
        month_shifted + 3
    } else {
        month_shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (minutes / 60, minutes % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z")
}

/// What everybody did, over all rounds.
#[derive(Debug, Default)]
pub struct Story {
    /// Writes with their answers, in no order.
    pub acknowledged: Vec<(Operation, Answer)>,
    banks: BTreeMap<String, i64>,
}

impl Story {
    /// Takes a write with its answer.
    pub fn take(&mut self, operation: Operation, answer: Answer) {
        // Our clients send nothing that is refused before the books see it.
        assert!(answer.body["seq"].is_u64(), "{operation:?}: {answer:?}");
        if answer.status == 200 {
            self.follow(&operation);
        }
        self.acknowledged.push((operation, answer));
    }

    fn follow(&mut self, operation: &Operation) {
        let cents = operation.cents;
        if cents == 0 {
            return;
        }
        let account = |name: &str| operation.body[name].as_str().unwrap().to_owned();
        if operation.path == "/v1/credits/purchase" {
            *self.banks.entry(account("account_id")).or_default() += cents;
        } else {
            *self.banks.entry(account("from_account")).or_default() -= cents;
            *self.banks.entry(account("to_account")).or_default() += cents;
        }
    }

    /// Asks for every write again: each answer must be the stored one.
    pub fn check_answers(&self, client: &mut Client, from: usize) {
        for (operation, before) in &self.acknowledged[from..] {
            let again = at_last(operation, client);
            assert_eq!(
                again.status, before.status,
                "{operation:?}: {before:?}, {again:?}"
            );
            assert!(
                again.replayed,
                "not replayed: {operation:?}: {before:?}, {again:?}"
            );
            for member in [
                "seq",
                "transfer_id",
                "usage_id",
                "lock_id",
                "amount_micro_usd",
                "error",
            ] {
                assert_eq!(
                    again.body[member], before.body[member],
                    "{member} of {operation:?}: {before:?}, {again:?}"
                );
            }
        }
    }

    /// Every bank has what the answers say.
    pub fn check_balances(&self, client: &mut Client) {
        for (account, cents) in &self.banks {
            let answer = client.get(&format!("/v1/balances/{account}")).unwrap();
            assert_eq!(
                answer.body["balance_cents"].as_i64(),
                Some(*cents),
                "{account}"
            );
        }
    }
}

/// What must exist before the first round: nodes with prices, users with money.
pub fn prologue() -> Vec<Operation> {
    let nodes = (0..NODES).map(|node| {
        let body = json!({"node_id": format!("node-{node}"), "price_usd_per_vcpu_hour": "0.36"});
        Operation::new(&format!("node {node}"), "/v1/nodes/register", body)
    });
    let users = (0..USERS).map(|user| {
        let body = json!({"account_id": format!("user-{user}"), "amount_usd": "1000000"});
        Operation::new(&format!("user {user}"), "/v1/credits/purchase", body)
    });
    nodes.chain(users).collect()
}

/// Coverage of some nodes for all of a period, so that some of them pass.
pub fn coverage(period: &Period, round: u64) -> Vec<Operation> {
    let tracks = ["health", "attestation"];
    (0..NODES)
        .filter(|node| (node + round).is_multiple_of(2))
        .flat_map(|node| tracks.map(|track| (node, track)))
        .map(|(node, track)| {
            let body = json!({
                "node_id": format!("node-{node}"), "track": track,
                "from": period.start, "until": period.end,
            });
            Operation::new(
                &format!("fact {} {node} {track}", period.id),
                "/v1/facts",
                body,
            )
        })
        .collect()
}

/// The next thing a client does.
pub fn next(random: &mut Random, key: &str, period: &Period) -> Operation {
    match random.below(100) {
        0..30 => purchase(random, key),
        30..65 => transfer(random, key),
        65..90 => usage(random, key, period),
        90..97 => lock(random, key, period),
        _ => finalize(random, key, period),
    }
}

fn purchase(random: &mut Random, key: &str) -> Operation {
    let cents = random.below(10_000) + 1;
    let body = json!({
        "account_id": format!("bank-{}", random.below(BANKS)),
        "amount_usd": format!("{}.{:02}", cents / 100, cents % 100),
        "external_ref": format!("ref {key}"),
    });
    Operation::new(key, "/v1/credits/purchase", body).moving(cents)
}

fn transfer(random: &mut Random, key: &str) -> Operation {
    let from = random.below(BANKS);
    let to = (from + 1 + random.below(BANKS - 1)) % BANKS;
    // Large enough to be refused now and then.
    let cents = random.below(50_000) + 1;
    let body = json!({
        "from_account": format!("bank-{from}"),
        "to_account": format!("bank-{to}"),
        "amount_usd": format!("{}.{:02}", cents / 100, cents % 100),
    });
    Operation::new(key, "/v1/credits/transfer", body).moving(cents)
}

fn usage(random: &mut Random, key: &str, period: &Period) -> Operation {
    let body = json!({
        "account_id": format!("user-{}", random.below(USERS)),
        "node_id": format!("node-{}", random.below(NODES)),
        "period_start": period.start,
        "period_end": period.end,
        "vcpu_hours": format!("0.{:03}", random.below(900) + 1),
        "usage_id": format!("usage {key}"),
    });
    Operation::new(key, "/v1/usage/report", body)
}

fn lock(random: &mut Random, key: &str, period: &Period) -> Operation {
    let ahead = i64::try_from(random.below(3)).unwrap();
    let start = (period.now / 60 + 2 + ahead) * 60;
    let body = json!({
        "account_id": format!("user-{}", random.below(USERS)),
        "node_id": format!("node-{}", random.below(NODES)),
        "vcpus": random.below(4) + 1,
        "period": format!("{}--{}", basic(start), basic(start + 60)),
    });
    Operation::new(key, "/v1/locks", body)
}

/// Asks for a verdict.
pub fn finalize(random: &mut Random, key: &str, period: &Period) -> Operation {
    let body = json!({
        "node_id": format!("node-{}", random.below(NODES)),
        "period_start": period.start,
        "period_end": period.end,
    });
    Operation::new(key, format!("/v1/settlements/{}/finalize", period.id), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_become_dates() {
        assert_eq!(basic(0), "19700101T000000Z");
        assert_eq!(extended(29_855_280), "2026-10-06T20:00:00Z");
        assert_eq!(basic(29_855_280 + 1_441), "20261007T200100Z");
    }
}
