//! Picking among tunnels: credits, fairness, closing gates.

use std::sync::Arc;

use ee_protocol::{
    money::{MicroUsd, Price},
    names::{AgentId, AppName, Network, NodeId, ReleaseTag},
    time::Timestamp,
};
use proptest::prelude::*;

use super::*;
use crate::{
    attestation::BindingStrength,
    books::funding::StakeStanding,
    eligibility::assess,
    registry::{AttestationState, Node, Passed, Presence},
    session::{
        HealthWord,
        rig::{policy, seconds, start},
    },
};

fn node(id: &str) -> Node {
    let passed = Passed {
        at: start(),
        sealed: true,
        binding: BindingStrength::Channel,
        result: None,
    };
    Node {
        id: NodeId::parse(id).unwrap(),
        app: AppName::parse("myapp").unwrap(),
        agent_id: AgentId::parse(id).unwrap(),
        release_tag: ReleaseTag::parse("v1").unwrap(),
        network: Network::Forge1,
        registered_at: start(),
        expires_at: start().after(seconds(86_400)),
        attestation: AttestationState::Valid(passed),
        health: Some(HealthWord::Pass),
        last_health_at: Some(start()),
        presence: Presence::Registered,
        banned: false,
        stake: StakeStanding::Missing,
    }
}

/// A pool of nodes with one tunnel each, and their cells.
fn pool(credits: &[u32]) -> (Pool<usize>, Vec<Arc<NodeCell>>) {
    let (policy, mut cells) = (policy(), Vec::new());
    let slots: Vec<Slot<usize>> = credits
        .iter()
        .enumerate()
        .map(|(at, credits)| {
            let node = node(&format!("n{at}"));
            let eligible = assess(&node, &policy, start())
                .eligible()
                .expect("eligible");
            let cell = Arc::new(NodeCell::closed());
            cell.open(&eligible);
            cells.push(Arc::clone(&cell));
            let tunnel = Arc::new(TunnelCell::new(*credits));
            Slot::new(&eligible, cell, TunnelId(at as u64), tunnel, at)
        })
        .collect();
    (slots.into_iter().collect(), cells)
}

fn picked(pool: &Pool<usize>, now: Timestamp, draw: u64) -> Result<Lease<usize>, PickError> {
    pool.pick(now, draw)
}

#[test]
fn empty_pool_has_no_tunnel() {
    let (pool, _) = pool(&[]);
    assert_eq!(picked(&pool, start(), 7).unwrap_err(), PickError::NoTunnel);
    assert!(pool.peek(start()).is_none());
}

#[test]
fn a_request_holds_a_credit_until_its_lease_is_dropped() {
    let (pool, _) = pool(&[1]);
    let lease = picked(&pool, start(), 0).expect("a free credit");
    assert_eq!(picked(&pool, start(), 0).unwrap_err(), PickError::NoCredit);
    drop(lease);
    assert!(picked(&pool, start(), 0).is_ok());
}

#[test]
fn closing_gate_acts_at_once() {
    let (pool, cells) = pool(&[8, 8]);
    cells[0].close();
    for draw in 0..200_u64 {
        let lease = picked(&pool, start(), draw.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap();
        assert_eq!(*lease.link(), 1);
    }
    cells[1].close();
    assert_eq!(picked(&pool, start(), 0).unwrap_err(), PickError::NoTunnel);
}

#[test]
fn a_stuck_writer_fails_closed() {
    let (pool, _) = pool(&[8]);
    let end = start().after(policy().health_timeout);
    assert!(picked(&pool, end.before(seconds(1)), 0).is_ok());
    assert_eq!(picked(&pool, end, 0).unwrap_err(), PickError::NoTunnel);
}

#[test]
fn of_two_draws_the_less_loaded_serves() {
    let (pool, _) = pool(&[10, 10]);
    let draws_both = 0x0000_0000_ffff_ffff;
    let first = picked(&pool, start(), draws_both).unwrap();
    let second = picked(&pool, start(), draws_both).unwrap();
    assert_ne!(first.link(), second.link());
}

#[test]
fn a_full_pool_of_many_is_used_to_its_last_credit() {
    let (pool, _) = pool(&[3, 1, 2, 0]);
    let leases: Vec<_> = (0..6_u64)
        .map(|draw| picked(&pool, start(), draw.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap())
        .collect();
    assert_eq!(picked(&pool, start(), 1).unwrap_err(), PickError::NoCredit);
    assert_eq!(leases.len(), 6);
}

#[test]
fn regranting_less_than_is_in_flight_only_stops_new_requests() {
    let (pool, _) = pool(&[4]);
    let leases: Vec<_> = (0..3).map(|_| picked(&pool, start(), 0).unwrap()).collect();
    let cell = leases[0].cell();
    cell.grant(2);
    assert_eq!(picked(&pool, start(), 0).unwrap_err(), PickError::NoCredit);
    assert_eq!(cell.inflight(), 3);
}

#[test]
fn credits_never_overbook() {
    // The look before the take is only a hint: the take itself decides.
    let cell = TunnelCell::new(1);
    assert!(cell.take(cell.credits()));
    assert!(!cell.take(cell.credits()));
    cell.give_back();
    assert!(cell.take(cell.credits()));
}

#[test]
fn threads_never_take_more_than_the_credits() {
    let (pool, _) = pool(&[5, 7]);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..5_000_u64 {
                    let draw = (thread << 48 | round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let lease = picked(pool, start(), draw).expect("12 credits for 4 threads");
                    assert!(lease.cell().inflight() <= lease.cell().credits());
                }
            });
        }
    });
    assert!(pool.slots().all(|slot| slot.cell().inflight() == 0));
}

