//! Leaving without a failed request.

use std::time::Duration;

use bytes::Bytes;
use ee_tunnel::TunnelError;
use ee_tunnel::agent::AgentEvent;
use ee_tunnel::control::ControlEvent;
use http::Response;
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::oneshot;

use crate::pair::{STATUS_OK, request, sockets};

#[tokio::test]
async fn a_draining_agent_finishes_what_it_has_and_takes_no_more() {
    let (mut control, mut agent) = sockets().await;
    control.offer_plain();
    agent.expect_plain();
    control.attested(8);
    control.send_text(STATUS_OK.to_owned());
    let handle = control.handle();
    let (drain, mut drained) = oneshot::channel::<()>();
    let (finish, wait) = oneshot::channel::<()>();
    let (mut wait, mut leaving) = (Some(wait), false);
    let serving = tokio::spawn(async move {
        loop {
            tokio::select! {
                event = agent.next() => match event {
                    AgentEvent::Text { .. } => agent.attested(),
                    AgentEvent::Request(_, responder) => {
                        let wait = wait.take().expect("one request is served");
                        agent.serve(Box::pin(responder.serve(async move {
                            wait.await.expect("the test says when");
                            Response::new(Full::new(Bytes::from_static(b"done")))
                        })));
                    }
                    AgentEvent::InnerTls(_)
                    | AgentEvent::Violation(_)
                    | AgentEvent::Closed(_) => return,
                },
                _ = &mut drained, if !leaving => { leaving = true; agent.drain(); },
            }
        }
    });
    let (tell, mut events) = tokio::sync::mpsc::unbounded_channel();
    let driving = tokio::spawn(async move {
        loop {
            let event = control.next().await;
            if tell.send(event).is_err() {
                return;
            }
        }
    });
    let first = handle.clone();
    let first = tokio::spawn(async move {
        first
            .request(request("GET", "/", Empty::<Bytes>::new()))
            .await
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    drain.send(()).expect("the agent runs");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let late = handle
        .request(request("POST", "/", Empty::<Bytes>::new()))
        .await;
    assert!(late.map(drop).expect_err("draining").retry_is_safe());
    finish.send(()).expect("the handler waits");
    let answer = first.await.expect("no panic").expect("it was there first");
    assert_eq!(
        answer
            .into_body()
            .collect()
            .await
            .expect("whole")
            .to_bytes(),
        "done"
    );
    assert_eq!(events.recv().await, Some(ControlEvent::Drained));
    driving.abort();
    serving.abort();
}

#[tokio::test]
async fn a_draining_control_plane_waits_for_its_requests() {
    let (mut control, agent) = sockets().await;
    control.attested(8);
    let handle = control.handle();
    control.drain();
    assert_eq!(control.next().await, ControlEvent::Drained);
    let late = handle
        .request(request("GET", "/", Empty::<Bytes>::new()))
        .await;
    assert!(matches!(late.map(drop), Err(TunnelError::NotOpen)));
    drop(agent);
}

#[tokio::test]
async fn a_refused_request_may_be_tried_elsewhere() {
    let (mut control, mut agent) = sockets().await;
    control.offer_plain();
    agent.expect_plain();
    control.attested(8);
    control.send_text(STATUS_OK.to_owned());
    let handle = control.handle();
    let driving = tokio::spawn(async move { while control.next().await != ControlEvent::Pong {} });
    let refusing = tokio::spawn(async move {
        loop {
            match agent.next().await {
                AgentEvent::Text { .. } => agent.attested(),
                AgentEvent::Request(_, responder) => responder.refuse(),
                AgentEvent::InnerTls(_) | AgentEvent::Violation(_) | AgentEvent::Closed(_) => {
                    return;
                }
            }
        }
    });
    let refused = handle
        .request(request("POST", "/", Empty::<Bytes>::new()))
        .await;
    let error = refused.map(drop).expect_err("refused");
    assert!(
        matches!(error, TunnelError::Refused) && error.retry_is_safe(),
        "{error}"
    );
    driving.abort();
    refusing.abort();
}
