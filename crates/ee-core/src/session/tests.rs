//! The session against TUNNEL 2, 2.1 and 10 and ATTESTATION 10, a sentence a rule.

use ee_protocol::tunnel::{
    AgentMessage, AttestResponse, ControlMessage, Credits, Drain, Health, InnerTlsMode,
    MessageError, Register, StatusState,
};

use super::{rig::*, *};
use crate::attestation::{AttestationCode, BindingStrength, Failure};

fn fail(code: AttestationCode) -> Verdict {
    Verdict::Fail(Failure::new(code))
}

fn indeterminate() -> Verdict {
    Verdict::from(Failure::new(AttestationCode::AllowlistUnavailable))
}

fn drained(commands: &[Command]) -> Vec<String> {
    let drain = |command: &Command| match command {
        Command::Send(Outgoing { message: ControlMessage::Drain(drain), .. }) => {
            Some(drain.reason.clone())
        }
        _ => None,
    };
    commands.iter().filter_map(drain).collect()
}

#[test]
fn straight_line_from_register_to_attested() {
    let mut rig = Rig::new();
    rig.register(&register());
    assert!(matches!(rig.commands().as_slice(), [Command::AskChallenge(_)]));
    rig.grant();
    let commands = rig.commands();
    let request = &challenges(&commands)[0];
    assert_eq!((request.nonce.len(), request.deadline_s), (64, 30));
    assert_eq!((request.reason.as_str(), request.v), ("register", Some(2)));
    assert_eq!(request.binding.as_deref(), Some("tls-exporter"));
    assert_eq!(request.cp_key.as_deref(), Some("55".repeat(32).as_str()));
    let offer = request.tunnel.as_ref().expect("the first challenge offers the tunnel");
    assert_eq!((offer.version, offer.mux.as_str()), (2, "h2"));
    assert_eq!((offer.inner_tls, offer.max_text), (InnerTlsMode::Required, 2_097_152));
    assert_eq!(commands[1], Command::StartInnerTls);
    assert_eq!(rig.session.binary(), BinaryGate::Handshake);
    rig.session.handle_challenge_sent(rig.now);
    rig.session.handle_inner_tls(rig.now, InnerTlsOutcome::Established(channel()));
    let nonce: Nonce = hex::decode(&request.nonce).unwrap().try_into().unwrap();
    rig.answer(&nonce);
    let Command::Verify(verification) = only(rig.commands()) else {
        panic!("one verification")
    };
    assert_eq!(verification.nonce, nonce);
    assert!(matches!(verification.binding, Binding::TlsExporter { .. }));
    rig.verdict(&nonce, Verdict::Pass(Box::new(result(rig.now))));
    assert!(matches!(events(&rig.commands()).as_slice(), [Event::Attested(_)]));
    assert_eq!(rig.session.stage(), Stage::Attesting);
    rig.admit();
    let commands = rig.commands();
    assert_eq!(commands[0], Command::OpenTraffic { credits: 8 });
    let Command::Send(Outgoing { message: ControlMessage::Status(status), protection }) =
        &commands[1]
    else {
        panic!("a status")
    };
    assert_eq!((status.state, status.reason.as_str()), (StatusState::Ok, "attested"));
    assert_eq!(*protection, Protection::Mac, "the first status ok is the first sealed text");
    assert_eq!(rig.session.binary(), BinaryGate::Open);
}

#[test]
fn refusals_that_leave_the_tunnel_open_do() {
    let cases: [(Result<AgentMessage, MessageError>, &str); 7] = [
        (Err(MessageError::InvalidJson), "invalid_json"),
        (Err(MessageError::UnknownMessage), "unknown_message"),
        (Err(MessageError::InvalidField("vcpus")), "invalid_field:vcpus"),
        (Ok(AgentMessage::Health(Health::pass())), "not_registered"),
        (Ok(AgentMessage::Credits(Credits { max_inflight: 1 })), "not_registered"),
        (Ok(AgentMessage::Drain(Drain::default())), "not_registered"),
        (Ok(AgentMessage::AttestResponse(Box::default())), "unexpected_attestation"),
    ];
    for (message, reason) in cases {
        let mut rig = Rig::new();
        rig.session.handle_message(rig.now, message);
        let commands = rig.commands();
        assert_eq!(reasons(&commands), [reason]);
        assert_eq!(closes(&commands), None, "{reason}");
        assert!(!statuses(&commands)[0].detail.is_empty(), "{reason} says what to do");
    }
}

