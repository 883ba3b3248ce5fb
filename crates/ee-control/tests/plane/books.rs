//! Both halves together: sessions become facts, facts become verdicts, money opens and closes
//! routes, and nobody calls for any of it.

use std::{sync::Arc, time::Duration};

use ee_control::{
    books::{BooksHandle, Submission},
    observation, plane,
    proxy::RouteRefusal,
    renewals::Renewer,
    resolve, sequencer,
};
use ee_core::{
    attestation::{AttestationCode, Failure},
    books::{
        Books, Command, Outcome, Policy, Principal, Refusal,
        command::{BindPayer, Deposit, PayerTerms, Purchase, RegisterNode},
        principal::Role,
        rows::{SettlementRow, Verdict},
    },
    eligibility::{GateCode, StakeRequirement},
    facts::Dependency,
    observer::{BEAT_EVERY, DependencyState, Reach},
    policy::LivePolicy,
    registry::{Decision, ProvenNode, Registry, TunnelId},
    session::{Event, HealthWord},
};
use ee_protocol::{
    account::{AccountId, ClientId},
    money::{Amount, MicroUsd, Price},
    names::NodeId,
    period::Period,
};
use ee_store::{
    Store,
    ledger::{Fault, Ledger, MemoryLedger},
};

use crate::rig::{Link, World, app, endpoints, health, register};

const PERIOD_S: u32 = 600;
/// One vCPU of the node for a period.
pub const PRICE: i64 = 6_000_000;
pub const PAY: i64 = 1_000_000;

pub struct Both {
    pub world: World,
    pub books: BooksHandle,
    renewer: Renewer<Link>,
    ledger: MemoryLedger,
}

fn policy(stake: StakeRequirement) -> Policy {
    let least = match stake {
        StakeRequirement::None => MicroUsd::ZERO,
        StakeRequirement::Required => MicroUsd::from_micros(1),
    };
    Policy {
        stake_min: [least; 3],
        period_s: PERIOD_S,
        lock_lead_s: 60,
        settlement_grace_s: 10,
        ..Policy::documented()
    }
}

pub async fn with_both<F: Future<Output = ()>>(
    stake: StakeRequirement,
    test: impl FnOnce(Both) -> F,
) {
    let live = LivePolicy {
        forge1_stake: stake,
        ..LivePolicy::with_defaults([0x55; 32])
    };
    let store = Store::in_memory().expect("opens");
    let (clock, port) = crate::rig::clock();
    let ledger = MemoryLedger::new([7; 16]);
    let opened = sequencer::open(
        Ledger::Memory(ledger.clone()),
        Arc::clone(&port),
        policy(stake),
    );
    let (books, sequencer) = Box::pin(opened).await.expect("opens");
    let sequencer = Box::pin(sequencer.run(std::future::pending()));
    let replica = ClientId::parse("r0").expect("an id");
    let reach = Reach::of(&live);
    let (watched, observer) = observation::open(books.clone(), Arc::clone(&port), replica, reach);
    let (plane, writer) = plane::open(store, Arc::new(live), Arc::clone(&port))
        .await
        .expect("opens");
    let renewer = Renewer::new(books.clone(), plane.clone());
    let world = World { plane, clock };
    tokio::select! {
        () = writer.observed_by(watched).run() => panic!("the writer ends after its handles"),
        () = observer.run() => panic!("the observer ends when it is told to"),
        why = sequencer => panic!("{why}"),
        () = test(Both { world, books, renewer, ledger }) => {}
    }
}

impl Both {
    /// A registered node with a price, and a user whose dollars pay for the app.
    pub async fn paid_for(&self, micros: i64) {
        self.post_price(node(), PRICE).await;
        self.buy(micros).await;
        let payer = Some(PayerTerms {
            account: user(),
            vcpus: 1,
            price_max: None,
            nodes_max: 1,
        });
        self.run(Command::BindPayer(BindPayer { app: app(), payer }))
            .await
            .expect("bound");
    }

    pub async fn post_price(&self, node: NodeId, micros: i64) {
        self.run(Command::RegisterNode(RegisterNode {
            node,
            price: Price::new(MicroUsd::from_micros(micros)),
            effective_from: None,
            vcpus: None,
            stake: None,
            tier: None,
            allow_update: true,
        }))
        .await
        .expect("registered");
    }

    pub async fn buy(&self, micros: i64) {
        self.run(Command::Purchase(Purchase {
            account: user(),
            amount: Amount::new(MicroUsd::from_micros(micros)).expect("positive"),
            external_ref: None,
        }))
        .await
        .expect("bought");
    }

