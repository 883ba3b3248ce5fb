//! Control messages: order, MAC, pings, the close.

use std::time::Duration;

use ee_protocol::control_mac::{ControlMac, Sender};
use ee_tunnel::agent::AgentEvent;
use ee_tunnel::control::ControlEvent;
use ee_tunnel::{CloseBy, Closed};

use crate::pair::{STATUS_OK, inner_tls, sockets};

#[tokio::test]
async fn both_ends_see_one_exporter_and_each_others_keys() {
    let (mut control, mut agent) = sockets().await;
    let bound = inner_tls(&mut control, &mut agent).await;
    assert_eq!(bound.control, bound.agent);
    assert_ne!(
        bound.control.agent_spki_sha256,
        bound.control.control_spki_sha256
    );
}

#[tokio::test]
async fn a_quote_relayed_through_another_tls_session_would_bind_another_exporter() {
    let (mut control, mut agent) = sockets().await;
    let first = inner_tls(&mut control, &mut agent).await;
    let (mut control, mut agent) = sockets().await;
    let second = inner_tls(&mut control, &mut agent).await;
    assert_ne!(first.control.exporter, second.control.exporter);
}

#[tokio::test]
async fn the_first_ok_and_all_after_it_are_sealed() {
    let (mut control, mut agent) = sockets().await;
    inner_tls(&mut control, &mut agent).await;
    control.send_text("{\"n\":1}".to_owned());
    control.attested(1);
    control.send_text(STATUS_OK.to_owned());
    let drive = tokio::spawn(async move {
        let event = control.next().await;
        (control, event)
    });
    assert_eq!(text_of(agent.next().await), ("{\"n\":1}".to_owned(), false));
    let (ok, authenticated) = text_of(agent.next().await);
    assert!(ok.contains("\"seq\":0") && authenticated, "{ok}");
    agent.attested();
    agent.send_text(r#"{"type":"health","status":"pass"}"#.to_owned());
    let drive_agent = tokio::spawn(async move { drop(agent.next().await) });
    let (_control, event) = drive.await.expect("no panic");
    let health = r#"{"type":"health","status":"pass","seq":0}"#.to_owned();
    assert_eq!(event, ControlEvent::Text(health));
    drive_agent.abort();
}

fn text_of(event: AgentEvent) -> (String, bool) {
    match event {
        AgentEvent::Text {
            text,
            authenticated,
        } => (text, authenticated),
        AgentEvent::InnerTls(_)
        | AgentEvent::Request(..)
        | AgentEvent::Violation(_)
        | AgentEvent::Closed(_) => panic!("not a text"),
    }
}

/// An agent's control messages after attestation, as somebody in the middle may change them.
fn sealed(texts: &[&str]) -> Vec<String> {
    let mut mac = ControlMac::new(&[7; 32], Sender::Agent);
    texts.iter().map(|text| mac.seal(text)).collect()
}

#[test]
fn an_altered_dropped_or_repeated_message_is_refused() {
    let texts = sealed(&[
        r#"{"type":"health","status":"pass"}"#,
        r#"{"type":"health"}"#,
    ]);
    let receiver = || ControlMac::new(&[7; 32], Sender::Agent);
    let altered = texts[0].replace("pass", "fail");
    receiver().open(&altered).expect_err("altered");
    receiver()
        .open(&texts[1])
        .expect_err("the first was dropped");
    let mut repeated = receiver();
    repeated.open(&texts[0]).expect("good");
    repeated.open(&texts[0]).expect_err("repeated");
}

#[tokio::test]
async fn a_silent_peer_is_dead_after_ping_and_grace() {
    let (mut control, agent) = sockets().await;
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    // The agent's end exists but nobody drives it: half open.
    let event = control.next().await;
    let lost = Closed {
        by: CloseBy::Lost,
        code: None,
        reason: "the peer fell silent".to_owned(),
    };
    assert_eq!(event, ControlEvent::Closed(lost));
    assert_eq!(started.elapsed().as_secs(), 45);
    drop(agent);
}

#[tokio::test]
async fn a_living_peer_is_kept() {
    let (mut control, mut agent) = sockets().await;
    tokio::time::pause();
    let idle = async { tokio::join!(control.next(), async { drop(agent.next().await) }) };
    tokio::time::timeout(Duration::from_secs(600), idle)
        .await
        .expect_err("nothing happens");
}

#[tokio::test]
async fn an_asked_ping_is_answered() {
    let (mut control, mut agent) = sockets().await;
    control.ping();
    let drive = tokio::spawn(async move { drop(agent.next().await) });
    assert_eq!(control.next().await, ControlEvent::Pong);
    drive.abort();
}

#[tokio::test]
async fn a_close_carries_the_last_text_its_code_and_its_reason() {
    let (mut control, mut agent) = sockets().await;
    control.send_text("{\"last\":true}".to_owned());
    control.close(1008, "replaced");
    let (control, agent) = tokio::join!(control.next(), async {
        let text = text_of(agent.next().await).0;
        let AgentEvent::Closed(closed) = agent.next().await else {
            panic!("not closed")
        };
        (text, closed)
    });
    let ControlEvent::Closed(by_us) = control else {
        panic!("{control:?}")
    };
    assert_eq!((by_us.by, by_us.code), (CloseBy::Us, Some(1008)));
    assert_eq!(agent.0, "{\"last\":true}");
    let expected = Closed {
        by: CloseBy::Peer,
        code: Some(1008),
        reason: "replaced".to_owned(),
    };
    assert_eq!(agent.1, expected);
}