#[test]
fn junk_before_register_does_no_harm() {
    let mut rig = Rig::new();
    for _ in 0..50 {
        rig.session.handle_message(rig.now, Err(MessageError::InvalidJson));
    }
    rig.attest();
    assert_eq!(rig.session.stage(), Stage::Active);
}

#[test]
fn register_is_checked_network_first_then_fields_then_shapes() {
    type Change = fn(&mut Register);
    let cases: [(Change, &str); 9] = [
        (|r| (r.network, r.repo) = ("forge-2".into(), String::new()), "invalid_network"),
        (|r| (r.repo, r.app_name) = (String::new(), "UPPER".into()), "missing_fields"),
        (|r| r.agent_id.clear(), "missing_fields"),
        (|r| r.repo = "noslash".into(), "invalid_field:repo"),
        (|r| r.release_tag = "a b".into(), "invalid_field:release_tag"),
        (|r| r.app_name = "My.App".into(), "invalid_field:app_name"),
        (|r| r.agent_id = "sys:mint".into(), "invalid_field:agent_id"),
        (|r| r.node_id = Some("a/b".into()), "invalid_field:node_id"),
        (|r| r.instance = Some("x".repeat(129)), "invalid_field:instance"),
    ];
    for (change, reason) in cases {
        let mut rig = Rig::new();
        let mut message = register();
        change(&mut message);
        rig.register(&message);
        let commands = rig.commands();
        assert_eq!(reasons(&commands), [reason]);
        assert_eq!(closes(&commands), None, "{reason} leaves the tunnel open");
        assert_eq!(rig.session.stage(), Stage::AwaitingRegister);
    }
}

#[test]
fn second_register_cannot_switch_identity() {
    let mut rig = Rig::new();
    rig.challenged();
    let other = Register { app_name: "victim".into(), ..register() };
    rig.register(&other);
    assert_eq!(reasons(&rig.commands()), ["already_registered"]);
    let registered = rig.session.registration().expect("still registered");
    assert_eq!(registered.app_name.as_str(), "myapp");

    let mut rig = Rig::active();
    rig.register(&other);
    let commands = rig.commands();
    assert_eq!((reasons(&commands), closes(&commands)), (vec!["already_registered".into()], None));
    assert_eq!(rig.session.registration().unwrap().app_name.as_str(), "myapp");
}

#[test]
fn agents_that_cannot_bind_or_carry_h2_are_refused_at_once() {
    let without = |names: &[&str]| Register {
        capabilities: names.iter().map(|name| (*name).to_owned()).collect(),
        ..register()
    };
    let sandbox = |register: Register| Register { network: "sandbox-1".into(), ..register };
    let cases = [
        (without(&[]), "binding_required"),
        (without(&["h2"]), "binding_required"),
        (Register { tunnel_version: Some("1".into()), ..register() }, "binding_required"),
        (sandbox(without(&[])), "h2_required"),
        (sandbox(Register { tunnel_version: Some("1".into()), ..register() }), "h2_required"),
    ];
    for (message, reason) in cases {
        let mut rig = Rig::new();
        rig.register(&message);
        let commands = rig.commands();
        assert_eq!(reasons(&commands), [reason]);
        assert_eq!(closes(&commands), Some((1008, reason.to_owned())));
        assert!(!commands.iter().any(|c| matches!(c, Command::AskChallenge(_))));
        assert!(matches!(events(&commands).as_slice(), [Event::Refused(_)]));
    }
}

