//! The agent's session as a whole: what it proves, to whom, and what it never does.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::{sync::Arc, time::Duration};

use ee_agent::{
    identity::Identity,
    quote::{QuoteBundle, QuoteError},
    session::{Closing, Command, InnerTlsOutcome, Session},
};
use ee_protocol::{
    names::{AgentId, AppName, Network, NodeId, ReleaseTag, Repo},
    report_data::{Binding, BindingFields, Role, WorkloadClaims, node_proof},
    settings::Secret,
    time::Timestamp,
    tunnel::{
        AgentMessage, AttestRequest, ControlMessage, Drain, InnerTlsMode, MessageError, Status,
        StatusState, TunnelOffer,
    },
};
use proptest::prelude::*;

const CONTROL_KEY: [u8; 32] = [0xc0; 32];
const AGENT_KEY: [u8; 32] = [0xa0; 32];
const EXPORTER: [u8; 32] = [0xe0; 32];

#[test]
fn a_session_registers_proves_and_opens() {
    let mut session = session(Network::Forge1, &[]);
    let Some(Command::Send(AgentMessage::Register(register))) = session.poll_command() else {
        panic!("an agent registers first");
    };
    assert_eq!(register.tunnel_version.as_deref(), Some("2"));
    assert!(
        register
            .capabilities
            .iter()
            .any(|capability| capability == "itls")
    );

    session.handle_message(at(0), challenge(1, InnerTlsMode::Required), false);
    assert_eq!(commands(&mut session), [Command::ExpectInnerTls]);
    session.handle_inner_tls(at(1), InnerTlsOutcome::Established(channel()));
    let [
        Command::Quote {
            nonce,
            report_data,
            budget,
        },
    ] = commands(&mut session)[..]
    else {
        panic!("the quote follows the handshake");
    };
    assert_eq!(nonce, [1; 32]);
    assert_eq!(report_data.workload(), claims().digest());
    assert_eq!(
        report_data.binding(),
        expected_binding(&nonce, "register", &channel())
    );
    assert_eq!(
        budget,
        Duration::from_secs(24),
        "5 s before the deadline of 30 s"
    );

    session.handle_quote(at(2), &nonce, Ok(bundle()));
    let [Command::Send(AgentMessage::AttestResponse(response))] = &commands(&mut session)[..]
    else {
        panic!("the answer follows the quote");
    };
    assert_eq!(response.nonce, "01".repeat(32));
    assert_eq!(response.report_data, Some(hex::encode(report_data.0)));
    assert_eq!(response.session_key, Some(hex::encode(AGENT_KEY)));
    let proof = node_proof("ee_node_test", &nonce, &report_data);
    assert_eq!(response.node_proof, Some(hex::encode(proof)));

    session.handle_message(at(3), attested(), true);
    assert_eq!(
        commands(&mut session),
        [Command::OpenTraffic, Command::Probe]
    );
    session.handle_probe(at(3), true, 0);
    assert!(matches!(
        &commands(&mut session)[..],
        [Command::Send(AgentMessage::Health(health))] if health.passes()
    ));
}

#[test]
fn wrong_control_key_is_refused() {
    // The challenge names another key than the TLS client holds: a relay.
    let mut relayed = session(Network::Forge1, &[]);
    commands(&mut relayed);
    let Ok(ControlMessage::AttestRequest(mut request)) = challenge(1, InnerTlsMode::Required)
    else {
        unreachable!();
    };
    request.cp_key = Some("ff".repeat(32));
    relayed.handle_message(at(0), Ok(ControlMessage::AttestRequest(request)), false);
    relayed.handle_inner_tls(at(0), InnerTlsOutcome::Established(channel()));
    assert_closed(&mut relayed, "control_key_refused");

    // The key is not among the pinned ones.
    let mut pinned = session(Network::Forge1, &[[0x99; 32]]);
    commands(&mut pinned);
    pinned.handle_message(at(0), challenge(1, InnerTlsMode::Required), false);
    pinned.handle_inner_tls(at(0), InnerTlsOutcome::Established(channel()));
    assert_closed(&mut pinned, "control_key_refused");

    // It is.
    let mut known = session(Network::Forge1, &[[0x99; 32], CONTROL_KEY]);
    commands(&mut known);
    known.handle_message(at(0), challenge(1, InnerTlsMode::Required), false);
    known.handle_inner_tls(at(0), InnerTlsOutcome::Established(channel()));
    assert!(
        commands(&mut known)
            .iter()
            .any(|c| matches!(c, Command::Quote { .. }))
    );
}

