//! Challenges, answers and verdicts before a session is attested.

use super::*;

#[test]
fn deadlines_apply_before_the_input() {
    let mut rig = Rig::new();
    rig.now = rig.now.after(seconds(10));
    rig.register(&register());
    let commands = rig.commands();
    assert_eq!(reasons(&commands), ["register_timeout"]);
    assert!(
        !commands
            .iter()
            .any(|c| matches!(c, Command::AskChallenge(_)))
    );

    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.now = rig.now.after(seconds(30));
    rig.answer(&nonce);
    assert_eq!(
        closes(&rig.commands()),
        Some((1008, "attestation_timeout".into()))
    );
}

#[test]
fn deadline_counts_from_when_the_challenge_was_sent() {
    let mut rig = Rig::new();
    rig.register(&register());
    rig.grant();
    let nonce = rig.nonce();
    rig.pass_time(seconds(20));
    rig.session.handle_challenge_sent(rig.now);
    rig.session
        .handle_inner_tls(rig.now, InnerTlsOutcome::Established(channel()));
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
    assert_eq!(
        closes(&rig.commands()),
        Some((1008, "inner_tls_failed".into()))
    );
}

#[test]
fn inner_tls_is_refused_late_failed_zero_or_under_another_key() {
    let mut rig = Rig::new();
    rig.register(&register());
    rig.grant();
    rig.session.handle_challenge_sent(rig.now);
    rig.pass_time(seconds(10));
    assert_eq!(
        closes(&rig.commands()),
        Some((1008, "inner_tls_failed".into()))
    );
    let zero = Channel {
        exporter: [0; 32],
        ..channel()
    };
    let foreign = Channel {
        control_spki: [1; 32],
        ..channel()
    };
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
        assert_eq!(
            closes(&rig.commands()),
            Some((1008, "inner_tls_failed".into()))
        );
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
    assert_eq!(
        rig.commands(),
        [],
        "no verdict counts while the challenge is open"
    );
    assert_eq!(rig.session.stage(), Stage::Attesting);
}

#[test]
fn stale_verdict_cannot_stand_for_the_evidence_under_appraisal() {
    let mut rig = Rig::new();
    let first = rig.challenged();
    rig.answer(&first);
    rig.verdict(&first, indeterminate());
    rig.commands();
    rig.pass_time(seconds(1));
    let second = rig.nonce();
    rig.answer(&second);
    rig.commands();
    rig.verdict(&first, Verdict::Pass(Box::new(result(rig.now))));
    assert_eq!(rig.commands(), []);
    rig.verdict(&second, Verdict::Pass(Box::new(result(rig.now))));
    assert!(matches!(
        events(&rig.commands()).as_slice(),
        [Event::Attested(_)]
    ));
}

#[test]
fn refused_evidence_closes_with_its_code_and_touches_nothing_else() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.answer(&nonce);
    rig.commands();
    rig.verdict(
        &nonce,
        Verdict::Fail(Failure::new(AttestationCode::RegisterMismatch).about("rtmr2")),
    );
    let commands = rig.commands();
    assert_eq!(
        closes(&commands),
        Some((1008, "measurement_mismatch:rtmr2".into()))
    );
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
fn long_close_reasons_fit_a_close_frame() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    rig.answer(&nonce);
    rig.verdict(
        &nonce,
        Verdict::Fail(Failure::new(AttestationCode::ClaimMismatch).about("é".repeat(200))),
    );
    let (code, reason) = closes(&rig.commands()).expect("closed");
    assert!(code == 1008 && reason.len() <= 123, "{}", reason.len());
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
fn empty_response_still_answers_the_challenge_it_names() {
    let mut rig = Rig::new();
    let nonce = rig.challenged();
    let response = AttestResponse {
        nonce: hex::encode(nonce),
        ..AttestResponse::default()
    };
    rig.says(AgentMessage::AttestResponse(Box::new(response)));
    assert!(matches!(rig.commands().as_slice(), [Command::Verify(_)]));
}
