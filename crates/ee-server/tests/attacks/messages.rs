//! Control messages that no honest agent sends (TUNNEL 2.1): each is answered by name, and the
//! tunnel stays open where the table says so.

use ee_protocol::{
    names::NodeId,
    report_data::{node_proof, sha256},
};
use serde_json::{Value, json};

use crate::{
    peer::{Challenge, Peer, Prover, Registration, is_explained},
    world::World,
};

fn registration() -> Registration {
    Registration::new("talker", "talker")
}

/// Sends a text to `peer`, which must be told `reason` and stay open.
async fn told(peer: &mut Peer, text: &str, reason: &str) {
    peer.tunnel.send_text(text.to_owned());
    let status = peer.status().await;
    assert_eq!(
        (&status["state"], &status["reason"]),
        (&json!("invalid"), &json!(reason)),
        "{text}"
    );
    assert!(is_explained(&status), "{status}");
}

/// The tunnel is as good as new: it registers, proves itself and serves.
async fn still_works(world: World, peer: Peer) {
    let serving = peer
        .join(&registration(), &Prover::good())
        .await
        .serve("talker");
    assert_eq!(world.get("talker").await.body, "talker");
    drop(serving);
    world.stands().await;
}

#[tokio::test]
async fn garbage_json_is_answered() {
    let world = World::start().await;
    let mut peer = world.peer().await;
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let nested = format!("{{\"type\":\"register\",\"x\":{deep}}}");
    for text in [
        "",
        "garbage",
        "{",
        "{\"type\":",
        "\u{0}",
        "nul",
        nested.as_str(),
    ] {
        told(&mut peer, text, "invalid_json").await;
    }
    still_works(world, peer).await;
}

#[tokio::test]
async fn json_array_is_answered() {
    let world = World::start().await;
    let mut peer = world.peer().await;
    for text in [
        "[]",
        "[{\"type\":\"register\"}]",
        "7",
        "\"register\"",
        "null",
        "true",
    ] {
        told(&mut peer, text, "invalid_json").await;
    }
    still_works(world, peer).await;
}

#[tokio::test]
async fn unknown_messages_are_answered() {
    let world = World::start().await;
    let mut peer = world.peer().await;
    for text in [
        "{}",
        "{\"type\":\"reboot\"}",
        "{\"type\":7}",
        "{\"type\":\"attest_request\"}",
    ] {
        told(&mut peer, text, "unknown_message").await;
    }
    still_works(world, peer).await;
}

#[tokio::test]
async fn junk_before_register_is_answered() {
    let world = World::start().await;
    let mut peer = world.peer().await;
    for (text, reason) in [
        (
            "{\"type\":\"health\",\"status\":\"fail\"}",
            "not_registered",
        ),
        (
            "{\"type\":\"credits\",\"max_inflight\":9}",
            "not_registered",
        ),
        (
            "{\"type\":\"drain\",\"reason\":\"restart\"}",
            "not_registered",
        ),
        (
            "{\"type\":\"attest_response\",\"nonce\":\"00\"}",
            "unexpected_attestation",
        ),
    ] {
        told(&mut peer, text, reason).await;
    }
    still_works(world, peer).await;
}

#[tokio::test]
async fn malformed_register_is_answered_by_field() {
    let world = World::start().await;
    let mut peer = world.peer().await;
    for (field, value, reason) in [
        ("network", json!("prod-1"), "invalid_network"),
        ("network", json!(""), "invalid_network"),
        ("repo", json!(""), "missing_fields"),
        ("release_tag", Value::Null, "missing_fields"),
        ("app_name", json!(""), "missing_fields"),
        ("agent_id", Value::Null, "missing_fields"),
        ("repo", json!("no-slash"), "invalid_field:repo"),
        ("repo", json!("../../etc/passwd"), "invalid_field:repo"),
        ("repo", json!("org/.."), "invalid_field:repo"),
        ("release_tag", json!("a..b"), "invalid_field:release_tag"),
        ("app_name", json!("Upper"), "invalid_field:app_name"),
        ("app_name", json!("<script>"), "invalid_field:app_name"),
        ("app_name", json!("a.b"), "invalid_field:app_name"),
        ("agent_id", json!("a b"), "invalid_field:agent_id"),
        ("agent_id", json!("sys:root"), "invalid_field:agent_id"),
        ("agent_id", json!("line\r\nbreak"), "invalid_field:agent_id"),
        ("node_id", json!("sys:fees"), "invalid_field:node_id"),
        ("node_id", json!("x".repeat(129)), "invalid_field:node_id"),
        ("capabilities", json!("h2"), "invalid_field:capabilities"),
        ("max_inflight", json!(-1), "invalid_field:max_inflight"),
    ] {
        let mut message = registration().message();
        message[field] = value;
        told(&mut peer, &message.to_string(), reason).await;
    }
    still_works(world, peer).await;
}

