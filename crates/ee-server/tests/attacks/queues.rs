//! Every queue on a request's way is bounded; whoever finds one full is told when to come back.

use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use crate::{
    peer::{Prover, Registration},
    world::{Answer, PATIENCE, World},
};

const APP: &str = "busy";

/// Requests of the app that are under way.
fn under_way(world: &World) -> u32 {
    let routes = world.server.state.plane.routes();
    let apps = routes.apps();
    let slots = apps.iter().flat_map(|app| app.pool.slots());
    slots.map(|slot| slot.cell().inflight()).sum()
}

async fn comes(mut condition: impl FnMut() -> bool) {
    let coming = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, coming).await.expect("in time");
}

/// Clients whose requests are not answered.
async fn crowd(world: &World, count: u32) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let address = world.server.proxy_addr;
        let mut client = TcpStream::connect(address).await.expect("connected");
        let head = format!("GET /never HTTP/1.1\r\nHost: {APP}.localhost\r\n\r\n");
        client.write_all(head.as_bytes()).await.expect("sent");
        clients.push(client);
    }
    comes(|| under_way(world) == count).await;
    clients
}

#[track_caller]
fn is_told_to_return(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.json()["code"], "over_capacity", "{answer:?}");
    assert_eq!(answer.fields("retry-after"), ["1"], "{answer:?}");
}

/// An agent serves as many as it has granted; the next one waits a moment and is told so.
#[tokio::test]
async fn request_above_an_agents_credits_is_told_to_return() {
    let world = World::start().await;
    let registration = Registration::new(APP, "honest").with(|named| named.max_inflight = Some(2));
    let peer = world.peer().await;
    let serving = peer.join(&registration, &Prover::good()).await.serve(APP);
    let crowd = crowd(&world, 2).await;
    is_told_to_return(&world.get(APP).await);
    drop(crowd);
    comes(|| under_way(&world) == 0).await;
    assert_eq!(world.get(APP).await.body, APP);
    drop(serving);
    world.stands().await;
}

/// One request is with an agent in text mode and 64 wait behind it.
#[tokio::test]
async fn request_above_a_text_agents_queue_is_told_to_return() {
    let world = World::start().await;
    let registration = Registration::new(APP, "honest").with(|named| {
        named.network = "sandbox-1".to_owned();
        named.capabilities = Vec::new();
    });
    let peer = world.peer().await;
    // This peer knows HTTP/2 only: requests in text stay unanswered.
    let serving = peer.join(&registration, &Prover::good()).await.serve(APP);
    let crowd = crowd(&world, 65).await;
    is_told_to_return(&world.get(APP).await);
    drop(crowd);
    comes(|| under_way(&world) == 0).await;
    drop(serving);
    world.stands().await;
}