#[test]
fn inner_tls_cannot_be_talked_away() {
    let mut production = session(Network::Forge1, &[]);
    commands(&mut production);
    production.handle_message(at(0), challenge(1, InnerTlsMode::Off), false);
    assert_closed(&mut production, "inner_tls_required");

    let mut pinned = session(Network::Sandbox1, &[CONTROL_KEY]);
    commands(&mut pinned);
    pinned.handle_message(at(0), challenge(1, InnerTlsMode::Off), false);
    assert_closed(&mut pinned, "inner_tls_required");

    let mut sandbox = session(Network::Sandbox1, &[]);
    commands(&mut sandbox);
    sandbox.handle_message(at(0), challenge(1, InnerTlsMode::Off), false);
    let [
        Command::ExpectPlain,
        Command::Quote {
            nonce, report_data, ..
        },
    ] = commands(&mut sandbox)[..]
    else {
        panic!("the sandbox may go without");
    };
    assert_eq!(
        report_data.binding(),
        binding_on("sandbox-1", &nonce, "register", &Binding::None)
    );
}

#[test]
fn forged_attested_status_is_refused() {
    let mut session = answered();
    session.handle_message(at(3), attested(), false);
    assert_closed(&mut session, "control_mac_invalid");
}

#[test]
fn attested_before_the_channel_stands_is_refused() {
    let mut session = session(Network::Forge1, &[]);
    commands(&mut session);
    session.handle_message(at(0), attested(), true);
    assert_closed(&mut session, "inner_tls_failed");
}

#[test]
fn a_rechallenge_is_answered_over_the_same_channel_while_traffic_runs() {
    let mut session = active();
    let Ok(ControlMessage::AttestRequest(mut request)) = challenge(2, InnerTlsMode::Required)
    else {
        unreachable!();
    };
    request.tunnel = None;
    request.reason = "periodic".to_owned();
    session.handle_message(at(10), Ok(ControlMessage::AttestRequest(request)), true);
    let [
        Command::Quote {
            nonce, report_data, ..
        },
    ] = commands(&mut session)[..]
    else {
        panic!("no second handshake");
    };
    assert_eq!(
        report_data.binding(),
        expected_binding(&nonce, "periodic", &channel())
    );
    assert!(session.is_active());
    session.handle_quote(at(11), &nonce, Err(QuoteError::Busy));
    let [Command::Send(AgentMessage::AttestResponse(response))] = &commands(&mut session)[..]
    else {
        panic!("a failed quote is answered, too");
    };
    assert_eq!(response.error.as_deref(), Some("quote_busy"));
    assert_eq!(response.quote, None);
}

#[test]
fn a_quote_for_an_old_challenge_is_never_sent() {
    let mut session = answered();
    session.handle_message(at(3), challenge(2, InnerTlsMode::Required), false);
    assert!(matches!(
        commands(&mut session)[..],
        [Command::Quote { nonce: [2, ..], .. }]
    ));
    session.handle_quote(at(4), &[1; 32], Ok(bundle()));
    assert_eq!(commands(&mut session), []);
}

#[test]
fn refusals_close_before_attestation_and_pending_waits() {
    let mut session = answered();
    session.handle_message(
        at(3),
        status(StatusState::Pending, "collateral_unavailable"),
        false,
    );
    assert_eq!(commands(&mut session), []);
    session.handle_message(
        at(4),
        status(StatusState::Invalid, "measurement_mismatch:rtmr2"),
        false,
    );
    assert_eq!(
        commands(&mut session),
        [Command::Close(Closing {
            code: 1000,
            reason: "measurement_mismatch:rtmr2".to_owned(),
        })]
    );
}

#[test]
fn silence_has_an_end() {
    let mut session = session(Network::Forge1, &[]);
    commands(&mut session);
    session.handle_timeout(at(599));
    assert_eq!(commands(&mut session), []);
    session.handle_timeout(at(600));
    assert_closed(&mut session, "not_attested_in_time");

    let mut shaking = self::session(Network::Forge1, &[]);
    commands(&mut shaking);
    shaking.handle_message(at(0), challenge(1, InnerTlsMode::Required), false);
    commands(&mut shaking);
    shaking.handle_inner_tls(at(10), InnerTlsOutcome::Established(channel()));
    assert_closed(&mut shaking, "inner_tls_failed");
}

#[test]
fn drain_asks_for_another_tunnel_and_keeps_this_one() {
    let mut session = active();
    let drain = Drain {
        reason: "restart".to_owned(),
        reconnect_after_ms: Some([500, 15_000]),
    };
    session.handle_message(at(5), Ok(ControlMessage::Drain(drain)), true);
    assert_eq!(
        commands(&mut session),
        [Command::Replace {
            from: Duration::from_millis(500),
            until: Duration::from_secs(15),
        }]
    );
    assert!(session.is_active());
    session.handle_leave("replaced");
    assert!(matches!(
        &commands(&mut session)[..],
        [
            Command::Send(AgentMessage::Drain(_)),
            Command::FinishRequests
        ]
    ));
}

