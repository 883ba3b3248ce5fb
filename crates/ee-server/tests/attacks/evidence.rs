//! Quotes that are genuine and prove something else, and quotes that are damaged.

use base64::{Engine, engine::general_purpose::STANDARD};
use ee_protocol::report_data::ReportData;
use ee_testbed::DemoImage;
use serde_json::{Value, json};

use crate::{
    peer::{A_WHILE, Challenge, Prover, Refused, Registration, is_explained},
    world::{World, image},
};

const APP: &str = "target";

type ChangeProver = fn(&mut Prover);
type Damage = fn(&mut Vec<u8>);

fn registration() -> Registration {
    Registration::new(APP, "attacker")
}

/// One attempt whose evidence is honest but for what `twist` does to challenge and registration
/// before the quote is made.
async fn twisted(world: &World, twist: impl FnOnce(&mut Challenge, &mut Registration)) -> Refused {
    let registration = registration();
    let answer = |challenge: &Challenge| {
        let (mut other, mut named) = (challenge.clone(), registration.clone());
        twist(&mut other, &mut named);
        let report_data = Prover::good().report_data(&other, &named);
        Prover::good().answer_with(challenge, &report_data)
    };
    world.peer().await.attempt(&registration, answer).await
}

/// The honest answer with some of its members replaced.
async fn edited(world: &World, edit: impl FnOnce(&mut Value)) -> Refused {
    let registration = registration();
    let answer = |challenge: &Challenge| {
        let mut answer = Prover::good().answer(challenge, &registration);
        edit(&mut answer);
        answer
    };
    world.peer().await.attempt(&registration, answer).await
}

/// Nothing came of any attempt: the app does not exist.
async fn nothing_came_of_it(world: World) {
    assert_eq!(world.resolve(APP).await.0, 404);
    world.stands().await;
}

#[tokio::test]
async fn quote_without_our_nonce_is_refused() {
    let world = World::start().await;
    let refused = twisted(&world, |challenge, _| challenge.nonce = [7; 32]).await;
    refused.says("binding_mismatch");
    nothing_came_of_it(world).await;
}

#[tokio::test]
async fn quote_for_another_app_agent_node_network_or_release_is_refused() {
    let world = World::start().await;
    let changes: [fn(&mut Registration); 6] = [
        |named| named.app = "other".to_owned(),
        |named| named.agent = "other".to_owned(),
        |named| named.node = Some("other".to_owned()),
        |named| named.network = "sandbox-1".to_owned(),
        |named| named.tag = "v0.2.0".to_owned(),
        |named| named.repo = "mallory/app".to_owned(),
    ];
    for change in changes {
        let refused = twisted(&world, |_, named| change(named)).await;
        refused.says("binding_mismatch");
    }
    nothing_came_of_it(world).await;
}

#[tokio::test]
async fn quote_for_another_session_key_is_refused() {
    let world = World::start().await;
    let keys: [fn(&mut ee_tunnel::InnerTlsInfo); 3] = [
        |channel| channel.agent_spki_sha256 = [9; 32],
        |channel| channel.control_spki_sha256 = [9; 32],
        |channel| {
            std::mem::swap(
                &mut channel.agent_spki_sha256,
                &mut channel.control_spki_sha256,
            );
        },
    ];
    for change in keys {
        let refused = twisted(&world, |challenge, _| {
            change(challenge.channel.as_mut().expect("a channel"))
        })
        .await;
        refused.says("binding_mismatch");
    }
    nothing_came_of_it(world).await;
}

#[tokio::test]
async fn quote_from_another_session_is_refused() {
    let world = World::start().await;
    let mut first = world.peer().await;
    let elsewhere = first.challenge(&registration()).await.channel;
    let refused = twisted(&world, |challenge, _| challenge.channel = elsewhere).await;
    refused.says("binding_mismatch");
    nothing_came_of_it(world).await;
}