#[test]
fn sandbox_agent_without_inner_tls_is_bound_by_nonce_only() {
    let mut rig = Rig::new();
    let message = Register {
        network: "sandbox-1".into(),
        capabilities: vec!["h2".into()],
        ..register()
    };
    rig.register(&message);
    rig.commands();
    rig.grant();
    let commands = rig.commands();
    let request = &challenges(&commands)[0];
    assert_eq!(request.binding.as_deref(), Some("none"));
    assert_eq!(request.tunnel.as_ref().unwrap().inner_tls, InnerTlsMode::Off);
    assert!(!commands.contains(&Command::StartInnerTls));
    assert_eq!(rig.session.binary(), BinaryGate::Closed);
}

#[test]
fn inner_tls_can_be_switched_off_in_the_sandbox_only() {
    let mut relaxed = policy();
    relaxed.sandbox1.inner_tls = InnerTlsMode::Off;
    relaxed.forge1.inner_tls = InnerTlsMode::Off;
    for (network, mode) in [("sandbox-1", InnerTlsMode::Off), ("forge-1", InnerTlsMode::Required)]
    {
        let mut rig = Rig::with(relaxed.clone());
        rig.register(&Register { network: network.into(), ..register() });
        assert_eq!(rig.session.inner_tls(), Some(mode), "{network}");
    }
    relaxed.sandbox1.least_binding = BindingStrength::Channel;
    let mut rig = Rig::with(relaxed);
    rig.register(&Register { network: "sandbox-1".into(), ..register() });
    assert_eq!(rig.session.inner_tls(), Some(InnerTlsMode::Required));
}

#[test]
fn silent_stranger_is_closed_after_ten_seconds() {
    let mut rig = Rig::new();
    rig.pass_time(Duration::from_micros(9_999_999));
    assert_eq!(rig.commands(), []);
    rig.pass_time(Duration::from_micros(1));
    assert_eq!(closes(&rig.commands()), Some((1008, "register_timeout".into())));
}

#[test]
fn deadlines_apply_before_the_input() {
    let mut rig = Rig::new();
    rig.now = rig.now.after(seconds(10));
    rig.register(&register());
    let commands = rig.commands();
    assert_eq!(reasons(&commands), ["register_timeout"]);
    assert!(!commands.iter().any(|c| matches!(c, Command::AskChallenge(_))));

    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.now = rig.now.after(seconds(30));
    rig.answer(&nonce);
    assert_eq!(closes(&rig.commands()), Some((1008, "attestation_timeout".into())));
}

#[test]
fn deadline_counts_from_when_the_challenge_was_sent() {
    let mut rig = Rig::new();
    rig.register(&register());
    rig.grant();
    let nonce = rig.nonce();
    rig.pass_time(seconds(20));
    rig.session.handle_challenge_sent(rig.now);
    rig.session.handle_inner_tls(rig.now, InnerTlsOutcome::Established(channel()));
    rig.pass_time(Duration::from_millis(29_999));
    rig.answer(&nonce);
    assert!(matches!(rig.commands().as_slice(), [Command::Verify(_)]));
}

#[test]
fn wrong_nonce_closes_and_spends_the_challenge() {
    let mut rig = Rig::new();
    rig.challenged();
    rig.answer(&[0; 32]);
    let commands = rig.commands();
    assert_eq!(closes(&commands), Some((1008, "nonce_mismatch".into())));
    assert!(matches!(events(&commands).as_slice(), [Event::Refused(_)]));
}

#[test]
fn a_nonce_answers_once() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.answer(&nonce);
    rig.commands();
    rig.answer(&nonce);
    assert_eq!(reasons(&rig.commands()), ["unexpected_attestation"]);
}

#[test]
fn evidence_without_the_agreed_inner_tls_is_refused() {
    let mut rig = Rig::new();
    rig.register(&register());
    rig.grant();
    let nonce = rig.nonce();
    rig.session.handle_challenge_sent(rig.now);
    rig.answer(&nonce);
    assert_eq!(closes(&rig.commands()), Some((1008, "inner_tls_failed".into())));
}

