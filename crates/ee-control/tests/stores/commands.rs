//! An author of commands: every kind there is, about few names, so that they meet.

use ee_control::books::Reply;
use ee_core::books::{
    Command, EntryId, Outcome,
    command::*,
    outcome::ItemResult,
    rows::{BreachCause, Decision, Dependency, LockMode, SlashReason, StakeTier, Track},
};
use ee_protocol::{
    account::{AccountId, AccountName, ClientId, Note},
    money::{Amount, MicroUsd, Price, VcpuMicros},
    names::{AppName, Network, NodeId},
    period::Period,
    time::Timestamp,
};

use crate::random::Random;

const USERS: u64 = 4;
const NODES: u64 = 3;
const HOUR_MS: i64 = 3_600_000;

/// Makes up commands, remembering what it was answered.
pub struct Author {
    random: Random,
    epoch: u64,
    /// No epoch is running.
    stopped: bool,
    locks: Vec<EntryId>,
    reports: Vec<EntryId>,
    slashes: Vec<EntryId>,
    last_was_slash: bool,
    /// How many commands it has made.
    made: usize,
    /// The hour that the debtor is paid for.
    paid_for: Option<Period>,
}

/// Where in a story the debtor is told of: paid for an hour, it takes the money out, and the hour
/// is taken back. Chance alone would hardly bring that about.
const DEBTOR_FROM: usize = 300;

