//! Whose app, whose node, how long: TUNNEL 2 and the prototype's defects of TUNNEL 12 that
//! concern the registry.

use ee_protocol::{
    names::{AppName, NodeId},
    time::Timestamp,
    tunnel::Register,
};

use super::*;
use crate::{
    attestation::AttestationCode,
    eligibility::{GateCode, assess},
    policy::LivePolicy,
    session::{
        AttestedRegistration, Holder, NodeProof, Registration,
        rig::{self, seconds},
    },
};

const AGENT_KEY: Digest = [0x44; 32];

struct World {
    registry: Registry,
    policy: LivePolicy,
    now: Timestamp,
    next: u64,
}

impl World {
    fn new() -> Self {
        let (registry, policy, now) = (Registry::default(), rig::policy(), rig::start());
        Self {
            registry,
            policy,
            now,
            next: 1,
        }
    }

    fn attested(&self, message: &Register) -> AttestedRegistration {
        let mut registration = Registration::parse(message).expect("a valid register");
        registration
            .agree(message, &self.policy)
            .expect("agreed terms");
        AttestedRegistration {
            registration,
            result: rig::result(self.now),
            agent_key: Some(AGENT_KEY),
            node_proof: NodeProof::NotRegistered,
            holder: Holder::NotAsked,
        }
    }

    fn decide(&self, attested: &AttestedRegistration) -> Decision {
        self.registry.decide(attested, &self.policy, self.now)
    }

    /// Joins, and returns the tunnel with the grant that was applied.
    fn join(&mut self, attested: &AttestedRegistration) -> (TunnelId, Grant) {
        let Decision::Join(grant) = self.decide(attested) else {
            panic!("joins: {:?}", self.decide(attested))
        };
        let tunnel = TunnelId(self.next);
        self.next += 1;
        self.registry.apply(tunnel, (*grant).clone());
        (tunnel, *grant)
    }

    fn joins(&mut self, message: &Register) -> TunnelId {
        self.join(&self.attested(message)).0
    }

    fn reasons(&self, node: &str) -> Vec<GateCode> {
        let node = self.registry.node(&node_id(node)).expect("a known node");
        assess(node, &self.policy, self.now).reasons().collect()
    }
}

fn node_id(text: &str) -> NodeId {
    NodeId::parse(text).expect("a node id")
}

fn app_name() -> AppName {
    AppName::parse("myapp").expect("an app name")
}

fn agent(id: &str) -> Register {
    Register {
        agent_id: id.into(),
        ..rig::register()
    }
}

fn booted(instance: &str) -> Register {
    Register {
        instance: Some(instance.into()),
        ..rig::register()
    }
}

fn sandbox(id: &str) -> Register {
    Register {
        network: "sandbox-1".into(),
        ..agent(id)
    }
}

fn refusal(decision: Decision) -> SessionRefusal {
    let Decision::Refuse(refusal) = decision else {
        panic!("refused: {decision:?}")
    };
    refusal
}

#[test]
fn first_attested_registration_binds_the_app() {
    let mut world = World::new();
    world.joins(&agent("a"));
    let stranger = Register {
        repo: "evil/repo".into(),
        ..agent("b")
    };
    let attested = world.attested(&stranger);
    assert_eq!(
        refusal(world.decide(&attested)),
        SessionRefusal::AppBoundToOtherRepo
    );
    assert_eq!(
        world.registry.precheck(&attested.registration),
        Some(SessionRefusal::AppBoundToOtherRepo),
        "refused before any evidence is asked for"
    );
    let shouting = Register {
        repo: "ORG/Repo".into(),
        ..agent("c")
    };
    world.joins(&shouting);
    let app = world.registry.app(&app_name()).expect("bound");
    assert_eq!(
        app.repo.as_str(),
        "org/repo",
        "the binding keeps its first spelling"
    );
}

#[test]
fn stranger_cannot_take_an_app_down() {
    let mut world = World::new();
    let holder = world.joins(&agent("holder"));
    let before = format!("{:?}", world.registry);
    // What a stranger may do: register with the victim's names, hang up. Neither reaches more
    // than a question to the registry.
    let claim = world.attested(&agent("holder")).registration;
    assert_eq!(world.registry.precheck(&claim), None);
    world.registry.closed(TunnelId(999));
    assert_eq!(format!("{:?}", world.registry), before);
    assert!(world.registry.tunnel(holder).is_some());
    assert_eq!(world.reasons("holder"), []);
}

