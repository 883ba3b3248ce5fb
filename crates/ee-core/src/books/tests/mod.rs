//! The money half of the books under test: a clock, a node with a price, and words for commands.

use ee_protocol::{
    account::{AccountId, ClientId},
    money::{Amount, MicroUsd, Price, VcpuMicros},
    names::{AppName, NodeId},
    period::Period,
    time::Timestamp,
};

use super::{
    Books, Changes, Command, EntryId, EntryNo, Known, Outcome, Policy, Principal, Refusal,
    command::*,
    dispatch::Step,
    outcome::{Balance, Locked, Renewed, UsageReported},
    principal::Role,
    rows::*,
    settle::{Chunk, Pay},
};

mod auditor;
mod batches;
mod locks;
mod milestones;
mod model;
mod naive;
mod payers;
mod settling;
mod transfers;
mod transition;
mod usage;

/// 2026-11-22T00:00:00Z, in seconds.
const MIDNIGHT_S: i64 = 1_795_305_600;
const ADMIN: Principal = Principal::Role(Role::Admin);

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_seconds(MIDNIGHT_S + second)
}

/// The hour that begins so many hours after midnight.
fn hour(number: i64) -> Period {
    span(3600 * number, 3600 * (number + 1))
}

fn span(from_s: i64, until_s: i64) -> Period {
    let ms = |second| (MIDNIGHT_S + second) * 1000;
    Period::new(ms(from_s), ms(until_s)).expect("a period")
}

fn id(text: &str) -> AccountId {
    AccountId::parse(text).expect("an account id")
}

fn node(text: &str) -> NodeId {
    NodeId::parse(text).expect("a node id")
}

fn client(text: &str) -> ClientId {
    ClientId::parse(text).expect("a client id")
}

fn app(text: &str) -> AppName {
    AppName::parse(text).expect("an app")
}

fn usd(micros: i64) -> MicroUsd {
    MicroUsd::from_micros(micros)
}

fn amount(micros: i64) -> Amount {
    Amount::new(usd(micros)).expect("an amount")
}

/// Everything that a batch of one command wrote, kept as the store would.
struct Rig {
    books: Books,
    known: Known,
    now_s: i64,
    written: Vec<Changes>,
}

impl Rig {
    fn new() -> Self {
        let rig = Self {
            books: Books::empty(),
            known: Known::default(),
            now_s: 0,
            written: Vec::new(),
        };
        assert_eq!(rig.books.audit(), Ok(()));
        rig
    }

    /// Node `n1` at so many µ$ per vCPU-hour.
    fn with_node(price: i64) -> Self {
        let mut rig = Self::new();
        rig.register("n1", price, None);
        rig
    }

    fn run(&mut self, command: Command) -> Result<Outcome, Refusal> {
        self.run_as(&ADMIN, command)
    }

    fn run_as(&mut self, actor: &Principal, command: Command) -> Result<Outcome, Refusal> {
        let result = self
            .books
            .apply(at(self.now_s), actor, &command, &self.known);
        self.commit();
        result
    }

    fn commit(&mut self) {
        let changes = self.books.changes();
        for row in &changes.clients {
            self.known.clients.insert(row.key.clone(), row.clone());
        }
        for row in &changes.locks {
            self.known.locks.insert(row.no, row.clone());
        }
        self.written.push(changes);
        self.books.committed();
        assert_eq!(self.books.audit(), Ok(()));
    }

    fn register(&mut self, name: &str, price: i64, vcpus: Option<u32>) {
        self.run(Command::RegisterNode(RegisterNode {
            node: node(name),
            price: Price::new(usd(price)),
            effective_from: None,
            vcpus,
            stake: None,
            tier: None,
            allow_update: true,
        }))
        .expect("registered");
    }

    fn buy(&mut self, account: &str, micros: i64) {
        self.run(purchase(account, micros, None)).expect("bought");
    }

    fn balance(&self, account: &str) -> Balance {
        self.books.balance(&id(account)).expect("an account")
    }

    fn available(&self, account: &str) -> i64 {
        self.books
            .balance(&id(account))
            .map_or(0, |balance| balance.available.micros())
    }

    fn locked(&self, account: &str) -> i64 {
        self.balance(account).locked.micros()
    }

    fn key(&self, name: &str, period: Period) -> SettlementKey {
        SettlementKey {
            node: self.books.node_no(&node(name)).expect("a node"),
            period,
        }
    }

    /// Settles the open locks of `n1` in a period, without facts or verdict.
    fn settle(&mut self, period: Period, pay: Pay) -> Chunk {
        self.settle_some(period, pay, usize::MAX)
    }

    fn settle_some(&mut self, period: Period, pay: Pay, limit: usize) -> Chunk {
        let key = self.key("n1", period);
        self.books.head.seq.0 += 1;
        self.books.next_idx = 0;
        let (seq, at) = (self.books.head.seq, at(self.now_s));
        let known = std::mem::take(&mut self.known);
        let step = Step {
            seq,
            at,
            actor: &ADMIN,
            known: &known,
        };
        let chunk = self.books.settle_chunk(&step, key, pay, limit);
        self.known = known;
        self.commit();
        chunk
    }

    fn reported(&mut self, command: ReportUsage) -> UsageReported {
        match self.run(Command::ReportUsage(command)) {
            Ok(Outcome::UsageReported(reported)) => reported,
            other => panic!("not reported: {other:?}"),
        }
    }

    fn locked_as(&mut self, command: Lock) -> Locked {
        match self.run(Command::Lock(command)) {
            Ok(Outcome::Locked(locked)) => locked,
            other => panic!("not locked: {other:?}"),
        }
    }

    fn transfers(&self) -> Vec<&TransferRow> {
        self.written
            .iter()
            .flat_map(|changes| &changes.transfers)
            .collect()
    }
}

fn purchase(account: &str, micros: i64, external: Option<&str>) -> Command {
    Command::Purchase(Purchase {
        account: id(account),
        amount: amount(micros),
        external_ref: external.map(client),
    })
}

fn transfer(from: &str, to: &str, micros: i64) -> Transfer {
    Transfer {
        id: None,
        from: id(from),
        to: id(to),
        amount: amount(micros),
        open_account: true,
    }
}

fn lock(account: &str, period: Period, vcpus: u32, mode: LockMode) -> Lock {
    Lock {
        id: None,
        account: id(account),
        node: node("n1"),
        vcpus,
        period,
        mode,
    }
}

/// A report of `u1` on `n1`, in µ of a vCPU-hour.
fn report(period: Period, used: u64) -> ReportUsage {
    ReportUsage {
        account: id("u1"),
        node: node("n1"),
        period,
        used: VcpuMicros::from_micros(used),
        identity: UsageIdentity::None,
        cumulative: false,
    }
}