/// The whole accepted answer of one connection on a second one: word for word, then with the new
/// nonce written over the old.
#[tokio::test]
async fn replayed_quote_is_refused() {
    let world = World::start().await;
    let honest = Registration::new("honest", "honest");
    let mut peer = world.peer().await;
    let challenge = peer.challenge(&honest).await;
    let recorded = Prover::good().answer(&challenge, &honest);
    peer.send(&recorded);
    assert_eq!(peer.status().await["state"], "ok");
    peer.tunnel.attested();
    let holder = peer.serve("honest");

    let copy = world
        .peer()
        .await
        .attempt(&honest, |_| recorded.clone())
        .await;
    copy.says("nonce_mismatch");
    let renamed = world.peer().await.attempt(&honest, |challenge| {
        let mut answer = recorded.clone();
        answer["nonce"] = json!(hex::encode(challenge.nonce));
        answer
    });
    renamed.await.says("binding_mismatch");
    assert_eq!(world.get("honest").await.body, "honest");
    assert!(holder.is_open());
    world.stands().await;
}

/// Sent twice on its own connection, an answer counts once.
#[tokio::test]
async fn answer_sent_twice_counts_once() {
    let world = World::start().await;
    let registration = registration();
    let mut peer = world.peer().await;
    let challenge = peer.challenge(&registration).await;
    let answer = Prover::rogue().answer(&challenge, &registration);
    peer.send(&answer);
    peer.send(&answer);
    let first = peer.status().await;
    let second = peer.status().await;
    let reasons = [&first["reason"], &second["reason"]];
    // The second is refused while the first is being judged.
    assert!(
        reasons.contains(&&json!("unexpected_attestation")),
        "{reasons:?}"
    );
    assert!(
        reasons.contains(&&json!("measurement_mismatch:rtmr2")),
        "{reasons:?}"
    );
    assert_eq!(peer.hear().await.expect_err("closed").code, Some(1008));
    nothing_came_of_it(world).await;
}

/// A quote that binds nothing, or only the nonce, is too little for forge-1.
#[tokio::test]
async fn quote_that_binds_no_channel_is_refused_on_forge_1() {
    let world = World::start().await;
    let registration = registration();
    let unbound = world.peer().await.attempt(&registration, |challenge| {
        let report_data = ReportData::new(&Prover::good().claims.digest(), &[0; 32]);
        Prover::good().answer_with(challenge, &report_data)
    });
    unbound.await.says("binding_required");
    let by_nonce = twisted(&world, |challenge, _| challenge.channel = None).await;
    assert!(
        ["binding_required", "binding_mismatch"].contains(&by_nonce.closed.reason.as_str()),
        "{by_nonce:?}"
    );
    nothing_came_of_it(world).await;
}

#[tokio::test]
async fn claims_alone_never_pass() {
    let world = World::start().await;
    let refused = edited(&world, |answer| {
        answer.as_object_mut().expect("an object").remove("quote");
    });
    refused.await.says("missing_quote_or_measurements");
    let empty = edited(&world, |answer| answer["quote"] = json!(""));
    empty.await.says("missing_quote_or_measurements");
    nothing_came_of_it(world).await;
}

#[tokio::test]
async fn missing_report_data_is_refused() {
    let world = World::start().await;
    let refused = edited(&world, |answer| {
        answer
            .as_object_mut()
            .expect("an object")
            .remove("report_data");
    });
    let reason = refused.await.closed.reason;
    assert!(
        ["report_data_mismatch", "evidence_malformed"].contains(&reason.as_str()),
        "{reason}"
    );
    nothing_came_of_it(world).await;
}

