//! The books against a naive ledger, command by command, with an auditor beside them (L1 to L4,
//! L6, L9). Verdicts are the books' own here: `settlement` is proved against a naive judge.
//!
//! `EE_MODEL_COMMANDS=1000000 cargo test -p ee-core --release books::tests::model` is the nightly
//! form; without the variable thirty thousand commands are run, always the same. A million take a
//! quarter of a minute in release.

use std::{cell::RefCell, collections::BTreeSet};

use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestCaseResult, TestRng, TestRunner},
};

use super::{
    auditor::Auditor,
    milestones::{MILESTONES, Milestones},
    naive::{Judged, Naive, NaiveWish, Said},
    transition::{APPS, NAMES, Transition, period_of, transition},
    *,
};
use crate::books::{ids::ClientKey, outcome::ItemResult};

const COMMANDS: u32 = 30_000;
const COMMANDS_A_CASE: u32 = 250;
const GRACE_S: u32 = 600;
const DEADLINE_S: u32 = 5_000;

/// The books, the naive ledger and the auditor, side by side.
struct World {
    books: Books,
    naive: Naive,
    auditor: Auditor,
    now_s: i64,
    locks: Vec<EntryId>,
    told: Vec<(ClientKey, Command, Result<Outcome, Refusal>)>,
    milestones: Milestones,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            books: Books::empty(),
            naive: Naive::default(),
            auditor: Auditor::default(),
            now_s: 0,
            locks: Vec::new(),
            told: Vec::new(),
            milestones: Milestones::default(),
        };
        let policy = Policy {
            settlement_grace_s: GRACE_S,
            settlement_deadline_s: DEADLINE_S,
            ..Policy::documented()
        };
        world.apply(&Command::SetPolicy(policy)).expect("set");
        world
    }

    /// Applies a command twice, the first time in vain: a batch that was not written leaves no
    /// trace, and the same command then comes to the same.
    fn apply(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        let known = self.auditor.known.clone();
        let vain = self.books.apply(at(self.now_s), &ADMIN, command, &known);
        let unwritten = self.books.changes();
        self.books.roll_back();
        let result = self.books.apply(at(self.now_s), &ADMIN, command, &known);
        let changes = self.books.changes();
        assert_eq!(
            (vain, unwritten),
            (result.clone(), changes.clone()),
            "rolled back whole"
        );
        self.books.committed();
        self.auditor.absorb(&changes);
        self.milestones
            .note(command, &result, (&changes, &self.auditor));
        self.settle_naively(&changes);
        if let Err(refusal) = result {
            let left = Changes {
                clients: Vec::new(),
                usage: Vec::new(),
                ..without_settlement(changes)
            };
            assert_eq!(left, Changes::default(), "{refusal} changes nothing");
        }
        result
    }

    /// The verdicts of this command pay in the naive ledger too, before the command itself.
    fn settle_naively(&mut self, changes: &Changes) {
        let is_final = |row: &&SettlementRow| row.state == SettlementState::Settled;
        for row in changes.settlements.iter().filter(is_final) {
            let node = self.auditor.accounts[&row.key.node].name.to_string();
            if self.naive.is_judged(&node, row.key.period) {
                continue;
            }
            let judged = Judged {
                verdict: row.verdict,
                covered_us: row.covered_us,
                judged_us: row.judged_us.max(1),
            };
            self.naive.settle(&node, row.key.period, judged);
        }
    }

    fn step(&mut self, transition: &Transition) {
        if let Transition::Wait(seconds) = transition {
            self.now_s += seconds;
            self.naive.now_ms = at(self.now_s).unix_micros() / 1000;
            return;
        }
        self.naive.now_ms = at(self.now_s).unix_micros() / 1000;
        if let Transition::Restart = transition {
            self.restart();
            return;
        }
        if let Transition::Again(index) = transition {
            return self.again(*index);
        }
        let Some((command, key)) = transition.command(&self.locks) else {
            return;
        };
        if let Some(earlier) = self.earlier(key.as_ref()) {
            let same = earlier.0 == command;
            let expected = if same {
                earlier.1
            } else {
                Err(Refusal::IdReused)
            };
            assert_eq!(self.apply(&command), expected, "L6: {command:?}");
            if same {
                self.milestones.reach("id repeated");
            }
            return;
        }
        let result = self.apply(&command);
        if let (Transition::Abuse(node, period), Ok(Outcome::Filed(filed))) = (transition, &result)
        {
            self.decide(*node, *period, filed.id);
        }
        if let Transition::Vouch(..) | Transition::Abuse(..) = transition {
            // What was judged by this is paid before anything else: the naive ledger knows of
            // no time between.
            self.apply(&Command::Tick).expect("ticked");
        }
        if let Some(expected) = self.naively(transition) {
            assert_eq!(self.normal(&result), expected, "{command:?}");
        }
        self.note_locks(&result);
        self.told.extend(key.map(|key| (key, command, result)));
        self.compare();
    }

    /// What a start finds in the store is what was in memory, every index of it (L8).
    fn restart(&mut self) {
        let head = self.books.head();
        let restored = Books::restore(self.auditor.rows(head.seq, head.at));
        let old = std::mem::replace(&mut self.books, restored);
        let new = &self.books;
        assert!(new.accounts().eq(old.accounts()));
        assert!(new.locks.iter().eq(old.locks.iter()));
        assert!(new.locks_by_meter.iter().eq(old.locks_by_meter.iter()));
        assert!(new.locks_by_period.iter().eq(old.locks_by_period.iter()));
        assert!(new.locks_by_account.iter().eq(old.locks_by_account.iter()));
        assert!(new.locks_by_app.iter().eq(old.locks_by_app.iter()));
        assert!(new.holders.iter().eq(old.holders.iter()));
        assert!(new.open_periods.iter().eq(old.open_periods.iter()));
        assert!(new.open_deadlines.iter().eq(old.open_deadlines.iter()));
        assert!(new.payers.iter().eq(old.payers.iter()));
        assert!(new.prices.iter().eq(old.prices.iter()));
    }

    /// Sends a command with an id once more: the same answer, whatever came since (L6).
    fn again(&mut self, index: usize) {
        let Some(place) = index.checked_rem(self.told.len()) else {
            return;
        };
        let (_, command, expected) = self.told[place].clone();
        assert_eq!(self.apply(&command), expected, "L6: {command:?}");
        self.milestones.reach("id repeated");
        self.compare();
    }

    /// Authorises a report unless that would claw back: `judgement` has tests of its own for it.
    fn decide(&mut self, node_index: usize, period: usize, report: EntryId) {
        let settled = self.auditor.settlements.values().any(|row| {
            row.state != SettlementState::Awaiting
                && self.auditor.accounts[&row.key.node].name.as_str() == NAMES[node_index]
                && row.key.period.overlaps(period_of(period))
        });
        let decision = if settled {
            Decision::Deny
        } else {
            Decision::Authorize
        };
        let authorized_by = ee_protocol::account::Note::parse("owner").expect("a note");
        let command = DecideAbuse {
            report,
            decision,
            authorized_by,
        };
        self.apply(&Command::DecideAbuse(command))
            .expect("it was pending");
    }

    fn earlier(&self, key: Option<&ClientKey>) -> Option<(Command, Result<Outcome, Refusal>)> {
        let told = self.told.iter().find(|(known, ..)| Some(known) == key)?;
        Some((told.1.clone(), told.2.clone()))
    }

    fn note_locks(&mut self, result: &Result<Outcome, Refusal>) {
        match result {
            Ok(Outcome::Locked(locked)) => self.locks.push(locked.lock),
            Ok(Outcome::UsageReported(used)) => self.locks.extend(used.lock),
            Ok(Outcome::Renewed(renewed)) => {
                let new = renewed.locks.iter().filter(|lock| lock.is_new);
                self.locks.extend(new.map(|lock| lock.lock));
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn naively(&mut self, transition: &Transition) -> Option<Result<Said, Refusal>> {
        let name = |index: &usize| NAMES[*index];
        let locks = self.locks.len().max(1);
        let naive = &mut self.naive;
        Some(match transition {
            Transition::Purchase(account, micros, _) => {
                naive.purchase(name(account), (*micros).into())
            }
            Transition::Transfer(from, to, micros, _, open) => {
                naive.transfer(name(from), name(to), ((*micros).into(), *open))
            }
            Transition::Batch(items) => {
                let item = |(from, to, micros, chain): &(usize, usize, i64, bool)| {
                    let (from, to) = (name(from).to_owned(), name(to).to_owned());
                    (from, to, i128::from(*micros), *chain)
                };
                Ok(naive.batch(&items.iter().map(item).collect::<Vec<_>>()))
            }
            Transition::Payout(account, micros, _) => naive.payout(name(account), (*micros).into()),
            Transition::Register(index, price, vcpus) => {
                naive.register(name(index), ((*price).into(), *vcpus))
            }
            Transition::Lock(account, on, period, vcpus, mode, _) => naive.lock(&NaiveWish {
                account: name(account).to_owned(),
                node: name(on).to_owned(),
                period: period_of(*period),
                vcpus: *vcpus,
                mode: *mode,
                price_max: None,
                app: None,
            }),
            Transition::Release(index) => naive.release(index % locks),
            Transition::Usage(account, on, period, used, cumulative, _) => {
                let period = period_of(*period);
                let deadline_ms = period.end_ms() + i64::from(DEADLINE_S) * 1000;
                let meter = (name(account), name(on), period);
                naive.usage(meter, ((*used).into(), *cumulative), deadline_ms)
            }
            Transition::Bind(index, account, vcpus, price_max, nodes_max) => {
                let price_max = price_max.map(i128::from);
                let terms = (*vcpus, price_max, *nodes_max as usize);
                naive.bind(APPS[*index], name(account), terms)
            }
            Transition::Renew(index, period, candidates) => {
                let candidates: Vec<String> = candidates
                    .iter()
                    .map(|index| name(index).to_owned())
                    .collect();
                naive.renew(APPS[*index], period_of(*period), &candidates)
            }
            Transition::Vouch(..)
            | Transition::Abuse(..)
            | Transition::Finalize(..)
            | Transition::Tick
            | Transition::Wait(_)
            | Transition::Restart
            | Transition::Again(_) => return None,
        })
    }

    /// A result of the books in the words of the naive ledger.
    fn normal(&self, result: &Result<Outcome, Refusal>) -> Result<Said, Refusal> {
        let outcome = result.clone()?;
        let balance = |balance: &Balance| {
            (
                balance.account.to_string(),
                i128::from(balance.available.micros()),
            )
        };
        Ok(match outcome {
            Outcome::Moved(moved) => Said::Moved(moved.balances.iter().map(balance).collect()),
            Outcome::Batch(results) => {
                let result = |result: ItemResult| match result {
                    ItemResult::Moved(_) => Ok(()),
                    ItemResult::Refused(refusal) => Err(Some(refusal)),
                    ItemResult::ChainBroken => Err(None),
                };
                Said::Batch(results.into_iter().map(result).collect())
            }
            Outcome::Locked(locked) => Said::Locked(locked.amount.micros().into()),
            Outcome::Released(released) => Said::Released(released.returned.micros().into()),
            Outcome::UsageReported(used) => Said::Used {
                charge: used.charge.micros().into(),
                locked: used.lock.is_some(),
            },
            Outcome::Renewed(renewed) => {
                let amount = |lock: EntryId| self.auditor.locks[&lock.no()].amount.micros().into();
                let (new, standing): (Vec<_>, Vec<_>) =
                    renewed.locks.into_iter().partition(|lock| lock.is_new);
                let new = new
                    .into_iter()
                    .map(|lock| (lock.node.to_string(), amount(lock.lock)));
                Said::Renewed {
                    new: new.collect(),
                    standing: standing.len(),
                    short: renewed.short,
                }
            }
            Outcome::Recorded
            | Outcome::PayerBound
            | Outcome::EpochOver
            | Outcome::NodeRegistered(_)
            | Outcome::Filed(_)
            | Outcome::Finalized(_)
            | Outcome::Ticked(_) => Said::Nothing,
        })
    }

    fn compare(&self) {
        assert_eq!(self.books.audit(), Ok(()));
        for name in self.naive.accounts() {
            let balance = self.books.balance(&id(name)).expect("both know it");
            let found = (
                balance.posted.micros().into(),
                balance.locked.micros().into(),
            );
            assert_eq!(
                found,
                (self.naive.posted(name), self.naive.locked(name)),
                "{name}"
            );
        }
    }
}

/// What the resolving of due locks may leave beside a refusal.
fn without_settlement(changes: Changes) -> Changes {
    if changes.settlements.is_empty() {
        return changes;
    }
    Changes {
        clients: changes.clients,
        usage: changes.usage,
        ..Changes::default()
    }
}

fn run(transitions: &[Transition], reached: &mut BTreeSet<&'static str>) -> TestCaseResult {
    let mut world = World::new();
    for transition in transitions {
        world.step(transition);
    }
    world.now_s += 100_000;
    world.step(&Transition::Tick);
    world.auditor.check_all();
    assert_eq!(
        world.books.locks.len(),
        0,
        "L10: nothing is open past its deadline"
    );
    reached.append(&mut world.milestones.reached);
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a test runs is no setting of the product"
)]
fn commands_wanted() -> u32 {
    let wanted = std::env::var("EE_MODEL_COMMANDS").ok();
    wanted.map_or(COMMANDS, |text| text.parse().expect("a number of commands"))
}

#[test]
fn the_books_agree_with_a_naive_ledger() {
    let commands = commands_wanted();
    let length = COMMANDS_A_CASE as usize;
    let cases = commands / COMMANDS_A_CASE;
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let commands = proptest::collection::vec(transition(), length / 2..length * 3 / 2);
    let reached = RefCell::new(BTreeSet::new());
    runner
        .run(&commands, |transitions| {
            run(&transitions, &mut reached.borrow_mut())
        })
        .expect("they agree");
    let reached = reached.into_inner();
    let missed: Vec<_> = MILESTONES
        .iter()
        .filter(|name| !reached.contains(**name))
        .collect();
    assert!(missed.is_empty(), "the workload never came by {missed:?}");
}