#[test]
fn inner_tls_is_refused_late_failed_zero_or_under_another_key() {
    let mut rig = Rig::new();
    rig.register(&register());
    rig.grant();
    rig.session.handle_challenge_sent(rig.now);
    rig.pass_time(seconds(10));
    assert_eq!(closes(&rig.commands()), Some((1008, "inner_tls_failed".into())));
    let zero = Channel { exporter: [0; 32], ..channel() };
    let foreign = Channel { control_spki: [1; 32], ..channel() };
    for outcome in [
        InnerTlsOutcome::Failed,
        InnerTlsOutcome::Established(zero),
        InnerTlsOutcome::Established(foreign),
    ] {
        let mut rig = Rig::new();
        rig.register(&register());
        rig.grant();
        rig.session.handle_challenge_sent(rig.now);
        rig.session.handle_inner_tls(rig.now, outcome);
        assert_eq!(closes(&rig.commands()), Some((1008, "inner_tls_failed".into())));
    }
}

#[test]
fn transport_violations_close_with_their_word() {
    for (violation, word) in [
        (Violation::BinaryNotAllowed, "binary_not_allowed"),
        (Violation::InnerTlsFailed, "inner_tls_failed"),
        (Violation::ControlMacInvalid, "control_mac_invalid"),
    ] {
        let mut rig = Rig::active();
        rig.session.handle_violation(rig.now, violation);
        let commands = rig.commands();
        assert_eq!(closes(&commands), Some((1008, word.to_owned())));
        assert_eq!(events(&commands), [Event::Closed]);
    }
}

#[test]
fn stale_verdict_is_ignored() {
    let mut rig = Rig::new();
    let first = rig.challenged();
    rig.answer(&first);
    rig.verdict(&first, indeterminate());
    rig.commands();
    rig.pass_time(seconds(1));
    let second = rig.nonce();
    rig.verdict(&first, Verdict::Pass(Box::new(result(rig.now))));
    rig.verdict(&first, fail(AttestationCode::QuoteMalformed));
    rig.verdict(&second, Verdict::Pass(Box::new(result(rig.now))));
    assert_eq!(rig.commands(), [], "no verdict counts while the challenge is open");
    assert_eq!(rig.session.stage(), Stage::Attesting);
}

#[test]
fn refused_evidence_closes_with_its_code_and_touches_nothing_else() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.answer(&nonce);
    rig.commands();
    rig.verdict(&nonce, Verdict::Fail(
        Failure::new(AttestationCode::RegisterMismatch).about("rtmr2"),
    ));
    let commands = rig.commands();
    assert_eq!(closes(&commands), Some((1008, "measurement_mismatch:rtmr2".into())));
    let Event::Refused(refused) = only(events(&commands)) else {
        panic!("refused")
    };
    assert_eq!(refused.registration.app_name.as_str(), "myapp");
}

#[test]
fn indeterminate_is_pending_and_challenged_again_after_1_2_4_up_to_60_seconds() {
    let mut rig = Rig::new();
    let mut nonce = rig.challenged();
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        rig.answer(&nonce);
        rig.verdict(&nonce, indeterminate());
        let commands = rig.commands();
        let status = &statuses(&commands)[0];
        assert_eq!(status.state, StatusState::Pending);
        assert_eq!(status.reason, "allowlist_unavailable");
        assert_eq!(status.retry_after_ms, Some(wait * 1_000));
        assert_eq!(closes(&commands), None);
        rig.pass_time(seconds(wait) - Duration::from_micros(1));
        assert_eq!(rig.commands(), []);
        rig.pass_time(Duration::from_micros(1));
        nonce = rig.nonce();
        rig.session.handle_challenge_sent(rig.now);
    }
}

#[test]
fn later_challenges_do_not_offer_the_tunnel_again() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.answer(&nonce);
    rig.verdict(&nonce, indeterminate());
    rig.commands();
    rig.pass_time(seconds(1));
    let commands = rig.commands();
    assert_eq!(challenges(&commands)[0].tunnel, None);
    assert!(!commands.contains(&Command::StartInnerTls));
}