#[test]
fn failed_attestation_leaves_the_holder_alone() {
    let mut world = World::new();
    world.joins(&agent("holder"));
    let before = format!("{:?}", world.registry);
    let failure = Failure::new(AttestationCode::QuoteMalformed);
    assert_eq!(
        world.registry.failed(TunnelId(999), world.now, &failure),
        None
    );
    let other_release = Register {
        release_tag: "v9".into(),
        ..agent("holder")
    };
    assert!(matches!(
        world.decide(&world.attested(&other_release)),
        Decision::AskHolder(_)
    ));
    assert_eq!(
        format!("{:?}", world.registry),
        before,
        "a decision changes nothing"
    );
}

#[test]
fn sandbox_node_cannot_join_a_forge_app() {
    let mut world = World::new();
    world.joins(&agent("forge"));
    let attested = world.attested(&sandbox("sand"));
    assert_eq!(
        refusal(world.decide(&attested)),
        SessionRefusal::AppBoundToOtherNetwork
    );
    assert_eq!(
        world.registry.precheck(&attested.registration),
        Some(SessionRefusal::AppBoundToOtherNetwork)
    );
}

#[test]
fn app_moves_up_from_sandbox_and_its_sandbox_sessions_close() {
    let mut world = World::new();
    let first = world.joins(&sandbox("one"));
    let second = world.joins(&sandbox("two"));
    let (_, grant) = world.join(&world.attested(&agent("forge")));
    assert_eq!(grant.evicted, [first, second]);
    assert_eq!(grant.removed_nodes, [node_id("one"), node_id("two")]);
    assert_eq!(
        world.registry.app(&app_name()).unwrap().network,
        Network::Forge1
    );
    let nodes: Vec<&str> = world
        .registry
        .nodes_of(&app_name())
        .map(|node| node.id.as_str())
        .collect();
    assert_eq!(nodes, ["forge"]);
    assert_eq!(world.registry.tunnel_count(), 1);
}

#[test]
fn other_repo_cannot_move_a_sandbox_app_up() {
    let mut world = World::new();
    world.joins(&sandbox("one"));
    let stranger = Register {
        repo: "evil/repo".into(),
        ..agent("forge")
    };
    let decision = world.decide(&world.attested(&stranger));
    assert_eq!(refusal(decision), SessionRefusal::AppBoundToOtherRepo);
}

#[test]
fn one_boot_holds_four_tunnels_and_a_fifth_is_refused() {
    let mut world = World::new();
    for _ in 0..4 {
        world.joins(&booted("boot"));
    }
    let decision = world.decide(&world.attested(&booted("boot")));
    assert_eq!(refusal(decision), SessionRefusal::TunnelLimit);
    assert_eq!(world.registry.nodes_of(&app_name()).count(), 1);
}

#[test]
fn node_id_is_not_taken_over_by_another_session_of_the_same_image() {
    let mut world = World::new();
    let holder = world.joins(&booted("boot-1"));
    let same_instance_other_key = AttestedRegistration {
        agent_key: Some([9; 32]),
        ..world.attested(&booted("boot-1"))
    };
    let newcomers = [
        world.attested(&booted("boot-2")),
        same_instance_other_key,
        AttestedRegistration {
            agent_key: None,
            ..world.attested(&booted("boot-1"))
        },
        world.attested(&Register {
            instance: None,
            ..rig::register()
        }),
        world.attested(&Register {
            release_tag: "v2".into(),
            ..booted("boot-1")
        }),
        world.attested(&Register {
            agent_id: "other".into(),
            node_id: Some("uuid".into()),
            ..booted("boot-1")
        }),
    ];
    for newcomer in newcomers {
        assert_eq!(
            world.decide(&newcomer),
            Decision::AskHolder(vec![holder]),
            "{newcomer:?}"
        );
    }
}

#[test]
fn silent_holder_is_replaced_when_the_newcomer_is_attested() {
    let mut world = World::new();
    let old = world.joins(&booted("boot-1"));
    let newcomer = AttestedRegistration {
        holder: Holder::Silent,
        ..world.attested(&booted("boot-2"))
    };
    let (new, grant) = world.join(&newcomer);
    assert_eq!(grant.replaced, [old]);
    assert!(world.registry.tunnel(old).is_none() && world.registry.tunnel(new).is_some());
}

