//! From connecting to joining: who may, and what the first refusals are.

use super::*;

#[test]
fn straight_line_from_register_to_attested() {
    let mut rig = Rig::new();
    rig.register(&register());
    assert!(matches!(
        rig.commands().as_slice(),
        [Command::AskChallenge(_)]
    ));
    rig.grant();
    let commands = rig.commands();
    let request = &challenges(&commands)[0];
    assert_eq!((request.nonce.len(), request.deadline_s), (64, 30));
    assert_eq!((request.reason.as_str(), request.v), ("register", Some(2)));
    assert_eq!(request.binding.as_deref(), Some("tls-exporter"));
    assert_eq!(request.cp_key.as_deref(), Some("55".repeat(32).as_str()));
    let offer = request
        .tunnel
        .as_ref()
        .expect("the first challenge offers the tunnel");
    assert_eq!((offer.version, offer.mux.as_str()), (2, "h2"));
    assert_eq!(
        (offer.inner_tls, offer.max_text),
        (InnerTlsMode::Required, 2_097_152)
    );
    assert_eq!(commands[1], Command::StartInnerTls);
    assert_eq!(rig.session.binary(), BinaryGate::Handshake);
    rig.session.handle_challenge_sent(rig.now);
    rig.session
        .handle_inner_tls(rig.now, InnerTlsOutcome::Established(channel()));
    let nonce: Nonce = hex::decode(&request.nonce).unwrap().try_into().unwrap();
    rig.answer(&nonce);
    let Command::Verify(verification) = only(rig.commands()) else {
        panic!("one verification")
    };
    assert_eq!(verification.nonce, nonce);
    assert!(matches!(verification.binding, Binding::TlsExporter { .. }));
    rig.verdict(&nonce, Verdict::Pass(Box::new(result(rig.now))));
    assert!(matches!(
        events(&rig.commands()).as_slice(),
        [Event::Attested(_)]
    ));
    assert_eq!(rig.session.stage(), Stage::Attesting);
    rig.admit();
    let commands = rig.commands();
    assert_eq!(commands[0], Command::OpenTraffic { credits: 8 });
    let Command::Send(Outgoing {
        message: ControlMessage::Status(status),
        protection,
    }) = &commands[1]
    else {
        panic!("a status")
    };
    assert_eq!(
        (status.state, status.reason.as_str()),
        (StatusState::Ok, "attested")
    );
    assert_eq!(
        *protection,
        Protection::Mac,
        "the first status ok is the first sealed text"
    );
    assert_eq!(rig.session.binary(), BinaryGate::Open);
}

#[test]
fn refusals_that_leave_the_tunnel_open_do() {
    let cases: [(Result<AgentMessage, MessageError>, &str); 7] = [
        (Err(MessageError::InvalidJson), "invalid_json"),
        (Err(MessageError::UnknownMessage), "unknown_message"),
        (
            Err(MessageError::InvalidField("vcpus")),
            "invalid_field:vcpus",
        ),
        (Ok(AgentMessage::Health(Health::pass())), "not_registered"),
        (
            Ok(AgentMessage::Credits(Credits { max_inflight: 1 })),
            "not_registered",
        ),
        (Ok(AgentMessage::Drain(Drain::default())), "not_registered"),
        (
            Ok(AgentMessage::AttestResponse(Box::default())),
            "unexpected_attestation",
        ),
    ];
    for (message, reason) in cases {
        let mut rig = Rig::new();
        rig.session.handle_message(rig.now, message);
        let commands = rig.commands();
        assert_eq!(reasons(&commands), [reason]);
        assert_eq!(closes(&commands), None, "{reason}");
        assert!(
            !statuses(&commands)[0].detail.is_empty(),
            "{reason} says what to do"
        );
    }
}

#[test]
fn junk_before_register_does_no_harm() {
    let mut rig = Rig::new();
    for _ in 0..50 {
        rig.session
            .handle_message(rig.now, Err(MessageError::InvalidJson));
    }
    rig.attest();
    assert_eq!(rig.session.stage(), Stage::Active);
}

