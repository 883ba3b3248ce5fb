//! Books under test: an hour of one node, watched by one observer.

use ee_protocol::{
    account::{AccountId, ClientId, Note},
    money::{Amount, MicroUsd, Price, VcpuMicros},
    names::{AppName, Network, NodeId},
    period::Period,
    time::Timestamp,
};

use crate::{
    books::{
        Books, Changes, Command, EntryId, Known, Outcome, Policy, Principal, Refusal, Seq,
        command::*,
        dispatch::Step,
        outcome::{Filed, NodeSettlement, Ticked},
        principal::Role,
        rows::*,
    },
    observer::BEAT_EVERY,
};

mod kept;

/// The hour that is judged, in seconds of the test.
pub(super) const HOUR: (i64, i64) = (3_600, 7_200);
pub(super) const GRACE_S: i64 = 3_600;
pub(super) const DEADLINE_S: i64 = 604_800;

/// 2026-11-22T00:00:00Z.
const MIDNIGHT: i64 = 1_795_305_600;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_seconds(MIDNIGHT + second)
}

pub(super) fn period((from, until): (i64, i64)) -> Period {
    Period::new((MIDNIGHT + from) * 1_000, (MIDNIGHT + until) * 1_000).expect("a period")
}

pub(super) fn usd(micros: i64) -> MicroUsd {
    MicroUsd::from_micros(micros)
}

pub(super) fn node(id: &str) -> NodeId {
    NodeId::parse(id).expect("a node id")
}

fn account(id: &str) -> AccountId {
    AccountId::parse(id).expect("an account id")
}

fn app_name(text: &str) -> AppName {
    AppName::parse(text).expect("an app name")
}

fn note(text: &str) -> Note {
    Note::parse(text).expect("a note")
}

pub(super) struct Rig {
    pub(super) books: Books,
    kept: kept::Kept,
    now: i64,
    epoch: u64,
}

impl Rig {
    /// Observed since second 0, with a registered node `n1` at 40 000 µ$ per vCPU-hour that was
    /// attested, and a user `u1` with a dollar.
    pub(super) fn new() -> Self {
        Self::with(Policy::documented())
    }

    pub(super) fn with(policy: Policy) -> Self {
        let mut rig = Self {
            books: Books::empty(),
            kept: kept::Kept::default(),
            now: 0,
            epoch: 0,
        };
        rig.run(Command::SetPolicy(policy)).expect("set");
        rig.restart();
        rig.run(register("n1", 40_000)).expect("registered");
        rig.seen("n1", Network::Sandbox1);
        rig.purchase("u1", 1_000_000);
        rig.attested("n1");
        rig
    }

    pub(super) fn run(&mut self, command: Command) -> Result<Outcome, Refusal> {
        self.run_as(&Principal::Role(Role::Admin), command)
    }

    pub(super) fn run_as(
        &mut self,
        actor: &Principal,
        command: Command,
    ) -> Result<Outcome, Refusal> {
        let known = Known::default();
        let outcome = self.books.apply(at(self.now), actor, &command, &known);
        if outcome.is_err() {
            let changed = self.books.changes();
            assert_eq!(
                changed,
                Changes::default(),
                "a refused command changes nothing"
            );
        }
        self.commit();
        self.audit();
        outcome
    }

    fn commit(&mut self) {
        self.kept.take(&self.books.changes());
        self.books.committed();
    }

    /// L1, L2 and L15, from the rows alone.
    fn audit(&self) {
        let sums = self.books.sums();
        assert_eq!(sums.all, 0, "the sum of all accounts");
        for row in self.books.accounts() {
            let contra = row.kind == AccountKind::Contra;
            assert!(contra || row.available() >= MicroUsd::ZERO, "{row:?}");
        }
    }

    /// Time passes, with beats.
    pub(super) fn until(&mut self, second: i64) {
        let step = i64::try_from(BEAT_EVERY.as_secs()).expect("small");
        while self.now + step <= second {
            self.now += step;
            self.beat();
        }
        self.now = second;
    }

    /// Time passes, and nobody watches.
    pub(super) fn unwatched_until(&mut self, second: i64) {
        self.now = second;
    }