#[test]
fn the_prototypes_control_plane_is_named_and_left() {
    let mut session = session(Network::Sandbox1, &[]);
    commands(&mut session);
    let Ok(ControlMessage::AttestRequest(mut request)) = challenge(1, InnerTlsMode::Off) else {
        unreachable!();
    };
    request.tunnel = None;
    session.handle_message(at(0), Ok(ControlMessage::AttestRequest(request)), false);
    assert_closed(&mut session, "legacy_framing_unsupported");
}

/// One input, as a stranger at the other end might cause it.
#[derive(Debug, Clone)]
enum Input {
    Challenge {
        nonce: u8,
        tls: bool,
        key: bool,
        offered: bool,
    },
    InnerTls(bool),
    Quote {
        nonce: u8,
        made: bool,
    },
    Status {
        state: StatusState,
        authenticated: bool,
    },
    Drain,
    Garbage,
    Probe(bool),
    Leave,
    Wait(u32),
}

fn input() -> impl Strategy<Value = Input> {
    let state = prop_oneof![
        Just(StatusState::Ok),
        Just(StatusState::Invalid),
        Just(StatusState::Pending)
    ];
    prop_oneof![
        (0..3_u8, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(nonce, tls, key, offered)| Input::Challenge {
                nonce,
                tls,
                key,
                offered
            }
        ),
        any::<bool>().prop_map(Input::InnerTls),
        (0..3_u8, any::<bool>()).prop_map(|(nonce, made)| Input::Quote { nonce, made }),
        (state, any::<bool>()).prop_map(|(state, authenticated)| Input::Status {
            state,
            authenticated
        }),
        Just(Input::Drain),
        Just(Input::Garbage),
        any::<bool>().prop_map(Input::Probe),
        Just(Input::Leave),
        (0..700_u32).prop_map(Input::Wait),
    ]
}

fn apply(session: &mut Session, now: &mut Timestamp, input: &Input) {
    match input {
        Input::Challenge {
            nonce,
            tls,
            key,
            offered,
        } => {
            let mode = if *tls {
                InnerTlsMode::Required
            } else {
                InnerTlsMode::Off
            };
            let Ok(ControlMessage::AttestRequest(mut request)) = challenge(*nonce, mode) else {
                unreachable!();
            };
            if !key {
                request.cp_key = Some("ff".repeat(32));
            }
            if !offered {
                request.tunnel = None;
            }
            session.handle_message(*now, Ok(ControlMessage::AttestRequest(request)), false);
        }
        Input::InnerTls(true) => {
            session.handle_inner_tls(*now, InnerTlsOutcome::Established(channel()));
        }
        Input::InnerTls(false) => {
            session.handle_inner_tls(*now, InnerTlsOutcome::Failed("cut".to_owned()));
        }
        Input::Quote { nonce, made } => {
            let outcome = if *made {
                Ok(bundle())
            } else {
                Err(QuoteError::Timeout)
            };
            session.handle_quote(*now, &[*nonce; 32], outcome);
        }
        Input::Status {
            state,
            authenticated,
        } => {
            session.handle_message(*now, status(*state, "attested"), *authenticated);
        }
        Input::Drain => {
            session.handle_message(*now, Ok(ControlMessage::Drain(Drain::default())), true);
        }
        Input::Garbage => session.handle_message(*now, Err(MessageError::UnknownMessage), false),
        Input::Probe(passed) => session.handle_probe(*now, *passed, 3),
        Input::Leave => session.handle_leave("shutdown"),
        Input::Wait(seconds) => {
            *now = now.after(Duration::from_secs(u64::from(*seconds)));
            session.handle_timeout(*now);
        }
    }
}

