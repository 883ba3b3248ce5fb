//! Several tunnels of one agent.

use std::time::Duration;

use bytes::Bytes;
use ee_protocol::tunnel::{AgentMessage, ControlMessage, Drain};
use ee_tunnel::TunnelError;
use http::Request;
use http_body_util::Full;

use crate::{
    harness::{FakeControl, PATIENCE, RunningAgent, Served, start_agent},
    start_backend, url,
};

/// An agent with this many tunnels and this capacity, all tunnels up, oldest first.
async fn fleet(
    control: &FakeControl,
    tunnels: usize,
    capacity: u32,
) -> (RunningAgent, Vec<Served>) {
    let (backend, _) = start_backend().await;
    let extra = [
        ("EE_BACKEND_URL", url(backend)),
        ("EE_TUNNELS", tunnels.to_string()),
        ("EE_MAX_INFLIGHT", capacity.to_string()),
    ];
    let extra: Vec<_> = extra
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let agent = start_agent(control.addr(), &extra);
    let mut served = Vec::new();
    let mut instances = std::collections::BTreeSet::new();
    for _ in 0..tunnels {
        let (register, tunnel) = control.attest_registered().await;
        let each = capacity / u32::try_from(tunnels).unwrap();
        assert_eq!(register.max_inflight, Some(each));
        instances.insert((register.agent_id, register.instance));
        served.push(tunnel);
    }
    assert_eq!(instances.len(), 1, "they are known as one node");
    (agent, served)
}

/// Waits until the agent grants a tunnel this many requests.
async fn granted(tunnel: &mut Served, wanted: u32) {
    loop {
        if let AgentMessage::Credits(credits) = tunnel.message().await
            && credits.max_inflight == wanted
        {
            return;
        }
    }
}

#[tokio::test]
async fn tunnels_share_the_capacity_and_lose_it_alone() {
    let control = FakeControl::start().await;
    let (_agent, mut served) = fleet(&control, 3, 12).await;
    granted(&mut served[0], 12).await;
    granted(&mut served[0], 6).await;
    granted(&mut served[0], 4).await;
    for tunnel in &served {
        assert_eq!(tunnel.get("/", &[]).await.0, 200);
    }
    let lost = served.remove(1);
    let lose = async {
        lost.task.abort();
        drop(lost);
        control.attest().await
    };
    let (first, second, back) = tokio::join!(
        served[0].get("/slow", &[]),
        served[1].get("/slow", &[]),
        lose
    );
    assert_eq!((first.0, second.0), (200, 200), "no other tunnel notices");
    assert_eq!(back.get("/", &[]).await.0, 200);
    granted(&mut served[0], 6).await;
    granted(&mut served[0], 4).await;
}

#[tokio::test]
async fn the_capacity_is_of_all_tunnels_together() {
    let control = FakeControl::start().await;
    let (_agent, served) = fleet(&control, 2, 2).await;
    let slow = |tunnel: usize| {
        let request = Request::get("http://hello.localhost/slow").header("ee-app", "hello");
        let request = request.body(Full::new(Bytes::new())).unwrap();
        served[tunnel].handle.request(request)
    };
    let (one, two, three) = tokio::join!(slow(0), slow(1), slow(0));
    let answers = [one, two, three];
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
    let refused = answers.into_iter().find_map(Result::err).unwrap();
    assert!(matches!(refused, TunnelError::Refused), "{refused}");
    assert_eq!(served[1].get("/", &[]).await.0, 200);
}

#[tokio::test]
async fn without_inner_tls_a_second_tunnel_would_replace_the_first() {
    let (backend, _) = start_backend().await;
    let control = FakeControl::start().await;
    let extra = [
        ("EE_BACKEND_URL", &*url(backend)),
        ("EE_TUNNELS", "4"),
        ("EE_NETWORK", "sandbox-1"),
    ];
    let _agent = start_agent(control.addr(), &extra);
    let served = control.attest_plain().await;
    assert_eq!(served.get("/", &[]).await.0, 200);
    let second = tokio::time::timeout(Duration::from_millis(1_500), control.accept());
    assert!(second.await.is_err(), "there is no second one");
}

#[tokio::test]
async fn with_four_the_old_one_goes_first_while_the_others_serve() {
    let control = FakeControl::start().await;
    let (_agent, served) = fleet(&control, 4, 1_024).await;
    let drain = Drain {
        reason: "registration".to_owned(),
        reconnect_after_ms: Some([0, 0]),
    };
    for tunnel in &served {
        tunnel
            .say
            .send(ControlMessage::Drain(drain.clone()))
            .unwrap();
    }
    let mut fresh = Vec::new();
    for _ in 0..served.len() {
        let tunnel = control.accept().await;
        let open = served
            .iter()
            .filter(|old| old.closed.lock().unwrap().is_none());
        assert!(open.count() + fresh.len() >= 3, "one at a time");
        fresh.push(control.finish(tunnel).await.1);
    }
    for old in served {
        tokio::time::timeout(PATIENCE, old.task)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(old.closed.lock().unwrap().as_deref(), Some("replaced"));
    }
    for tunnel in &fresh {
        assert_eq!(tunnel.get("/", &[]).await.0, 200);
    }
}