/// What the message says is not what was signed.
#[tokio::test]
async fn claims_that_differ_from_the_quote_are_refused() {
    let world = World::start().await;
    let words = edited(&world, |answer| {
        answer["report_data"] = json!("ab".repeat(64))
    });
    words.await.says("report_data_mismatch");
    let other = json!("0".repeat(64));
    let claims = edited(&world, |answer| {
        answer["measurements"]["agent_py_sha256"] = other
    });
    claims.await.says("workload_digest_mismatch");
    // Claims and digest agree with each other and with nothing that was released.
    let prover = Prover::good().with(|prover| prover.claims.agent_py_sha256 = "0".repeat(64));
    let refused = world.peer().await.prove(&registration(), &prover).await;
    refused.says("measurement_mismatch:agent_py_sha256");
    assert!(
        refused.status["detail"][0]["expected"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    nothing_came_of_it(world).await;
}

/// The claims are the release's, the machine runs something else.
#[tokio::test]
async fn registers_that_differ_from_the_release_are_refused() {
    let world = World::start().await;
    let changes: [(&str, ChangeProver); 3] = [
        ("mrtd", |prover| prover.td.mrtd[0] ^= 1),
        ("rtmr1", |prover| prover.td.rtmr[1][47] ^= 1),
        ("mr_config_id", |prover| prover.td.mr_config_id[5] = 1),
    ];
    for (register, change) in changes {
        let prover = Prover::good()
            .with(|prover| prover.event_log = None)
            .with(change);
        let refused = world.peer().await.prove(&registration(), &prover).await;
        refused.says(&format!("measurement_mismatch:{register}"));
    }
    let prover = Prover::good().with(|prover| prover.td.rtmr[3][0] ^= 1);
    let refused = world.peer().await.prove(&registration(), &prover).await;
    refused.says("event_log_mismatch");
    nothing_came_of_it(world).await;
}

#[tokio::test]
async fn debug_td_is_refused() {
    let world = World::start().await;
    let prover = Prover::good().with(|prover| prover.td = image().td().with_attribute_bit(0));
    for network in ["forge-1", "sandbox-1"] {
        let registration = registration().with(|named| named.network = network.to_owned());
        world
            .peer()
            .await
            .prove(&registration, &prover)
            .await
            .says("td_debug");
    }
    nothing_came_of_it(world).await;
}

/// A release whose registers are pinned but which is not sealed.
#[tokio::test]
async fn unsealed_td_is_refused_on_forge_1_and_taken_on_sandbox_1() {
    let world = World::start().await;
    let image = DemoImage::new(77);
    let prover = Prover::of(&image).with(|prover| prover.claims.sealed = false);
    let mut allowlist = image.allowlist();
    allowlist["sealed"] = json!(false);
    allowlist["measurements"]["sealed"] = json!(false);
    allowlist["report_data"] = json!(hex::encode(prover.claims.digest()) + &"0".repeat(64));
    world.publish("org/unsealed", image.tag(), &allowlist.to_string());
    let forge = registration().with(|named| named.repo = "org/unsealed".to_owned());
    let refused = world.peer().await.prove(&forge, &prover).await;
    refused.says("sealed_required");
    let sandbox = forge.with(|named| named.network = "sandbox-1".to_owned());
    let serving = world
        .peer()
        .await
        .join(&sandbox, &prover)
        .await
        .serve("unsealed");
    assert_eq!(world.get(APP).await.body, "unsealed");
    assert_eq!(world.resolve(APP).await.1["sealed"], false);
    drop(serving);
    world.stands().await;
}

/// A release that pins no register can say `sealed` as often as it likes.
#[tokio::test]
async fn sealed_variable_seals_nothing() {
    let world = World::start().await;
    let image = DemoImage::new(78);
    world.publish(
        "org/claimed",
        image.tag(),
        &image.allowlist_1_0().to_string(),
    );
    let forge = registration().with(|named| named.repo = "org/claimed".to_owned());
    let refused = world.peer().await.prove(&forge, &Prover::of(&image)).await;
    let reason = refused.closed.reason.as_str();
    assert!(
        ["sealed_required", "sealed_claim_mismatch"].contains(&reason),
        "{refused:?}"
    );
    assert!(is_explained(&refused.status), "{refused:?}");
    nothing_came_of_it(world).await;
}

/// Quotes cut, blown up and flipped: each is refused by name and none is believed.
#[tokio::test]
async fn damaged_quotes_are_refused_by_name() {
    let world = World::start().await;
    let registration = registration();
    let damages: [(&[&str], Damage); 8] = [
        (&["quote_malformed"], |quote| quote.truncate(47)),
        (&["quote_malformed"], |quote| quote.truncate(635)),
        (&["quote_malformed"], |quote| {
            quote.truncate(quote.len() - 1)
        }),
        (&["quote_trailing_data"], |quote| quote.push(1)),
        (&["evidence_too_large"], |quote| {
            quote.resize(160 * 1024 + 1, 0)
        }),
        (&["quote_unsupported"], |quote| quote[0] ^= 0xff),
        // A bit of the signed body, and one of the signature.
        (&["quote_signature_invalid"], |quote| quote[60] ^= 1),
        (&["quote_signature_invalid"], |quote| quote[640] ^= 1),
    ];
    for (expected, damage) in damages {
        let refused = world.peer().await.attempt(&registration, |challenge| {
            let mut answer = Prover::good().answer(challenge, &registration);
            let text = answer["quote"].as_str().expect("text");
            let mut quote = STANDARD.decode(text).expect("base64");
            damage(&mut quote);
            answer["quote"] = json!(STANDARD.encode(quote));
            answer
        });
        let refused = refused.await;
        let reason = refused.closed.reason.clone();
        assert!(
            expected.contains(&reason.as_str()),
            "{expected:?}: {refused:?}"
        );
        refused.says(&reason);
    }
    nothing_came_of_it(world).await;
}

#[tokio::test]
async fn evidence_of_the_wrong_kind_is_refused_by_name() {
    let world = World::start().await;
    let edits: [fn(&mut Value); 6] = [
        |answer| answer["quote"] = json!("not base64!"),
        |answer| answer["quote"] = json!(7),
        |answer| answer["measurements"] = json!([1, 2]),
        |answer| answer["measurements"]["vm_image_id"] = json!("x".repeat(513)),
        |answer| answer["report_data"] = json!("zz"),
        |answer| answer["event_log"] = json!("a log"),
    ];
    for edit in edits {
        let registration = registration();
        let mut peer = world.peer().await;
        let challenge = peer.challenge(&registration).await;
        let mut answer = Prover::good().answer(&challenge, &registration);
        edit(&mut answer);
        peer.send(&answer);
        let status = peer.status().await;
        assert_eq!(status["state"], "invalid", "{status}");
        assert!(is_explained(&status), "{status}");
        let reason = status["reason"].as_str().unwrap_or_default();
        assert_ne!(reason, "", "{status}");
    }
    nothing_came_of_it(world).await;
}

/// The quote comes after the deadline, or never.
#[tokio::test]
async fn late_quote_is_refused() {
    let world = World::with(&[("EE_ATTEST_DEADLINE_SEC", "1")]).await;
    let mut peer = world.peer().await;
    peer.challenge(&registration()).await;
    peer.refused().await.says("attestation_timeout");
    nothing_came_of_it(world).await;
}

#[tokio::test]
async fn failed_attestation_touches_no_app() {
    let world = World::start().await;
    let honest = Registration::new(APP, "honest");
    let serving = world
        .peer()
        .await
        .join(&honest, &Prover::good())
        .await
        .serve("honest");
    let before = world.resolve(APP).await;
    for registration in [registration(), honest.clone()] {
        let refused = world
            .peer()
            .await
            .prove(&registration, &Prover::rogue())
            .await;
        refused.says("measurement_mismatch:rtmr2");
    }
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(
        world.resolve(APP).await,
        before,
        "nothing about the app has changed"
    );
    assert_eq!(world.get(APP).await.body, "honest");
    assert!(serving.is_open());
    world.stands().await;
}

/// What an attempt leaves behind is an explanation for the operator.
#[tokio::test]
async fn refused_evidence_is_explained_to_the_operator() {
    let world = World::start().await;
    let refused = world
        .peer()
        .await
        .prove(&registration(), &Prover::rogue())
        .await;
    refused.says("measurement_mismatch:rtmr2");
    let explained = world
        .admin(&format!("/v1/apps/{APP}/explain?agent=attacker"))
        .await;
    let refused = &explained["refused"][0];
    assert_eq!(
        refused["reason"], "measurement_mismatch:rtmr2",
        "{explained}"
    );
    assert!(
        refused["refusals"][0]["hint"]
            .as_str()
            .is_some_and(|hint| !hint.is_empty())
    );
    nothing_came_of_it(world).await;
}