#[test]
fn register_is_checked_network_first_then_fields_then_shapes() {
    type Change = fn(&mut Register);
    let cases: [(Change, &str); 9] = [
        (
            |r| (r.network, r.repo) = ("forge-2".into(), String::new()),
            "invalid_network",
        ),
        (
            |r| (r.repo, r.app_name) = (String::new(), "UPPER".into()),
            "missing_fields",
        ),
        (|r| r.agent_id.clear(), "missing_fields"),
        (|r| r.repo = "noslash".into(), "invalid_field:repo"),
        (
            |r| r.release_tag = "a b".into(),
            "invalid_field:release_tag",
        ),
        (|r| r.app_name = "My.App".into(), "invalid_field:app_name"),
        (|r| r.agent_id = "sys:mint".into(), "invalid_field:agent_id"),
        (|r| r.node_id = Some("a/b".into()), "invalid_field:node_id"),
        (
            |r| r.instance = Some("x".repeat(129)),
            "invalid_field:instance",
        ),
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
    let other = Register {
        app_name: "victim".into(),
        ..register()
    };
    rig.register(&other);
    assert_eq!(reasons(&rig.commands()), ["already_registered"]);
    let registered = rig.session.registration().expect("still registered");
    assert_eq!(registered.app_name.as_str(), "myapp");

    let mut rig = Rig::active();
    rig.register(&other);
    let commands = rig.commands();
    assert_eq!(
        (reasons(&commands), closes(&commands)),
        (vec!["already_registered".into()], None)
    );
    assert_eq!(
        rig.session.registration().unwrap().app_name.as_str(),
        "myapp"
    );
}

#[test]
fn forge_agents_that_cannot_bind_are_refused_at_once() {
    let without = |names: &[&str]| Register {
        capabilities: names.iter().map(|name| (*name).to_owned()).collect(),
        ..register()
    };
    let cases = [
        (without(&[]), "binding_required"),
        (without(&["h2"]), "binding_required"),
        (
            Register {
                tunnel_version: Some("1".into()),
                ..register()
            },
            "binding_required",
        ),
    ];
    for (message, reason) in cases {
        let mut rig = Rig::new();
        rig.register(&message);
        let commands = rig.commands();
        assert_eq!(reasons(&commands), [reason]);
        assert_eq!(closes(&commands), Some((1008, reason.to_owned())));
        assert!(
            !commands
                .iter()
                .any(|c| matches!(c, Command::AskChallenge(_)))
        );
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
    assert_eq!(
        request.tunnel.as_ref().unwrap().inner_tls,
        InnerTlsMode::Off
    );
    assert!(!commands.contains(&Command::StartInnerTls));
    assert_eq!(rig.session.binary(), BinaryGate::Closed);
}

#[test]
fn inner_tls_can_be_switched_off_in_the_sandbox_only() {
    let mut relaxed = policy();
    relaxed.sandbox1.inner_tls = InnerTlsMode::Off;
    relaxed.forge1.inner_tls = InnerTlsMode::Off;
    for (network, mode) in [
        ("sandbox-1", InnerTlsMode::Off),
        ("forge-1", InnerTlsMode::Required),
    ] {
        let mut rig = Rig::with(relaxed.clone());
        rig.register(&Register {
            network: network.into(),
            ..register()
        });
        assert_eq!(rig.session.inner_tls(), Some(mode), "{network}");
    }
    relaxed.sandbox1.least_binding = BindingStrength::Channel;
    let mut rig = Rig::with(relaxed);
    rig.register(&Register {
        network: "sandbox-1".into(),
        ..register()
    });
    assert_eq!(rig.session.inner_tls(), Some(InnerTlsMode::Required));
}

#[test]
fn silent_stranger_is_closed_after_ten_seconds() {
    let mut rig = Rig::new();
    rig.pass_time(Duration::from_micros(9_999_999));
    assert_eq!(rig.commands(), []);
    rig.pass_time(Duration::from_micros(1));
    assert_eq!(
        closes(&rig.commands()),
        Some((1008, "register_timeout".into()))
    );
}

#[test]
fn a_holder_that_lives_keeps_its_node() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.answer(&nonce);
    rig.verdict(&nonce, Verdict::Pass(Box::new(result(rig.now))));
    rig.session
        .handle_admission(rig.now, Admission::HolderAsked);
    rig.commands();
    rig.session.handle_order(rig.now, Order::HolderAlive);
    assert_eq!(closes(&rig.commands()), Some((1008, "node_in_use".into())));

    let mut holder = Rig::active();
    holder.session.handle_order(holder.now, Order::Ping);
    assert_eq!(holder.commands(), [Command::Ping]);
    holder.session.handle_pong(holder.now);
    assert_eq!(events(&holder.commands()), [Event::Alive]);
    holder.session.handle_pong(holder.now);
    assert_eq!(
        holder.commands(),
        [],
        "keep-alive pongs are nobody's business"
    );
}

#[test]
fn a_silent_holder_loses_its_node_after_five_seconds() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.answer(&nonce);
    rig.verdict(&nonce, Verdict::Pass(Box::new(result(rig.now))));
    rig.session
        .handle_admission(rig.now, Admission::HolderAsked);
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
    rig.session
        .handle_admission(rig.now, Admission::Deferred(failure));
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
    assert_eq!(
        (rig.session.stage(), rig.session.poll_timeout()),
        (Stage::Closed, None)
    );
}