/// The fields of the first `register` stand, whatever comes while its challenge is open.
#[tokio::test]
async fn second_register_cannot_switch_identity() {
    let world = World::start().await;
    let mut peer = world.peer().await;
    let mine = registration();
    let challenge = peer.challenge(&mine).await;
    let theirs = mine.with(|named| named.app = "stolen".to_owned());
    told(
        &mut peer,
        &theirs.message().to_string(),
        "already_registered",
    )
    .await;
    // A quote for the second identity answers nothing.
    let report_data = Prover::good().report_data(&challenge, &theirs);
    peer.send(&Prover::good().answer_with(&challenge, &report_data));
    peer.refused().await.says("binding_mismatch");
    assert_eq!(world.resolve("stolen").await.0, 404);

    let mut peer = world.peer().await;
    let challenge = peer.challenge(&mine).await;
    told(
        &mut peer,
        &theirs.message().to_string(),
        "already_registered",
    )
    .await;
    peer.send(&Prover::good().answer(&challenge, &mine));
    assert_eq!(peer.status().await["state"], "ok");
    peer.tunnel.attested();
    told(
        &mut peer,
        &theirs.message().to_string(),
        "already_registered",
    )
    .await;
    let serving = peer.serve("talker");
    assert_eq!(world.get("talker").await.body, "talker");
    assert_eq!(world.resolve("stolen").await.0, 404);
    drop(serving);
    world.stands().await;
}

#[tokio::test]
async fn wrong_nonce_ends_the_session() {
    let world = World::start().await;
    let other = "ab".repeat(32);
    for nonce in ["", "00", "zz", other.as_str()] {
        let registration = registration();
        let refused = world.peer().await.attempt(&registration, |challenge| {
            let mut answer = Prover::good().answer(challenge, &registration);
            answer["nonce"] = json!(nonce);
            answer
        });
        refused.await.says("nonce_mismatch");
    }
    world.stands().await;
}

/// Agents that cannot bind a quote to their channel are refused at once where it is demanded.
#[tokio::test]
async fn agents_that_offer_too_little_are_refused_at_once() {
    let world = World::start().await;
    let offers: [&[&str]; 3] = [&[], &["h2"], &["itls"]];
    for capabilities in offers {
        let mut peer = world.peer().await;
        let registration = registration().with(|named| {
            named.capabilities = capabilities.to_vec();
        });
        peer.send(&registration.message());
        peer.refused().await.says("binding_required");
    }
    world.stands().await;
}

/// The prototype's `register`, word for word: told what is missing, not left in silence.
#[tokio::test]
async fn seeds_register_alone_is_told_what_is_missing() {
    let world = World::start().await;
    let mut peer = world.peer().await;
    peer.tunnel.send_text(
        r#"{"type":"register","repo":"org/repo","release_tag":"v0.1.3","app_name":"myapp","network":"forge-1","agent_id":"uuid"}"#.to_owned(),
    );
    peer.refused().await.says("binding_required");
    world.stands().await;
}

/// An agent that reports an error gets one more challenge; the second error ends the session.
#[tokio::test]
async fn repeated_agent_errors_end_the_session() {
    let world = World::start().await;
    let mut peer = world.peer().await;
    let failed = |challenge: &Challenge| {
        let nonce = hex::encode(challenge.nonce);
        json!({ "type": "attest_response", "nonce": nonce, "error": "quote_failed" })
    };
    let first = peer.challenge(&registration()).await;
    peer.send(&failed(&first));
    let request = peer
        .hear()
        .await
        .expect("a second challenge after five seconds");
    let second = peer.taken(&request).await;
    assert_ne!(first.nonce, second.nonce);
    peer.send(&failed(&second));
    peer.refused().await.says("agent_error");
    world.stands().await;
}

/// A registered node id belongs to whoever holds its token.
#[tokio::test]
async fn registered_node_id_needs_its_proof() {
    let world = World::start().await;
    let token = "ee_node_test_0123456789";
    let registration = registration();
    let node = NodeId::parse(&registration.agent).expect("a node id");
    world
        .server
        .state
        .plane
        .set_node_keys(node, vec![sha256(token.as_bytes())])
        .await;
    let without = world
        .peer()
        .await
        .prove(&registration, &Prover::good())
        .await;
    without.says("node_token_required");
    for (word, key) in [(Some("node_token_invalid"), "another-token"), (None, token)] {
        let mut peer = world.peer().await;
        let challenge = peer.challenge(&registration).await;
        let report_data = Prover::good().report_data(&challenge, &registration);
        let proof = node_proof(key, &challenge.nonce, &report_data);
        let mut answer = Prover::good().answer(&challenge, &registration);
        answer["node_proof"] = json!(hex::encode(proof));
        peer.send(&answer);
        match word {
            Some(word) => peer.refused().await.says(word),
            None => assert_eq!(peer.status().await["state"], "ok"),
        }
    }
    world.stands().await;
}