proptest! {
    /// Whatever the other end does: traffic opens at most once and only after a proof over inner
    /// TLS that a MAC confirmed; each answer repeats a quote that was asked for; nothing happens
    /// after a close.
    #[test]
    fn no_input_opens_traffic_without_a_proof(inputs in prop::collection::vec(input(), 0..40)) {
        let mut session = session(Network::Forge1, &[CONTROL_KEY]);
        let mut now = at(0);
        let (mut quotes, mut answers, mut opened, mut closed) = (0, 0, 0, false);
        let mut confirmed = false;
        for step in &inputs {
            if matches!(step, Input::Status { state: StatusState::Ok, authenticated: true }) {
                confirmed = true;
            }
            apply(&mut session, &mut now, step);
            while let Some(command) = session.poll_command() {
                prop_assert!(!closed, "{command:?} after close");
                match command {
                    Command::Quote { .. } => quotes += 1,
                    Command::Send(AgentMessage::AttestResponse(_)) => answers += 1,
                    Command::OpenTraffic => {
                        opened += 1;
                        prop_assert!(confirmed, "opened without a MAC");
                        prop_assert!(quotes > 0, "opened before any challenge was met");
                    }
                    Command::ExpectPlain => prop_assert!(false, "plain on forge-1"),
                    Command::Close(_) => closed = true,
                    Command::Send(_)
                    | Command::ExpectInnerTls
                    | Command::UseEpochs
                    | Command::Probe
                    | Command::Replace { .. } | Command::FinishRequests => {}
                }
            }
            prop_assert!(answers <= quotes);
            prop_assert!(opened <= 1);
        }
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn claims() -> WorkloadClaims {
    WorkloadClaims {
        agent_dir_sha256: "11".repeat(32),
        agent_py_sha256: "22".repeat(32),
        vm_image_id: "tag=v0.1.3".to_owned(),
        sealed: true,
    }
}

fn session(network: Network, control_keys: &[[u8; 32]]) -> Session {
    let identity = Identity {
        repo: Repo::parse("org/repo").unwrap(),
        release_tag: ReleaseTag::parse("v0.1.3").unwrap(),
        app_name: AppName::parse("myapp").unwrap(),
        network,
        agent_id: AgentId::parse("uuid").unwrap(),
        node_id: NodeId::parse("node").unwrap(),
        node_token: Some(Secret::new("ee_node_test")),
        instance: "boot".to_owned(),
        max_inflight: 64,
        control_keys: control_keys.to_vec(),
    };
    Session::new(
        Arc::new(identity),
        Arc::new(claims()),
        Duration::from_secs(60),
        at(0),
    )
}

fn expected_binding(nonce: &[u8; 32], reason: &str, binding: &Binding) -> [u8; 32] {
    binding_on("forge-1", nonce, reason, binding)
}

fn binding_on(network: &str, nonce: &[u8; 32], reason: &str, binding: &Binding) -> [u8; 32] {
    BindingFields {
        role: Role::Agent,
        nonce,
        reason,
        network,
        repo: "org/repo",
        release_tag: "v0.1.3",
        app_name: "myapp",
        agent_id: "uuid",
        node_id: "node",
        binding,
    }
    .digest()
}

fn channel() -> Binding {
    Binding::TlsExporter {
        exporter: EXPORTER,
        agent_spki: AGENT_KEY,
        control_spki: CONTROL_KEY,
    }
}

fn bundle() -> QuoteBundle {
    QuoteBundle {
        quote: vec![4, 0],
        event_log: None,
    }
}

fn challenge(nonce: u8, inner_tls: InnerTlsMode) -> Result<ControlMessage, MessageError> {
    Ok(ControlMessage::AttestRequest(AttestRequest {
        nonce: hex::encode([nonce; 32]),
        deadline_s: 30,
        reason: "register".to_owned(),
        v: Some(2),
        binding: Some("tls-exporter".to_owned()),
        cp_key: Some(hex::encode(CONTROL_KEY)),
        tunnel: Some(TunnelOffer {
            version: 2,
            mux: "h2".to_owned(),
            inner_tls,
            epochs: false,
            max_text: 2_097_152,
            peers: Vec::new(),
        }),
    }))
}

fn status(state: StatusState, reason: &str) -> Result<ControlMessage, MessageError> {
    Ok(ControlMessage::Status(Status {
        state,
        reason: reason.to_owned(),
        detail: Vec::new(),
        retry_after_ms: None,
    }))
}

fn attested() -> Result<ControlMessage, MessageError> {
    status(StatusState::Ok, "attested")
}

/// A session that has answered its first challenge.
fn answered() -> Session {
    let mut session = session(Network::Forge1, &[]);
    session.handle_message(at(0), challenge(1, InnerTlsMode::Required), false);
    session.handle_inner_tls(at(1), InnerTlsOutcome::Established(channel()));
    session.handle_quote(at(2), &[1; 32], Ok(bundle()));
    commands(&mut session);
    session
}

fn active() -> Session {
    let mut session = answered();
    session.handle_message(at(3), attested(), true);
    session.handle_probe(at(3), true, 0);
    commands(&mut session);
    session
}

fn commands(session: &mut Session) -> Vec<Command> {
    std::iter::from_fn(|| session.poll_command()).collect()
}

fn assert_closed(session: &mut Session, wanted: &str) {
    let last = commands(session).pop();
    assert!(
        matches!(&last, Some(Command::Close(Closing { code: 1008, reason })) if reason == wanted),
        "{last:?}"
    );
}