#[test]
fn agent_error_gets_one_new_challenge_after_five_seconds() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.agent_error(&nonce);
    assert_eq!(rig.commands(), []);
    rig.pass_time(seconds(5));
    let nonce = rig.nonce();
    rig.session.handle_challenge_sent(rig.now);
    rig.agent_error(&nonce);
    assert_eq!(closes(&rig.commands()), Some((1008, "agent_error".into())));
}

#[test]
fn one_attest_timer_per_session() {
    let mut rig = Rig::active();
    for _ in 0..5 {
        let before = rig.now;
        let mut requests = Vec::new();
        while requests.is_empty() {
            rig.next_deadline();
            rig.health();
            requests = challenges(&rig.commands());
        }
        let waited = rig.now.since(before);
        assert!(waited <= seconds(3_600) && waited >= seconds(3_240), "{waited:?}");
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].reason, "periodic");
        let nonce: Nonce = hex::decode(&requests[0].nonce).unwrap().try_into().unwrap();
        rig.session.handle_challenge_sent(rig.now);
        rig.answer(&nonce);
        rig.verdict(&nonce, Verdict::Pass(Box::new(result(rig.now))));
        let commands = rig.commands();
        assert!(events(&commands).iter().any(|event| matches!(event, Event::Reattested(_))));
        assert_eq!(reasons(&commands), ["attested"]);
    }
}

fn reattesting() -> (Rig, Nonce) {
    let mut rig = Rig::active();
    rig.session.handle_order(rig.now, Order::Reattest);
    let nonce = rig.nonce();
    rig.session.handle_challenge_sent(rig.now);
    (rig, nonce)
}

#[test]
fn a_changed_policy_challenges_at_once() {
    let mut rig = Rig::active();
    rig.session.handle_order(rig.now, Order::Reattest);
    assert_eq!(challenges(&rig.commands())[0].reason, "policy");
    rig.session.handle_order(rig.now, Order::Reattest);
    assert_eq!(rig.commands(), [], "never two challenges at once");
}

#[test]
fn a_policy_change_during_a_challenge_is_not_lost() {
    let (mut rig, nonce) = reattesting();
    rig.session.handle_order(rig.now, Order::Reattest);
    rig.answer(&nonce);
    rig.verdict(&nonce, Verdict::Pass(Box::new(result(rig.now))));
    assert_eq!(challenges(&rig.commands())[0].reason, "policy");
}

#[test]
fn failed_reattestation_is_reported_and_closes() {
    let (mut rig, nonce) = reattesting();
    rig.answer(&nonce);
    rig.verdict(&nonce, fail(AttestationCode::TcbRevoked));
    let commands = rig.commands();
    assert!(matches!(events(&commands).as_slice(), [Event::Failed(_), Event::Closed]));
    assert_eq!(closes(&commands), Some((1008, "tcb_revoked".into())));
}

#[test]
fn missed_reattestation_is_a_timeout() {
    let (mut rig, _) = reattesting();
    rig.pass_time(seconds(30));
    let commands = rig.commands();
    assert!(matches!(events(&commands).as_slice(), [Event::Failed(_), Event::Closed]));
    assert_eq!(closes(&commands), Some((1008, "attestation_timeout".into())));
}

#[test]
fn indeterminate_reattestation_keeps_the_session() {
    let (mut rig, nonce) = reattesting();
    rig.answer(&nonce);
    rig.verdict(&nonce, indeterminate());
    let commands = rig.commands();
    assert!(matches!(events(&commands).as_slice(), [Event::Waiting(_)]));
    assert_eq!(statuses(&commands)[0].state, StatusState::Pending);
    assert_eq!(rig.session.stage(), Stage::Active);
    rig.pass_time(seconds(1));
    assert_eq!(challenges(&rig.commands())[0].reason, "policy");
}

#[test]
fn health_timeout_is_exact() {
    let mut rig = Rig::active();
    rig.pass_time(seconds(60));
    rig.health();
    rig.commands();
    rig.pass_time(Duration::from_micros(119_999_999));
    assert_eq!(rig.commands(), []);
    rig.pass_time(Duration::from_micros(1));
    assert_eq!(events(&rig.commands()), [Event::HealthTimedOut]);
    rig.pass_time(seconds(1_000));
    assert_eq!(rig.commands(), [], "one silence is one event");
}