#[test]
fn text_limits_follow_the_state() {
    let mut rig = Rig::new();
    assert_eq!(rig.session.text_max_bytes(), 16 * 1024);
    rig.register(&register());
    assert_eq!(
        rig.session.text_max_bytes(),
        16 * 1024,
        "2 MiB of text only with a challenge"
    );
    rig.grant();
    assert_eq!(rig.session.text_max_bytes(), 2 * 1024 * 1024);
    let nonce = rig.nonce();
    rig.session
        .handle_inner_tls(rig.now, InnerTlsOutcome::Established(channel()));
    rig.answer(&nonce);
    assert_eq!(rig.session.text_max_bytes(), 16 * 1024);
    assert_eq!(Rig::active().session.text_max_bytes(), 64 * 1024);
}

#[test]
fn waiting_for_a_slot_ends_after_five_minutes() {
    let mut rig = Rig::new();
    rig.register(&register());
    rig.commands();
    rig.pass_time(seconds(300));
    assert_eq!(
        closes(&rig.commands()),
        Some((1013, "too_many_pending".into()))
    );
}

#[test]
fn app_conflict_is_refused_by_name() {
    for (refusal, word) in [
        (
            SessionRefusal::AppBoundToOtherRepo,
            "app_bound_to_other_repo",
        ),
        (
            SessionRefusal::AppBoundToOtherNetwork,
            "app_bound_to_other_network",
        ),
        (SessionRefusal::Banned, "banned"),
    ] {
        let mut rig = Rig::new();
        rig.register(&register());
        rig.commands();
        rig.session
            .handle_challenge_answer(rig.now, ChallengeAnswer::Refused(refusal));
        let commands = rig.commands();
        assert_eq!(closes(&commands), Some((1008, word.to_owned())));
        assert_eq!(challenges(&commands), []);
    }
}

/// The seed's messages and nothing else: an agent as the prototype was, or one of 100 lines.
#[test]
fn sandbox_agent_without_h2_works_in_text() {
    let seed = Register {
        network: "sandbox-1".into(),
        tunnel_version: None,
        capabilities: Vec::new(),
        instance: None,
        max_inflight: None,
        ..register()
    };
    let prototype = Register {
        tunnel_version: Some("1".into()),
        ..seed.clone()
    };
    let without_h2 = Register {
        tunnel_version: Some("2".into()),
        capabilities: vec!["itls".into()],
        ..seed.clone()
    };
    for message in [seed, prototype, without_h2] {
        let mut rig = Rig::new();
        rig.register(&message);
        rig.grant();
        let commands = rig.commands();
        let request = only(challenges(&commands));
        assert_eq!(
            (&request.tunnel, request.binding.as_deref()),
            (&None, Some("none"))
        );
        assert!(!commands.contains(&Command::StartInnerTls));
        let nonce: Nonce = hex::decode(&request.nonce).unwrap().try_into().unwrap();
        assert_eq!(rig.session.binary(), BinaryGate::Closed);
        rig.answer(&nonce);
        let passed = Verdict::Pass(Box::new(result(rig.now)));
        rig.verdict(&nonce, passed);
        rig.admit();
        let commands = rig.commands();
        let credits = crate::legacy::CREDITS;
        assert!(commands.contains(&Command::OpenTraffic { credits }));
        assert_eq!(rig.session.text_max_bytes(), TEXT_LEGACY_MAX_BYTES);
        assert_eq!(
            rig.session.binary(),
            BinaryGate::Closed,
            "text only, for good"
        );
    }
}
