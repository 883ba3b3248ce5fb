//! After attested: re-attestation, health, credits, drains, the end.

use super::*;

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
        assert!(
            waited <= seconds(3_600) && waited >= seconds(3_240),
            "{waited:?}"
        );
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].reason, "periodic");
        let nonce: Nonce = hex::decode(&requests[0].nonce).unwrap().try_into().unwrap();
        rig.session.handle_challenge_sent(rig.now);
        rig.answer(&nonce);
        rig.verdict(&nonce, Verdict::Pass(Box::new(result(rig.now))));
        let commands = rig.commands();
        assert!(
            events(&commands)
                .iter()
                .any(|event| matches!(event, Event::Reattested(_)))
        );
        assert_eq!(reasons(&commands), ["attested"]);
    }
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
    assert!(matches!(
        events(&commands).as_slice(),
        [Event::Failed(_), Event::Closed]
    ));
    assert_eq!(closes(&commands), Some((1008, "tcb_revoked".into())));
}

#[test]
fn missed_reattestation_is_a_timeout() {
    let (mut rig, _) = reattesting();
    rig.pass_time(seconds(30));
    let commands = rig.commands();
    assert!(matches!(
        events(&commands).as_slice(),
        [Event::Failed(_), Event::Closed]
    ));
    assert_eq!(
        closes(&commands),
        Some((1008, "attestation_timeout".into()))
    );
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
    for (status, word) in [
        (None, HealthWord::Pass),
        (Some("pass"), HealthWord::Pass),
        (Some("ok"), HealthWord::Fail),
    ] {
        let status = status.map(str::to_owned);
        rig.says(AgentMessage::Health(Health {
            status,
            ..Health::default()
        }));
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
    rig.says(AgentMessage::Credits(Credits {
        max_inflight: 5_000,
    }));
    assert_eq!(
        rig.commands(),
        [
            Command::SetCredits(1_024),
            Command::Emit(Event::Credits(1_024))
        ]
    );
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
    assert_eq!(
        rig.session.stage(),
        Stage::Active,
        "the warning window serves"
    );
}

#[test]
fn server_drain_asks_the_served_and_closes_strangers() {
    let mut rig = Rig::active();
    rig.session.handle_order(rig.now, Order::Drain);
    let commands = rig.commands();
    assert_eq!(
        (drained(&commands), closes(&commands)),
        (vec!["restart".to_owned()], None)
    );
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
fn disconnect_of_an_attested_session_is_told_once() {
    let mut rig = Rig::active();
    rig.session.handle_disconnect(rig.now);
    rig.session.handle_disconnect(rig.now);
    assert_eq!(rig.commands(), [Command::Emit(Event::Closed)]);
}