#[test]
fn health_words_other_than_pass_fail() {
    let mut rig = Rig::active();
    for (status, word) in
        [(None, HealthWord::Pass), (Some("pass"), HealthWord::Pass), (Some("ok"), HealthWord::Fail)]
    {
        let status = status.map(str::to_owned);
        rig.says(AgentMessage::Health(Health { status, ..Health::default() }));
        let commands = rig.commands();
        let Event::Health(heartbeat) = only(events(&commands)) else {
            panic!("a heartbeat")
        };
        assert_eq!((heartbeat.word, commands.len()), (word, 1), "no reply");
    }
}

#[test]
fn credits_are_capped_at_the_streams_of_a_tunnel() {
    let mut rig = Rig::active();
    rig.says(AgentMessage::Credits(Credits { max_inflight: 5_000 }));
    assert_eq!(rig.commands(), [Command::SetCredits(1_024), Command::Emit(Event::Credits(1_024))]);
}

#[test]
fn the_warning_window_asks_once_to_reconnect() {
    let mut rig = Rig::active();
    let mut asked = 0;
    let end = rig.now.after(policy().registration_ttl);
    while rig.now < end {
        rig.next_deadline();
        let commands = rig.commands();
        for request in challenges(&commands) {
            let nonce: Nonce = hex::decode(&request.nonce).unwrap().try_into().unwrap();
            rig.answer(&nonce);
            rig.verdict(&nonce, Verdict::Pass(Box::new(result(rig.now))));
        }
        if !drained(&commands).is_empty() {
            assert_eq!(drained(&commands), ["registration"]);
            assert_eq!(rig.now, policy().warning_begins(end));
            asked += 1;
        }
    }
    assert_eq!(asked, 1);
    assert_eq!(rig.session.stage(), Stage::Active, "the warning window serves");
}

#[test]
fn server_drain_asks_the_served_and_closes_strangers() {
    let mut rig = Rig::active();
    rig.session.handle_order(rig.now, Order::Drain);
    let commands = rig.commands();
    assert_eq!((drained(&commands), closes(&commands)), (vec!["restart".to_owned()], None));
    rig.session.handle_order(rig.now, Order::Shutdown);
    assert_eq!(closes(&rig.commands()), Some((1012, "restart".into())));

    let mut rig = Rig::new();
    rig.challenged();
    rig.session.handle_order(rig.now, Order::Drain);
    let commands = rig.commands();
    assert_eq!(closes(&commands), Some((1012, "restart".into())));
    assert_eq!(events(&commands), []);
}

#[test]
fn a_holder_that_lives_keeps_its_node() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.answer(&nonce);
    rig.verdict(&nonce, Verdict::Pass(Box::new(result(rig.now))));
    rig.session.handle_admission(rig.now, Admission::HolderAsked);
    rig.commands();
    rig.session.handle_order(rig.now, Order::HolderAlive);
    assert_eq!(closes(&rig.commands()), Some((1008, "node_in_use".into())));

    let mut holder = Rig::active();
    holder.session.handle_order(holder.now, Order::Ping);
    assert_eq!(holder.commands(), [Command::Ping]);
    holder.session.handle_pong(holder.now);
    assert_eq!(events(&holder.commands()), [Event::Alive]);
    holder.session.handle_pong(holder.now);
    assert_eq!(holder.commands(), [], "keep-alive pongs are nobody's business");
}

#[test]
fn a_silent_holder_loses_its_node_after_five_seconds() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.answer(&nonce);
    rig.verdict(&nonce, Verdict::Pass(Box::new(result(rig.now))));
    rig.session.handle_admission(rig.now, Admission::HolderAsked);
    rig.commands();
    rig.pass_time(seconds(5));
    let Event::Attested(attested) = only(events(&rig.commands())) else {
        panic!("asks again")
    };
    assert_eq!(attested.holder, Holder::Silent);
}

