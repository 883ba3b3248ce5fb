//! Days without collateral, through the real session, attestor and plane: who served goes on for
//! a day, who is new waits, nobody is blamed, and everything heals by itself.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use ee_control::{
    plane::{self, PlaneHandle, TunnelLink},
    ports::Clock,
    proxy,
};
use ee_core::{
    policy::LivePolicy,
    registry::TunnelId,
    session::{
        ChallengeAnswer, ChallengeReason, Channel, Command, Event, InnerTlsOutcome, Order, Session,
        Stage,
    },
};
use ee_protocol::{
    names::AppName,
    report_data::Binding,
    tunnel::{AgentMessage, AttestRequest, ControlMessage, Health, Register, StatusState},
};
use ee_testbed::{DatedItem, DemoImage, SimOptions, SimPlatform, Window};

use crate::world::{Answer, Pcs, SEED, START_S, STRANGER, World};

const NOW: u64 = START_S.unsigned_abs();
const HALF_HOUR: Duration = Duration::from_secs(1_800);
const CONTROL_KEY: [u8; 32] = [200; 32];

#[derive(Debug, Clone, Default)]
struct Link(Arc<Mutex<Vec<Order>>>);

impl TunnelLink for Link {
    fn order(&self, order: Order) {
        self.0.lock().unwrap().push(order);
    }
}

/// One agent and its session.
struct Agent<'a> {
    world: &'a World,
    plane: &'a PlaneHandle<Link>,
    tunnel: TunnelId,
    link: Link,
    session: Session,
    channel: Channel,
    said: Vec<(StatusState, String)>,
    asked_for: Vec<ChallengeReason>,
    closed: bool,
}

impl<'a> Agent<'a> {
    async fn connect(
        world: &'a World,
        plane: &'a PlaneHandle<Link>,
        policy: &Arc<LivePolicy>,
        number: u8,
    ) -> Self {
        let channel = Channel {
            exporter: [number; 32],
            agent_spki: [number + 100; 32],
            control_spki: CONTROL_KEY,
        };
        let now = world.clock.now();
        let mut agent = Self {
            world,
            plane,
            tunnel: plane.new_tunnel_id(),
            link: Link::default(),
            session: Session::new(Arc::clone(policy), [number; 32], now),
            channel,
            said: Vec::new(),
            asked_for: Vec::new(),
            closed: false,
        };
        let register = Register {
            repo: DemoImage::REPO.to_owned(),
            release_tag: DemoImage::TAG.to_owned(),
            app_name: "hello".to_owned(),
            network: "forge-1".to_owned(),
            agent_id: format!("agent-{number}"),
            tunnel_version: Some("2".to_owned()),
            capabilities: vec!["h2".to_owned(), "itls".to_owned()],
            instance: Some("boot-1".to_owned()),
            max_inflight: Some(8),
            ..Register::default()
        };
        agent
            .session
            .handle_message(now, Ok(AgentMessage::Register(register)));
        agent.settle().await;
        agent
    }

    /// Time has passed: timers fire, a heartbeat goes out.
    async fn tick(&mut self) {
        let now = self.world.clock.now();
        self.session.handle_timeout(now);
        if self.session.stage() == Stage::Active {
            let health = AgentMessage::Health(Health::pass());
            self.session.handle_message(now, Ok(health));
        }
        self.settle().await;
    }

    /// Carries out orders and commands until there are none.
    async fn settle(&mut self) {
        loop {
            let orders = std::mem::take(&mut *self.link.0.lock().unwrap());
            for order in orders {
                self.session.handle_order(self.world.clock.now(), order);
            }
            let Some(command) = self.session.poll_command() else {
                return;
            };
            self.obey(command).await;
        }
    }

    async fn obey(&mut self, command: Command) {
        let now = self.world.clock.now();
        match command {
            Command::AskChallenge(registration) => {
                let answer = self.plane.ask_challenge(&registration).await;
                assert!(
                    matches!(answer, ChallengeAnswer::Granted { .. }),
                    "{answer:?}"
                );
                self.session.handle_challenge_answer(now, answer);
            }
            Command::Challenge(outgoing) => {
                self.session.handle_challenge_sent(now);
                let ControlMessage::AttestRequest(request) = outgoing.message else {
                    panic!("no challenge");
                };
                if self.session.stage() == Stage::Attesting && self.asked_for.is_empty() {
                    let established = InnerTlsOutcome::Established(self.channel);
                    self.session.handle_inner_tls(now, established);
                }
                self.answer(&request);
            }
            Command::Verify(request) => {
                let nonce = request.nonce;
                let verdict = self.world.attestor.verify(request, STRANGER).await;
                self.session.handle_verdict(now, nonce, verdict);
            }
            Command::Emit(Event::Attested(attested)) => {
                let link = self.link.clone();
                let admission = self.plane.attested(self.tunnel, link, attested).await;
                self.session.handle_admission(now, admission);
            }
            Command::Emit(event) => self.plane.emit(self.tunnel, event).await,
            Command::Send(outgoing) => {
                if let ControlMessage::Status(status) = outgoing.message {
                    self.said.push((status.state, status.reason));
                }
            }
            Command::Close(_) => self.closed = true,
            Command::StartInnerTls
            | Command::OpenTraffic { .. }
            | Command::SetCredits(_)
            | Command::Ping => {}
        }
    }