#[test]
fn proved_node_token_replaces_without_asking() {
    let mut world = World::new();
    let old = world.joins(&booted("boot-1"));
    let newcomer = AttestedRegistration {
        node_proof: NodeProof::Proved,
        ..world.attested(&booted("b2"))
    };
    let (_, grant) = world.join(&newcomer);
    assert_eq!(grant.replaced, [old]);
}

#[test]
fn old_session_close_spares_the_new() {
    let mut world = World::new();
    let old = world.joins(&booted("boot-1"));
    let newcomer = AttestedRegistration {
        holder: Holder::Silent,
        ..world.attested(&booted("boot-2"))
    };
    let (new, _) = world.join(&newcomer);
    assert_eq!(
        world.registry.closed(old),
        None,
        "the old tunnel is gone already"
    );
    assert!(world.registry.tunnel(new).is_some());
    assert_eq!(world.reasons("uuid"), []);
}

#[test]
fn second_agents_disconnect_spares_the_first() {
    let mut world = World::new();
    let first = world.joins(&agent("one"));
    let second = world.joins(&agent("two"));
    world.registry.closed(second);
    assert!(world.registry.tunnel(first).is_some());
    assert_eq!(world.reasons("one"), []);
}

#[test]
fn registration_lasts_its_ttl_and_reattestation_does_not_renew_it() {
    let mut world = World::new();
    let tunnel = world.joins(&agent("uuid"));
    let end = world.now.after(world.policy.registration_ttl);
    world.now = world.now.after(seconds(3_600));
    world.registry.reattested(tunnel, rig::result(world.now));
    let node = world.registry.node(&node_id("uuid")).unwrap();
    assert_eq!(node.expires_at, end);
    world.now = world.now.after(seconds(1));
    world.joins(&agent("uuid"));
    let renewed = world.registry.node(&node_id("uuid")).unwrap();
    assert_eq!(
        renewed.expires_at,
        world.now.after(world.policy.registration_ttl)
    );
}

#[test]
fn another_tunnel_does_not_heal_a_failing_backend() {
    let mut world = World::new();
    let tunnel = world.joins(&agent("uuid"));
    let heartbeat = Heartbeat {
        word: HealthWord::Fail,
        inflight: None,
        load_permille: None,
    };
    world.registry.heartbeat(tunnel, world.now, heartbeat);
    assert_eq!(world.reasons("uuid"), [GateCode::HealthFail]);
    let sibling = world.joins(&agent("uuid"));
    assert_eq!(world.reasons("uuid"), [GateCode::HealthFail]);
    world.registry.closed(tunnel);
    world.registry.closed(sibling);
    world.joins(&agent("uuid"));
    assert_eq!(world.reasons("uuid"), [], "a fresh start is a first pass");
}

#[test]
fn node_drains_when_all_its_tunnels_drain() {
    let mut world = World::new();
    let (one, two) = (world.joins(&agent("uuid")), world.joins(&agent("uuid")));
    world.registry.draining(one);
    assert_eq!(world.reasons("uuid"), []);
    world.registry.draining(two);
    assert_eq!(world.reasons("uuid"), [GateCode::Draining]);
    world.joins(&agent("uuid"));
    assert_eq!(world.reasons("uuid"), [], "it came back");
}

#[test]
fn node_that_moves_leaves_its_old_app() {
    let mut world = World::new();
    let old = world.joins(&agent("uuid"));
    world.registry.closed(old);
    let moved = Register {
        app_name: "other".into(),
        ..agent("uuid")
    };
    let (_, grant) = world.join(&world.attested(&moved));
    assert_eq!(grant.left_app, Some(app_name()));
    assert_eq!(world.registry.nodes_of(&app_name()).count(), 0);
}

#[test]
fn node_id_of_another_repository_is_not_taken_while_its_agent_is_away() {
    let mut world = World::new();
    let victim = world.joins(&agent("uuid"));
    world.registry.closed(victim);
    let thief = Register {
        app_name: "other".into(),
        repo: "evil/repo".into(),
        ..agent("uuid")
    };
    let mut attested = world.attested(&thief);
    attested.holder = Holder::Silent;
    assert_eq!(refusal(world.decide(&attested)), SessionRefusal::NodeInUse);
    attested.node_proof = NodeProof::Proved;
    assert!(matches!(world.decide(&attested), Decision::Join(_)));
    attested.node_proof = NodeProof::NotRegistered;
    world.now = world.now.after(world.policy.registration_ttl);
    let Decision::Join(grant) = world.decide(&attested) else {
        panic!("a registration that ended holds nothing")
    };
    assert_eq!(grant.left_app, Some(app_name()));
}