    pub async fn run(&self, command: Command) -> Result<Outcome, Refusal> {
        let principal = Principal::Role(Role::Admin);
        let submission = Submission {
            principal,
            key: None,
            command,
        };
        self.books.submit(submission).await.expect("taken").outcome
    }

    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Books) -> T + Send + 'static,
    ) -> T {
        self.books.read(question).await.expect("answered")
    }

    /// Time passes as in a server: beats, ticks, renewals.
    pub async fn pass(&mut self, seconds: u64) {
        let end = self.world.now().after(Duration::from_secs(seconds));
        while self.world.now() < end {
            self.world.wait(BEAT_EVERY);
            self.beat(Vec::new()).await;
            self.run(Command::Tick).await.expect("ticked");
            let passed = Box::pin(self.renewer.pass(self.world.now()));
            passed.await.expect("passed");
            self.world.settle().await;
        }
    }

    /// As after a restart of the server, whose renewer knows nothing yet.
    pub fn forget_records(&mut self) {
        self.renewer = Renewer::new(self.books.clone(), self.world.plane.clone());
    }

    /// A beat that the books have heard of. The plane may be waiting for its store, which is
    /// another thread, and only its answer says that it has come to the beat; what is left then
    /// happens in this task, in few steps.
    pub async fn beat(&self, dependencies: Vec<(Dependency, DependencyState)>) {
        self.world.plane.beat(dependencies).await;
        self.world.settle().await;
        let now = self.world.now();
        for _ in 0..16 {
            if self.ask(|books| books.watermark()).await >= now {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("no beat arrived");
    }

    pub async fn healthy(&mut self, tunnel: TunnelId, seconds: u64) {
        self.all_healthy(&[tunnel], seconds).await;
    }

    pub async fn all_healthy(&mut self, tunnels: &[TunnelId], seconds: u64) {
        for _ in 0..seconds / 60 {
            for tunnel in tunnels {
                self.world.emit(*tunnel, health(HealthWord::Pass)).await;
            }
            self.pass(60).await;
        }
    }

    pub fn period(&self) -> Period {
        Period::holding(self.world.now(), PERIOD_S).expect("a period")
    }

    pub async fn verdict(&self, period: Period) -> Option<SettlementRow> {
        self.ask(move |books| {
            let node = books.node_no(&node())?;
            let mut rows = books.settlements_of(node);
            rows.find(|row| row.key.period == period).cloned()
        })
        .await
    }

    async fn earned(&self) -> i64 {
        let id = AccountId::from(&node());
        let balance = self.ask(move |books| books.balance(&id)).await;
        balance.map_or(0, |balance| balance.posted.micros())
    }
}

pub fn node() -> NodeId {
    NodeId::parse("uuid").expect("an id")
}

fn user() -> AccountId {
    AccountId::parse("u1").expect("an id")
}

#[tokio::test]
async fn a_node_earns_its_periods_and_nobody_calls() {
    with_both(StakeRequirement::None, async |mut both: Both| {
        both.paid_for(10 * PAY).await;
        let (tunnel, _) = both.world.join(&register()).await;
        let first = both.period();
        both.healthy(tunnel, 1_900).await;
        let second = first.next().expect("a period");
        for period in [first, second] {
            let row = both.verdict(period).await.expect("judged");
            assert_eq!(row.verdict, Verdict::Pass, "{row:?}");
        }
        assert!(both.earned().await >= PAY, "the second period in full");
        assert_eq!(both.world.choose(), Ok(tunnel.0));
    })
    .await;
}

#[tokio::test]
async fn a_killed_agent_fails_its_period() {
    with_both(StakeRequirement::None, async |mut both: Both| {
        both.paid_for(10 * PAY).await;
        let (tunnel, _) = both.world.join(&register()).await;
        both.healthy(tunnel, 660).await;
        let period = both.period();
        both.world.emit(tunnel, Event::Closed).await;
        both.pass(u64::from(PERIOD_S) + 60).await;
        let row = both.verdict(period).await.expect("judged");
        let words: Vec<&str> = row.reasons.iter().map(|row| row.reason.word()).collect();
        assert_eq!((row.verdict, words), (Verdict::Fail, vec!["health_miss"]));
    })
    .await;
}

#[tokio::test]
async fn blip_is_no_miss() {
    with_both(StakeRequirement::None, async |mut both: Both| {
        both.paid_for(10 * PAY).await;
        let (tunnel, _) = both.world.join(&register()).await;
        both.healthy(tunnel, 660).await;
        let period = both.period();
        both.world.emit(tunnel, Event::Closed).await;
        both.pass(50).await;
        let (tunnel, _) = both.world.join(&register()).await;
        both.healthy(tunnel, 660).await;
        assert_eq!(
            both.verdict(period).await.map(|row| row.verdict),
            Some(Verdict::Pass)
        );
    })
    .await;
}

#[tokio::test]
async fn app_without_funds_is_not_routed_until_money_comes() {
    with_both(StakeRequirement::None, async |mut both: Both| {
        let (tunnel, _) = both.world.join(&register()).await;
        both.pass(5).await;
        assert_eq!(both.world.choose(), Ok(tunnel.0), "nobody has to pay");
        both.paid_for(1).await;
        both.pass(5).await;
        assert_eq!(both.world.choose(), Err(RouteRefusal::InsufficientCredits));
        let routes = both.world.plane.routes();
        let told = resolve::resolve(routes, &app(), both.world.now(), &endpoints());
        assert_eq!(told.http_status, 403);
        let body = serde_json::to_value(&told.body).expect("JSON");
        assert_eq!(body["reason"], "insufficient_credits");
        both.buy(10 * PAY).await;
        both.world.emit(tunnel, health(HealthWord::Pass)).await;
        both.pass(5).await;
        assert_eq!(both.world.choose(), Ok(tunnel.0), "within 5 s of new money");
    })
    .await;
}

#[tokio::test]
async fn forge_demands_stake() {
    with_both(StakeRequirement::Required, async |mut both: Both| {
        let (tunnel, _) = both.world.join(&register()).await;
        both.pass(5).await;
        let codes = vec![GateCode::StakeMissing];
        assert_eq!(
            both.world.choose(),
            Err(RouteRefusal::NotEligible { codes })
        );
        both.buy(PAY).await;
        let amount = Amount::new(MicroUsd::from_micros(5)).expect("positive");
        let deposit = Deposit {
            id: None,
            node: node(),
            account: user(),
            amount,
        };
        both.run(Command::Deposit(deposit))
            .await
            .expect("deposited");
        both.world.emit(tunnel, health(HealthWord::Pass)).await;
        both.pass(5).await;
        assert_eq!(both.world.choose(), Ok(tunnel.0));
    })
    .await;
}

#[tokio::test]
async fn an_observer_that_cannot_write_was_not_there() {
    with_both(StakeRequirement::None, async |mut both: Both| {
        both.paid_for(10 * PAY).await;
        let (tunnel, _) = both.world.join(&register()).await;
        both.healthy(tunnel, 660).await;
        let period = both.period();
        // A minute without disk: what is said meanwhile is lost, a `fail` among it.
        for _ in 0..12 {
            both.ledger.fail_next(Fault::DiskFull);
            both.world.wait(BEAT_EVERY);
            both.world.plane.beat(Vec::new()).await;
            both.world.settle().await;
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
        both.world.emit(tunnel, health(HealthWord::Pass)).await;
        both.healthy(tunnel, 720).await;
        let row = both.verdict(period).await.expect("judged");
        assert_eq!(row.verdict, Verdict::Pass, "{row:?}");
        assert!(row.covered_us < row.judged_us, "the minute was not seen");
    })
    .await;
}

#[tokio::test]
async fn a_node_that_waits_for_collateral_after_our_restart_is_excused() {
    with_both(StakeRequirement::None, async |mut both: Both| {
        both.paid_for(10 * PAY).await;
        let (tunnel, _) = both.world.join(&register()).await;
        both.healthy(tunnel, 660).await;
        let period = both.period();
        both.world.emit(tunnel, Event::Closed).await;
        both.beat(vec![(Dependency::Pccs, DependencyState::Down)])
            .await;
        // It is back at once and proves its token, but its quote cannot be judged for 4 minutes.
        let waits = Failure::new(AttestationCode::CollateralUnavailable);
        let back = both.world.plane.new_tunnel_id();
        let event = Event::WaitingToJoin(proven(&both.world), waits);
        both.world.emit(back, event).await;
        both.pass(240).await;
        both.beat(vec![(Dependency::Pccs, DependencyState::Up)])
            .await;
        let (tunnel, _) = both.world.join(&register()).await;
        both.healthy(tunnel, 720).await;
        let row = both.verdict(period).await.expect("judged");
        assert_eq!(row.verdict, Verdict::Pass, "{row:?}");
    })
    .await;
}

#[tokio::test]
async fn stranger_cannot_fail_a_node() {
    with_both(StakeRequirement::None, async |mut both: Both| {
        both.paid_for(10 * PAY).await;
        let (tunnel, _) = both.world.join(&register()).await;
        both.healthy(tunnel, 660).await;
        let period = both.period();
        // Somebody else's tunnel says all it can under the node's name.
        let stranger = both.world.plane.new_tunnel_id();
        for event in [
            health(HealthWord::Fail),
            Event::Failed(Failure::new(AttestationCode::TdDebug)),
            Event::HealthTimedOut,
            Event::Closed,
        ] {
            both.world.emit(stranger, event).await;
        }
        both.healthy(tunnel, 720).await;
        assert_eq!(
            both.verdict(period).await.map(|row| row.verdict),
            Some(Verdict::Pass)
        );
    })
    .await;
}

/// The proof that a session is the node: a registry gives it for a tunnel that joined.
fn proven(world: &World) -> ProvenNode {
    let mut registry = Registry::default();
    let policy = LivePolicy::with_defaults([0x55; 32]);
    let attested = world.attested(&register());
    let Decision::Join(grant) = registry.decide(&attested, &policy, world.now()) else {
        panic!("it joins an empty registry");
    };
    registry.apply(TunnelId(1), *grant);
    registry.proven(TunnelId(1)).expect("it joined")
}