    fn answer(&mut self, request: &AttestRequest) {
        let reason = match request.reason.as_str() {
            "register" => ChallengeReason::Register,
            "periodic" => ChallengeReason::Periodic,
            "policy" => ChallengeReason::Policy,
            other => panic!("unknown reason {other}"),
        };
        self.asked_for.push(reason);
        let mut nonce = [0; 32];
        hex::decode_to_slice(&request.nonce, &mut nonce).unwrap();
        let Channel {
            exporter,
            agent_spki,
            control_spki,
        } = self.channel;
        let answer = Answer {
            registration: self.session.registration().unwrap().clone(),
            nonce,
            reason,
            binding: Binding::TlsExporter {
                exporter,
                agent_spki,
                control_spki,
            },
            ..self.world.good()
        };
        let response = answer.response(&answer.report_data());
        let message = AgentMessage::AttestResponse(Box::new(response));
        self.session
            .handle_message(self.world.clock.now(), Ok(message));
    }

    fn last_said(&self) -> (StatusState, &str) {
        let (state, reason) = self.said.last().expect("something was said");
        (*state, reason)
    }
}

async fn with_plane<F: Future<Output = ()>>(
    world: &World,
    test: impl FnOnce(PlaneHandle<Link>, Arc<LivePolicy>) -> F,
) {
    let mut policy = LivePolicy::with_defaults(CONTROL_KEY);
    // Heartbeats come once a step here.
    policy.health_timeout = HALF_HOUR * 2;
    let policy = Arc::new(policy);
    let clock: Arc<dyn Clock> = Arc::clone(&world.clock) as Arc<dyn Clock>;
    let opened = plane::open(world.store.clone(), Arc::clone(&policy), clock).await;
    let (handle, writer) = opened.unwrap();
    tokio::select! {
        () = writer.run() => panic!("the writer ends after its handles"),
        () = test(handle, policy) => {}
    }
}

/// Which tunnel a request would take; the gates' codes if none.
async fn chosen(world: &World, plane: &PlaneHandle<Link>) -> Result<TunnelId, String> {
    // Two questions are answered by batches behind everything that was told before.
    for _ in 0..2 {
        plane.ask_challenge(&world.good().registration).await;
    }
    let app = AppName::parse("hello").unwrap();
    let chosen = proxy::choose(plane.routes(), &app, world.clock.now(), 0);
    chosen
        .map(|lease| lease.tunnel())
        .map_err(|refusal| format!("{refusal:?}"))
}

#[tokio::test]
async fn an_outage_of_a_day_takes_no_node_down_and_blames_nobody() {
    let soon = Window {
        from: NOW - 86_400,
        until: NOW + 2 * 3_600,
    };
    let world = World::with(SimOptions::default().with_dates(DatedItem::QeIdentity, soon)).await;
    with_plane(&world, async |plane, policy| {
        let mut serving = Agent::connect(&world, &plane, &policy, 1).await;
        serving.tick().await;
        assert_eq!(chosen(&world, &plane).await, Ok(serving.tunnel));
        world.endpoints.set(vec![Pcs::Down]);
        let mut newcomer = None;
        for step in 0..48 {
            world.clock.pass(HALF_HOUR);
            serving.tick().await;
            assert_eq!(
                chosen(&world, &plane).await,
                Ok(serving.tunnel),
                "step {step}"
            );
            if step == 10 {
                newcomer = Some(Agent::connect(&world, &plane, &policy, 2).await);
            }
            if let Some(newcomer) = &mut newcomer {
                newcomer.tick().await;
                assert_eq!(
                    newcomer.last_said(),
                    (StatusState::Pending, "collateral_expired")
                );
                assert_eq!(newcomer.session.stage(), Stage::Attesting);
            }
        }
        assert_eq!(
            serving.last_said(),
            (StatusState::Pending, "collateral_expired")
        );
        for _ in 0..4 {
            world.clock.pass(HALF_HOUR);
            serving.tick().await;
        }
        let refused = chosen(&world, &plane).await.unwrap_err();
        assert!(refused.contains("AttestationStale"), "{refused}");

        let healthy = SimPlatform::new(SEED, SimOptions::default());
        world.endpoints.set(vec![Pcs::Serves(healthy)]);
        world.clock.pass(HALF_HOUR);
        let mut newcomer = newcomer.expect("it connected");
        for agent in [&mut serving, &mut newcomer] {
            agent.tick().await;
            agent.tick().await;
            assert_eq!(agent.last_said(), (StatusState::Ok, "attested"));
            let blamed = |(state, _): &(StatusState, String)| *state == StatusState::Invalid;
            assert!(!agent.closed && !agent.said.iter().any(blamed));
        }
        assert!(chosen(&world, &plane).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn new_collateral_reaches_a_serving_session_as_a_policy_challenge() {
    let world = World::new().await;
    with_plane(&world, async |plane, policy| {
        let mut agent = Agent::connect(&world, &plane, &policy, 1).await;
        agent.tick().await;
        let mut options = SimOptions::default();
        options.pki.tcb.advisories = vec!["INTEL-SA-01234".to_owned()];
        world
            .endpoints
            .set(vec![Pcs::Serves(SimPlatform::new(SEED, options))]);
        let mut ordered = 0;
        for _ in 0..54 {
            world.clock.pass(HALF_HOUR);
            agent.tick().await;
            for node in world.attestor.reconcile().await.reattest_nodes {
                plane.reattest_node(node).await;
                chosen(&world, &plane).await.unwrap();
                agent.settle().await;
                ordered += 1;
                assert_eq!(agent.asked_for.last(), Some(&ChallengeReason::Policy));
            }
        }
        assert_eq!(ordered, 1);
        assert_eq!(agent.last_said(), (StatusState::Ok, "attested"));
    })
    .await;
}