impl Author {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            epoch: 0,
            stopped: true,
            locks: Vec::new(),
            reports: Vec::new(),
            slashes: Vec::new(),
            last_was_slash: false,
            made: 0,
            paid_for: None,
        }
    }

    /// How long nothing happens: mostly seconds, sometimes most of an hour.
    pub fn pause_us(&mut self) -> i64 {
        let seconds = match self.random.below(10) {
            // Longer than pay is held.
            _ if self.made == DEBTOR_FROM + 8 => 400,
            _ if self.is_about_debtor() => 1,
            0 => 600 + self.random.below(2_400),
            _ => self.random.below(60),
        };
        i64::try_from(seconds).unwrap() * 1_000_000
    }

    /// Learns the ids that were made.
    pub fn hear(&mut self, reply: &Reply) {
        match &reply.outcome {
            Ok(Outcome::Locked(locked)) => self.locks.push(locked.lock),
            Ok(Outcome::Renewed(renewed)) => {
                self.locks
                    .extend(renewed.locks.iter().map(|lock| lock.lock));
            }
            Ok(Outcome::Filed(filed)) if self.last_was_slash => self.slashes.push(filed.id),
            Ok(Outcome::Filed(filed)) => self.reports.push(filed.id),
            Ok(Outcome::Batch(items)) => {
                assert!(!items.contains(&ItemResult::ChainBroken) || items.len() > 1);
            }
            _ => {}
        }
    }

    /// The next command at this time.
    pub fn next(&mut self, now: Timestamp) -> Command {
        self.last_was_slash = false;
        self.made += 1;
        if self.made > DEBTOR_FROM
            && let Some(command) = self.debtor(now, self.made - DEBTOR_FROM)
        {
            return command;
        }
        if std::mem::take(&mut self.stopped) {
            return self.observer_start();
        }
        match self.random.below(100) {
            0..12 => self.purchase(),
            12..22 => Command::Transfer(self.transfer()),
            22..26 => self.batch(),
            26..28 => self.payout(),
            28..29 => self.adjust(),
            29..40 => self.lock(now),
            40..43 => self.bind(),
            43..46 => self.renew(now),
            46..48 => self.release(),
            48..60 => self.usage(now),
            60..64 => self.register(now),
            64..66 => self.seen(now),
            66..69 => self.stake(),
            69..71 => self.slash(),
            71..80 => self.observe(now),
            80..85 => self.facts(now),
            85..89 => self.abuse(now),
            89..93 => self.finalize(now),
            _ => Command::Tick,
        }
    }

    fn is_about_debtor(&self) -> bool {
        (DEBTOR_FROM..DEBTOR_FROM + 12).contains(&self.made)
    }

    fn debtor(&mut self, now: Timestamp, step: usize) -> Option<Command> {
        let node: NodeId = "debtor".parse().unwrap();
        let last = self.last_hour(now);
        let period = *self.paid_for.get_or_insert(last);
        let amount = |micros| Amount::new(MicroUsd::from_micros(micros)).unwrap();
        let fact = |track| covered(&node, track, period);
        Some(match step {
            1 => Command::RegisterNode(RegisterNode {
                node,
                price: Price::new(MicroUsd::from_micros(400_000)),
                effective_from: None,
                vcpus: None,
                stake: None,
                tier: None,
                allow_update: true,
            }),
            2 => Command::Purchase(Purchase {
                account: id("user-0"),
                amount: amount(900_000_000),
                external_ref: None,
            }),
            3 => fact(Track::Health),
            4 => fact(Track::Attestation),
            5 => Command::ReportUsage(ReportUsage {
                account: id("user-0"),
                node,
                period,
                used: VcpuMicros::from_micros(3_600_000_000),
                identity: UsageIdentity::None,
                cumulative: false,
            }),
            6 => {
                self.stopped = false;
                self.observer_start()
            }
            7 => Command::ObserverBeat(ObserverBeat {
                epoch: self.epoch,
                watermark: now,
            }),
            8 => Command::Finalize(Finalize {
                period,
                node: Some(node),
            }),
            9 => Command::Tick,
            10 => Command::Payout(Payout {
                id: None,
                account: (&node).into(),
                amount: amount(350_000),
                external_ref: None,
            }),
            11 => Command::FileAbuse(FileAbuse {
                node,
                period: Some(period),
                reason: note("it mined"),
                reported_by: note("a neighbour"),
            }),
            12 => Command::DecideAbuse(DecideAbuse {
                report: *self.reports.last().expect("it was just filed"),
                decision: Decision::Authorize,
                authorized_by: note("somebody"),
            }),
            _ => return None,
        })
    }

    fn last_hour(&self, now: Timestamp) -> Period {
        let start = (now.unix_micros() / 1_000 / HOUR_MS - 1) * HOUR_MS;
        Period::new(start, start + HOUR_MS).unwrap()
    }

    fn user(&mut self) -> AccountId {
        id(&format!("user-{}", self.random.below(USERS)))
    }

    fn node(&mut self) -> NodeId {
        format!("node-{}", self.random.below(NODES))
            .parse()
            .unwrap()
    }

    fn app(&mut self) -> AppName {
        ["shop", "blog"][self.random.index(2)].parse().unwrap()
    }

    fn amount(&mut self, most: u64) -> Amount {
        let micros = i64::try_from(self.random.below(most) + 1).unwrap();
        Amount::new(MicroUsd::from_micros(micros)).unwrap()
    }

    /// Few ids, so that they come again, sometimes with other fields.
    fn client_id(&mut self) -> Option<ClientId> {
        let number = self.random.below(60);
        (number < 20).then(|| ClientId::parse(&format!("id {number}")).unwrap())
    }

    fn period(&mut self, now: Timestamp) -> Period {
        let hour = now.unix_micros() / 1_000 / HOUR_MS;
        let start = (hour - 2 + i64::try_from(self.random.below(5)).unwrap()) * HOUR_MS;
        Period::new(start, start + HOUR_MS).unwrap()
    }

    fn purchase(&mut self) -> Command {
        Command::Purchase(Purchase {
            account: self.user(),
            amount: self.amount(50_000_000),
            external_ref: self.client_id(),
        })
    }

    fn transfer(&mut self) -> Transfer {
        Transfer {
            id: self.client_id(),
            from: self.user(),
            to: self.user(),
            amount: self.amount(30_000_000),
            open_account: self.random.once_in(2),
        }
    }

    fn batch(&mut self) -> Command {
        let items = (0..=self.random.below(4)).map(|_| BatchItem {
            transfer: Transfer {
                id: None,
                from: id(&format!("user-{}", self.random.below(USERS))),
                to: id(&format!("user-{}", self.random.below(USERS))),
                amount: Amount::new(MicroUsd::from_micros(77)).unwrap(),
                open_account: true,
            },
            chain: self.random.once_in(3),
        });
        Command::TransferBatch(TransferBatch {
            items: items.collect(),
        })
    }

    fn payout(&mut self) -> Command {
        let node = self.node();
        Command::Payout(Payout {
            id: self.client_id(),
            account: (&node).into(),
            // Enough to leave too little for a clawback.
            amount: self.amount(200_000),
            external_ref: None,
        })
    }

    fn adjust(&mut self) -> Command {
        let user = self.user();
        Command::Adjust(Adjust {
            id: self.client_id(),
            debit: AccountName::from(&id("user-0")),
            credit: AccountName::from(&user),
            amount: self.amount(1_000),
            reason: note("a correction"),
        })
    }

    fn lock(&mut self, now: Timestamp) -> Command {
        let modes = [LockMode::Metered, LockMode::Reserved];
        Command::Lock(Lock {
            id: self.client_id(),
            account: self.user(),
            node: self.node(),
            vcpus: u32::try_from(self.random.below(3)).unwrap() + 1,
            period: self.period(now),
            mode: modes[self.random.index(2)],
        })
    }

    fn bind(&mut self) -> Command {
        let terms = PayerTerms {
            account: self.user(),
            vcpus: 1,
            price_max: None,
            nodes_max: 2,
        };
        let app = self.app();
        let payer = (!self.random.once_in(4)).then_some(terms);
        Command::BindPayer(BindPayer { app, payer })
    }

    fn renew(&mut self, now: Timestamp) -> Command {
        Command::RenewLock(RenewLock {
            app: self.app(),
            period: self.period(now),
            candidates: vec![self.node(), self.node()],
        })
    }

    fn release(&mut self) -> Command {
        match self.locks.len() {
            0 => Command::Tick,
            some => {
                let lock = self.locks[self.random.index(some)];
                Command::ReleaseLock(ReleaseLock { lock })
            }
        }
    }

    fn usage(&mut self, now: Timestamp) -> Command {
        let identity = match (self.random.below(3), self.client_id()) {
            (0, Some(id)) => UsageIdentity::Usage(id),
            (1, Some(id)) => UsageIdentity::Source(ClientId::parse("meter").unwrap(), id),
            _ => UsageIdentity::None,
        };
        Command::ReportUsage(ReportUsage {
            account: self.user(),
            node: self.node(),
            period: self.period(now),
            used: VcpuMicros::from_micros(self.random.below(2_000_000_000)),
            identity,
            cumulative: self.random.once_in(3),
        })
    }

    fn register(&mut self, now: Timestamp) -> Command {
        let price = i64::try_from(self.random.below(400_000)).unwrap();
        let tiers = [StakeTier::Premium, StakeTier::Standard, StakeTier::Economy];
        Command::RegisterNode(RegisterNode {
            node: self.node(),
            price: Price::new(MicroUsd::from_micros(price)),
            effective_from: self.random.once_in(4).then_some(now),
            vcpus: self.random.once_in(3).then_some(8),
            stake: self
                .random
                .once_in(3)
                .then(|| MicroUsd::from_micros(price * 10)),
            tier: Some(tiers[self.random.index(3)]),
            allow_update: true,
        })
    }

    fn seen(&mut self, now: Timestamp) -> Command {
        Command::NodeSeen(NodeSeen {
            node: self.node(),
            network: Network::Forge1,
            vcpus: Some(16),
            platform: Some([9; 32]),
            expires_at: Timestamp::from_unix_micros(now.unix_micros() + 86_400_000_000),
        })
    }

    fn stake(&mut self) -> Command {
        let (id, node) = (self.client_id(), self.node());
        if self.random.once_in(2) {
            let (account, amount) = (self.user(), self.amount(1_000_000));
            Command::Deposit(Deposit {
                id,
                node,
                account,
                amount,
            })
        } else {
            let amount = self.amount(200_000);
            Command::Withdraw(Withdraw { id, node, amount })
        }
    }

    fn slash(&mut self) -> Command {
        if self.slashes.is_empty() || self.random.once_in(2) {
            self.last_was_slash = true;
            return Command::FileSlash(FileSlash {
                id: self.client_id(),
                node: self.node(),
                reason: SlashReason::DowntimeMigration,
                evidence: note("the app moved"),
            });
        }
        Command::DecideSlash(DecideSlash {
            slash: self.slashes[self.random.index(self.slashes.len())],
            decision: self.decision(),
            authorized_by: note("somebody"),
        })
    }

    fn decision(&mut self) -> Decision {
        [Decision::Authorize, Decision::Deny, Decision::Overturn][self.random.index(3)]
    }

    fn observer_start(&mut self) -> Command {
        self.epoch += 1;
        let replica = ClientId::parse("replica").unwrap();
        Command::ObserverStart(ObserverStart {
            epoch: self.epoch,
            replica,
        })
    }

    fn observe(&mut self, at: Timestamp) -> Command {
        let (epoch, node) = (self.epoch, self.node());
        let tracks = [Track::Health, Track::Attestation];
        let track = tracks[self.random.index(2)];
        let dependency = [Dependency::Pccs, Dependency::Github][self.random.index(2)];
        match self.random.below(16) {
            0 => self.observer_start(),
            1 => {
                // The next observation begins an epoch above this one.
                self.stopped = true;
                Command::ObserverStop(ObserverStop { epoch, at })
            }
            2 => Command::Breach(Breach {
                epoch,
                node,
                cause: BreachCause::HealthFail,
                at,
            }),
            3 => Command::Waiting(Waiting {
                epoch,
                node,
                dependency: Some(dependency),
                at,
            }),
            4 => Command::Waiting(Waiting {
                epoch,
                node,
                dependency: None,
                at,
            }),
            5 => Command::DependencyDown(DependencyDown {
                epoch,
                dependency,
                at,
            }),
            6 => Command::DependencyUp(DependencyUp {
                epoch,
                dependency,
                at,
            }),
            7 => Command::Drained(Drained { epoch, at }),
            8..11 => Command::TrackOpen(TrackOpen {
                epoch,
                node,
                track,
                at,
            }),
            11 => Command::TrackClose(TrackClose {
                epoch,
                node,
                track,
                at,
            }),
            _ => Command::ObserverBeat(ObserverBeat {
                epoch,
                watermark: at,
            }),
        }
    }

    fn facts(&mut self, now: Timestamp) -> Command {
        let period = self.period(now);
        let tracks = [Track::Health, Track::Attestation];
        Command::ReportFacts(ReportFacts {
            node: self.node(),
            track: tracks[self.random.index(2)],
            from: period.start(),
            until: period.end(),
        })
    }

    fn abuse(&mut self, now: Timestamp) -> Command {
        if self.reports.is_empty() || self.random.once_in(2) {
            return Command::FileAbuse(FileAbuse {
                node: self.node(),
                period: self.random.once_in(2).then(|| self.period(now)),
                reason: note("spam"),
                reported_by: note("a neighbour"),
            });
        }
        Command::DecideAbuse(DecideAbuse {
            report: self.reports[self.random.index(self.reports.len())],
            decision: self.decision(),
            authorized_by: note("somebody"),
        })
    }

    fn finalize(&mut self, now: Timestamp) -> Command {
        let node = self.node();
        Command::Finalize(Finalize {
            period: self.period(now),
            node: (!self.random.once_in(4)).then_some(node),
        })
    }
}

fn id(text: &str) -> AccountId {
    AccountId::parse(text).unwrap()
}

fn note(text: &str) -> Note {
    Note::parse(text).unwrap()
}

fn covered(node: &NodeId, track: Track, period: Period) -> Command {
    Command::ReportFacts(ReportFacts {
        node: node.clone(),
        track,
        from: period.start(),
        until: period.end(),
    })
}