    fn beat(&mut self) {
        let beat = ObserverBeat {
            epoch: self.epoch,
            watermark: at(self.now),
        };
        let told = self.run(Command::ObserverBeat(beat));
        assert_eq!(told, Ok(Outcome::Recorded));
    }

    /// A new epoch begins.
    pub(super) fn restart(&mut self) {
        self.epoch += 1;
        let replica = ClientId::parse("r0").expect("an id");
        let start = ObserverStart {
            epoch: self.epoch,
            replica,
        };
        self.run(Command::ObserverStart(start)).expect("started");
    }

    pub(super) fn seen(&mut self, id: &str, network: Network) {
        self.run(Command::NodeSeen(NodeSeen {
            node: node(id),
            network,
            vcpus: Some(4),
            platform: Some([7; 32]),
            expires_at: at(self.now + 30 * 86_400),
        }))
        .expect("seen");
    }

    pub(super) fn attested(&mut self, id: &str) {
        for track in [Track::Health, Track::Attestation] {
            let open = TrackOpen {
                epoch: self.epoch,
                node: node(id),
                track,
                at: at(self.now),
            };
            self.run(Command::TrackOpen(open)).expect("opened");
        }
    }

    pub(super) fn fails(&mut self, id: &str) {
        let (epoch, node, at) = (self.epoch, node(id), at(self.now));
        let close = TrackClose {
            epoch,
            node: node.clone(),
            track: Track::Health,
            at,
        };
        self.run(Command::TrackClose(close)).expect("closed");
        let breach = Breach {
            epoch,
            node,
            cause: BreachCause::HealthFail,
            at,
        };
        self.run(Command::Breach(breach)).expect("noted");
    }

    pub(super) fn purchase(&mut self, id: &str, micros: i64) {
        self.run(Command::Purchase(Purchase {
            account: account(id),
            amount: amount(micros),
            external_ref: None,
        }))
        .expect("bought");
    }

    /// One vCPU of `n1` for the hour, paid in full by a pass: 40 000 µ$.
    pub(super) fn lock_hour(&mut self, id: &str) {
        self.lock(id, "n1", HOUR, None);
    }

    pub(super) fn lock(&mut self, id: &str, on: &str, span: (i64, i64), mode: Option<LockMode>) {
        self.run(Command::Lock(Lock {
            id: None,
            account: account(id),
            node: node(on),
            vcpus: 1,
            period: period(span),
            mode: mode.unwrap_or(LockMode::Reserved),
        }))
        .expect("locked");
    }

    pub(super) fn report(&mut self, id: &str, span: (i64, i64), hours_milli: u64) {
        let hour = 3_600_000_000;
        self.run(Command::ReportUsage(ReportUsage {
            account: account(id),
            node: node("n1"),
            period: period(span),
            used: VcpuMicros::from_micros(hour * hours_milli / 1_000),
            identity: UsageIdentity::None,
            cumulative: false,
        }))
        .expect("reported");
    }

    pub(super) fn tick(&mut self) -> Ticked {
        match self.run(Command::Tick) {
            Ok(Outcome::Ticked(done)) => done,
            other => panic!("{other:?}"),
        }
    }

    /// Finalises the hour of `n1`.
    pub(super) fn finalize(&mut self) -> Result<NodeSettlement, Refusal> {
        let command = Finalize {
            period: period(HOUR),
            node: Some(node("n1")),
        };
        self.run(Command::Finalize(command)).map(|outcome| {
            let Outcome::Finalized(mut nodes) = outcome else {
                panic!("{outcome:?}");
            };
            nodes.remove(0)
        })
    }

    /// Judges the hour of `n1` and resolves a few of its locks, as a chunk that a crash follows.
    pub(super) fn settle_some(&mut self, locks: usize) -> SettlementRow {
        let seq = self.books.head().seq;
        self.run(Command::SetPolicy(Policy::documented()))
            .expect("a command to stand in");
        let (known, actor) = (Known::default(), Principal::System);
        let step = Step {
            seq: Seq(seq.0 + 1),
            at: at(self.now),
            actor: &actor,
            known: &known,
        };
        let no = self.books.node_no(&node("n1")).expect("known");
        let key = SettlementKey {
            node: no,
            period: period(HOUR),
        };
        self.books.judge_period(&step, key);
        self.books.settle_next(&step, key, locks);
        self.commit();
        self.settlement().expect("judged").clone()
    }