proptest! {
    /// Against the plain model: a pick succeeds exactly if some slot has room, takes one credit
    /// of a slot that had room, and no slot ever exceeds its credits.
    #[test]
    fn pick_agrees_with_the_plain_model(
        credits in proptest::collection::vec(0_u32..4, 1..12),
        draws in proptest::collection::vec(any::<u64>(), 1..40),
    ) {
        let (pool, _) = pool(&credits);
        let mut model = credits.clone();
        let mut leases = Vec::new();
        for draw in draws {
            match picked(&pool, start(), draw) {
                Ok(lease) => {
                    prop_assert!(model[*lease.link()] > 0);
                    model[*lease.link()] -= 1;
                    leases.push(lease);
                }
                Err(error) => {
                    prop_assert_eq!(error, PickError::NoCredit);
                    prop_assert!(model.iter().all(|left| *left == 0));
                    leases.clear();
                    model.clone_from(&credits);
                }
            }
        }
    }
}

#[test]
fn the_cheapest_with_a_free_credit_serves_first() {
    let (pool, _cells) = pool(&[1, 1, 2]);
    let bucket = |micros| Bucket::of(Price::new(MicroUsd::from_micros(micros)));
    let prices = [bucket(50_000), bucket(30_000), Bucket::UNPRICED];
    let slots = pool.slots.into_iter().zip(prices).map(|(slot, bucket)| {
        let slot = Arc::into_inner(slot).expect("nobody else holds it");
        slot.priced(bucket)
    });
    let pool: Pool<usize> = slots.collect();
    let picked: Vec<usize> = (0..4_u64)
        .map(|draw| pool.pick(start(), draw << 30).expect("a credit"))
        .map(|lease| {
            let link = *lease.link();
            std::mem::forget(lease);
            link
        })
        .collect();
    assert_eq!(picked, [1, 0, 2, 2]);
    assert_eq!(pool.pick(start(), 0).unwrap_err(), PickError::NoCredit);
}

/// Two tunnels of these nodes, both connected at the start, with 100 credits each.
fn connected(ids: [&str; 2]) -> Pool<usize> {
    let policy = policy();
    let slot = |(at, id): (usize, &str)| {
        let node = node(id);
        let eligible = assess(&node, &policy, start()).eligible().unwrap();
        let cell = Arc::new(NodeCell::closed());
        cell.open(&eligible);
        let tunnel = Arc::new(TunnelCell::new(100));
        Slot::new(&eligible, cell, TunnelId(at as u64), tunnel, at).connected(start())
    };
    ids.into_iter().enumerate().map(slot).collect()
}

#[test]
fn credits_ramp_up_after_a_tunnel_has_connected() {
    let taken = |ids, after_ms| {
        let pool = connected(ids);
        let now = start().after(Duration::from_millis(after_ms));
        let leases: Vec<_> = (0..).map_while(|draw| pool.pick(now, draw).ok()).collect();
        leases.len()
    };
    for (after_ms, each) in [
        (0, 25),
        (2_000, 40),
        (5_000, 62),
        (9_999, 99),
        (10_000, 100),
    ] {
        assert_eq!(taken(["n1", "n2"], after_ms), 2 * each, "{after_ms} ms");
    }
    assert_eq!(taken(["n1", "n1"], 0), 200, "nobody else could serve");
}

#[test]
fn a_ramp_leaves_some_credit_to_the_smallest() {
    for credits in [1, 2, 3, 1_024] {
        let at_first = ramped(credits, Duration::ZERO);
        assert!(
            at_first >= 1 && at_first <= credits.div_ceil(4),
            "{credits}"
        );
        assert_eq!(ramped(credits, RAMP), credits);
    }
    assert_eq!(ramped(0, Duration::ZERO), 0, "a closed tunnel stays closed");
}