#[test]
fn node_id_that_was_given_a_token_meanwhile_is_not_taken_without_it() {
    let mut world = World::new();
    let register = agent("uuid");
    let mut attested = world.attested(&register);
    assert!(matches!(world.decide(&attested), Decision::Join(_)));
    let node = attested.registration.node_id.clone();
    world.registry.set_node_keys(node, vec![[7; 32]]);
    assert_eq!(refusal(world.decide(&attested)), SessionRefusal::NodeInUse);
    attested.node_proof = NodeProof::Proved;
    assert!(matches!(world.decide(&attested), Decision::Join(_)));
}

#[test]
fn banned_node_is_refused_before_and_after_its_evidence() {
    let mut world = World::new();
    world.joins(&agent("uuid"));
    let mut node = world.registry.node(&node_id("uuid")).unwrap().clone();
    node.banned = true;
    world.registry.put_node(node);
    let attested = world.attested(&agent("uuid"));
    assert_eq!(refusal(world.decide(&attested)), SessionRefusal::Banned);
    assert_eq!(
        world.registry.precheck(&attested.registration),
        Some(SessionRefusal::Banned)
    );
}

#[test]
fn restored_registry_keeps_bindings_and_has_no_tunnels() {
    let mut world = World::new();
    world.joins(&agent("uuid"));
    let app = world.registry.app(&app_name()).unwrap().clone();
    let node = world.registry.node(&node_id("uuid")).unwrap().clone();
    world.registry = Registry::restore([app], [node]);
    assert_eq!(world.registry.tunnel_count(), 0);
    let stranger = Register {
        repo: "evil/repo".into(),
        ..agent("b")
    };
    let decision = world.decide(&world.attested(&stranger));
    assert_eq!(refusal(decision), SessionRefusal::AppBoundToOtherRepo);
    world.joins(&booted("after-restart"));
}

#[test]
fn a_repository_cannot_fill_the_registry() {
    let named = |app: usize, node: usize| Register {
        app_name: format!("app-{app}"),
        ..agent(&format!("node-{node}"))
    };
    let mut world = World::new();
    for number in 0..APPS_PER_REPO_MAX {
        let tunnel = world.joins(&named(number, number));
        world.registry.closed(tunnel);
    }
    let decide = |world: &World, message: &Register| world.decide(&world.attested(message));
    let another = named(APPS_PER_REPO_MAX, 0);
    assert_eq!(refusal(decide(&world, &another)), SessionRefusal::AppLimit);
    let other_repo = Register {
        repo: "other/repo".into(),
        ..named(APPS_PER_REPO_MAX, NODES_PER_REPO_MAX)
    };
    assert!(matches!(decide(&world, &other_repo), Decision::Join(_)));
    for number in APPS_PER_REPO_MAX..NODES_PER_REPO_MAX {
        let tunnel = world.joins(&named(0, number));
        world.registry.closed(tunnel);
    }
    let another = named(0, NODES_PER_REPO_MAX);
    assert_eq!(refusal(decide(&world, &another)), SessionRefusal::NodeLimit);
    let known = named(0, 7);
    assert!(
        matches!(decide(&world, &known), Decision::Join(_)),
        "an id that it holds"
    );
}

#[test]
fn what_a_repository_holds_is_counted_as_nodes_move_and_after_a_restart() {
    let mut world = World::new();
    for (app, node) in [
        ("myapp", "one"),
        ("myapp", "two"),
        ("second", "two"),
        ("second", "two"),
    ] {
        let message = Register {
            app_name: app.into(),
            ..agent(node)
        };
        let tunnel = world.joins(&message);
        world.registry.closed(tunnel);
    }
    let held = Holdings { apps: 2, nodes: 2 };
    let holdings: Vec<Holdings> = world.registry.holdings.values().copied().collect();
    assert_eq!(holdings, [held]);
    let (apps, nodes) = (
        world.registry.apps().cloned(),
        world.registry.nodes().cloned(),
    );
    let restored = Registry::restore(apps, nodes);
    assert_eq!(restored.holdings, world.registry.holdings);
}