    /// The books as a new process finds them in the store.
    pub(super) fn restore(&mut self) {
        self.books = Books::restore(self.kept.rows(self.books.head()));
    }

    pub(super) fn bind_payer(&mut self, app: &str, id: &str) {
        let payer = Some(PayerTerms {
            account: account(id),
            vcpus: 1,
            price_max: None,
            nodes_max: 1,
        });
        self.run(Command::BindPayer(BindPayer {
            app: app_name(app),
            payer,
        }))
        .expect("bound");
    }

    pub(super) fn renew(&mut self, app: &str, on: &str, span: (i64, i64)) {
        let command = RenewLock {
            app: app_name(app),
            period: period(span),
            candidates: vec![node(on)],
        };
        let Ok(Outcome::Renewed(renewed)) = self.run(Command::RenewLock(command)) else {
            panic!("renewed");
        };
        assert_eq!(renewed.locks.len(), 1, "{renewed:?}");
    }

    pub(super) fn pending_slash(&self) -> Option<&SlashRow> {
        self.books.slashes.first().map(|(_, row)| row)
    }

    pub(super) fn file_abuse(&mut self, span: Option<(i64, i64)>) -> EntryId {
        let filed = self.run(Command::FileAbuse(FileAbuse {
            node: node("n1"),
            period: span.map(period),
            reason: note("spam"),
            reported_by: note("someone"),
        }));
        filed_of(filed).expect("filed").id
    }

    pub(super) fn decide_abuse(
        &mut self,
        report: EntryId,
        decision: Decision,
    ) -> Result<Filed, Refusal> {
        let authorized_by = note("the owner");
        let command = DecideAbuse {
            report,
            decision,
            authorized_by,
        };
        filed_of(self.run(Command::DecideAbuse(command)))
    }

    pub(super) fn deposit(&mut self, from: &str, micros: i64) -> Result<Outcome, Refusal> {
        self.run(Command::Deposit(Deposit {
            id: None,
            node: node("n1"),
            account: account(from),
            amount: amount(micros),
        }))
    }

    pub(super) fn withdraw(&mut self, micros: i64) -> Result<Outcome, Refusal> {
        let command = Withdraw {
            id: None,
            node: node("n1"),
            amount: amount(micros),
        };
        self.run(Command::Withdraw(command))
    }

    pub(super) fn file_slash(&mut self, reason: SlashReason) -> EntryId {
        let command = FileSlash {
            id: None,
            node: node("n1"),
            reason,
            evidence: note("a quote"),
        };
        filed_of(self.run(Command::FileSlash(command)))
            .expect("filed")
            .id
    }

    pub(super) fn decide_slash(
        &mut self,
        slash: EntryId,
        decision: Decision,
    ) -> Result<Filed, Refusal> {
        let authorized_by = note("the owner");
        filed_of(self.run(Command::DecideSlash(DecideSlash {
            slash,
            decision,
            authorized_by,
        })))
    }

    pub(super) fn posted(&self, name: &str) -> i64 {
        let mut rows = self.books.accounts();
        rows.find(|row| row.name.as_str() == name)
            .map_or(0, |row| row.posted.micros())
    }

    pub(super) fn settlement(&self) -> Option<&SettlementRow> {
        let node = self.books.node_no(&node("n1"))?;
        self.books.settlement(SettlementKey {
            node,
            period: period(HOUR),
        })
    }

    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }
}

pub(super) fn amount(micros: i64) -> Amount {
    Amount::new(usd(micros)).expect("an amount")
}

pub(super) fn register(id: &str, price: i64) -> Command {
    Command::RegisterNode(RegisterNode {
        node: node(id),
        price: Price::new(usd(price)),
        effective_from: None,
        vcpus: None,
        stake: None,
        tier: None,
        allow_update: true,
    })
}

fn filed_of(outcome: Result<Outcome, Refusal>) -> Result<Filed, Refusal> {
    outcome.map(|outcome| {
        let Outcome::Filed(filed) = outcome else {
            panic!("{outcome:?}");
        };
        filed
    })
}