#[test]
fn a_store_that_fails_is_not_held_against_the_agent() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.answer(&nonce);
    rig.verdict(&nonce, Verdict::Pass(Box::new(result(rig.now))));
    rig.commands();
    let failure = Failure::new(AttestationCode::LogUnavailable);
    rig.session.handle_admission(rig.now, Admission::Deferred(failure));
    let commands = rig.commands();
    assert_eq!(statuses(&commands)[0].state, StatusState::Pending);
    assert_eq!(closes(&commands), None);
    rig.pass_time(seconds(1));
    assert_eq!(challenges(&rig.commands()).len(), 1);
}

#[test]
fn register_and_hang_up_leaves_no_trace() {
    let mut rig = Rig::new();
    rig.challenged();
    rig.commands();
    rig.session.handle_disconnect(rig.now);
    assert_eq!(rig.commands(), []);
    assert_eq!((rig.session.stage(), rig.session.poll_timeout()), (Stage::Closed, None));
}

#[test]
fn disconnect_of_an_attested_session_is_told_once() {
    let mut rig = Rig::active();
    rig.session.handle_disconnect(rig.now);
    rig.session.handle_disconnect(rig.now);
    assert_eq!(rig.commands(), [Command::Emit(Event::Closed)]);
}

#[test]
fn text_limits_follow_the_state() {
    let mut rig = Rig::new();
    assert_eq!(rig.session.text_max_bytes(), 16 * 1024);
    rig.register(&register());
    assert_eq!(rig.session.text_max_bytes(), 16 * 1024, "2 MiB of text only with a challenge");
    rig.grant();
    assert_eq!(rig.session.text_max_bytes(), 2 * 1024 * 1024);
    let nonce = rig.nonce();
    rig.session.handle_inner_tls(rig.now, InnerTlsOutcome::Established(channel()));
    rig.answer(&nonce);
    assert_eq!(rig.session.text_max_bytes(), 16 * 1024);
    assert_eq!(Rig::active().session.text_max_bytes(), 64 * 1024);
}

#[test]
fn long_close_reasons_fit_a_close_frame() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.answer(&nonce);
    rig.verdict(&nonce, Verdict::Fail(
        Failure::new(AttestationCode::ClaimMismatch).about("é".repeat(200)),
    ));
    let (code, reason) = closes(&rig.commands()).expect("closed");
    assert!(code == 1008 && reason.len() <= 123, "{}", reason.len());
}

#[test]
fn waiting_for_a_slot_ends_after_five_minutes() {
    let mut rig = Rig::new();
    rig.register(&register());
    rig.commands();
    rig.pass_time(seconds(300));
    assert_eq!(closes(&rig.commands()), Some((1013, "too_many_pending".into())));
}

#[test]
fn a_verdict_that_never_comes_is_our_fault() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.answer(&nonce);
    rig.commands();
    rig.pass_time(seconds(300));
    let commands = rig.commands();
    assert_eq!(statuses(&commands)[0].state, StatusState::Pending);
    assert_eq!(closes(&commands), None);
}

#[test]
fn app_conflict_is_refused_by_name() {
    for (refusal, word) in [
        (SessionRefusal::AppBoundToOtherRepo, "app_bound_to_other_repo"),
        (SessionRefusal::AppBoundToOtherNetwork, "app_bound_to_other_network"),
        (SessionRefusal::Banned, "banned"),
    ] {
        let mut rig = Rig::new();
        rig.register(&register());
        rig.commands();
        rig.session.handle_challenge_answer(rig.now, ChallengeAnswer::Refused(refusal));
        let commands = rig.commands();
        assert_eq!(closes(&commands), Some((1008, word.to_owned())));
        assert_eq!(challenges(&commands), []);
    }
}

#[test]
fn empty_response_still_answers_the_challenge_it_names() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    let response = AttestResponse { nonce: hex::encode(nonce), ..AttestResponse::default() };
    rig.says(AgentMessage::AttestResponse(Box::new(response)));
    assert!(matches!(rig.commands().as_slice(), [Command::Verify(_)]));
}
