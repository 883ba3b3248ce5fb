//! Which tunnel serves a request: immutable snapshots for order, atomics for occupancy
//! (ROUTING 3, 4). Readers never wait for a writer.
//!
//! A [`Pool`] holds the eligible nodes' tunnels of one app. Its slots point at cells that outlive
//! the snapshot, so a closing gate acts at once: it zeroes `valid_until`. Every eligible tunnel
//! with a free credit may serve; the choice between two of them falls on the less loaded one.
//! The cheapest bucket of effective prices with a free credit serves first.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use ee_protocol::{money::Price, names::NodeId, time::Timestamp};

use crate::{eligibility::EligibleNode, registry::TunnelId};

/// What changes about a node between snapshots.
#[derive(Debug)]
pub struct NodeCell {
    valid_until: AtomicI64,
    last_health_at: AtomicI64,
}

/// No heartbeat passed yet.
const NEVER: i64 = i64::MIN;

impl NodeCell {
    /// A node that may not serve yet.
    pub const fn closed() -> Self {
        Self {
            valid_until: AtomicI64::new(NEVER),
            last_health_at: AtomicI64::new(NEVER),
        }
    }

    /// The node is eligible until then.
    pub fn open(&self, node: &EligibleNode<'_>) {
        self.valid_until
            .store(node.valid_until().unix_micros(), Ordering::Release);
        let at = node
            .node()
            .last_health_at
            .map_or(NEVER, Timestamp::unix_micros);
        self.last_health_at.store(at, Ordering::Release);
    }

    /// A gate closed: from now on no pick falls on the node.
    pub fn close(&self) {
        self.valid_until.store(NEVER, Ordering::Release);
    }

    /// When a heartbeat last passed, if one passed since the snapshot was made.
    pub fn last_health_at(&self) -> Option<Timestamp> {
        let at = self.last_health_at.load(Ordering::Acquire);
        (at != NEVER).then(|| Timestamp::from_unix_micros(at))
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        now.unix_micros() < self.valid_until.load(Ordering::Acquire)
    }
}

/// A tunnel that has just connected takes this many hundredths of its credits at first, more from
/// moment to moment, and all after [`RAMP`] (ROUTING 5, "slow start"): its caches are cold, and a
/// node that fails under load is found out by a few requests.
const RAMP_FROM_PERCENT: u64 = 25;
/// How long the ramp takes.
const RAMP: Duration = Duration::from_secs(10);

/// How busy a tunnel is.
#[derive(Debug)]
pub struct TunnelCell {
    inflight: AtomicU32,
    credits: AtomicU32,
}

impl TunnelCell {
    /// An idle tunnel with this many credits.
    pub const fn new(credits: u32) -> Self {
        Self {
            inflight: AtomicU32::new(0),
            credits: AtomicU32::new(credits),
        }
    }

    /// The agent granted so many; zero closes the tunnel for new requests.
    pub fn grant(&self, credits: u32) {
        self.credits.store(credits, Ordering::Release);
    }

    /// Requests under way.
    pub fn inflight(&self) -> u32 {
        self.inflight.load(Ordering::Acquire)
    }

    /// Requests that may be under way.
    pub fn credits(&self) -> u32 {
        self.credits.load(Ordering::Acquire)
    }

    /// Takes one of so many credits if one is free.
    fn take(&self, credits: u32) -> bool {
        self.inflight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |inflight| {
                (inflight < credits).then_some(inflight + 1)
            })
            .is_ok()
    }

    fn give_back(&self) {
        let before = self.inflight.fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "a credit is given back once");
    }

    /// Occupancy of so many credits in parts of 2^32, so that tunnels of different size compare.
    fn load(&self, credits: u32) -> u64 {
        match credits {
            0 => u64::MAX,
            credits => (u64::from(self.inflight()) << 32) / u64::from(credits),
        }
    }
}

/// The part of `credits` that a tunnel has `age` after it connected: never none of some.
fn ramped(credits: u32, age: Duration) -> u32 {
    if age >= RAMP {
        return credits;
    }
    let age_ms = u64::try_from(age.as_millis()).expect("below the ramp");
    let ramp_ms = u64::try_from(RAMP.as_millis()).expect("a constant");
    let percent = RAMP_FROM_PERCENT + (100 - RAMP_FROM_PERCENT) * age_ms / ramp_ms;
    let part = (u64::from(credits) * percent).div_ceil(100);
    u32::try_from(part).expect("a part of them")
}

/// One tunnel of an eligible node.
#[derive(Debug)]
pub struct Slot<L> {
    tunnel: TunnelId,
    node_id: NodeId,
    link: L,
    node: Arc<NodeCell>,
    cell: Arc<TunnelCell>,
    bucket: Bucket,
    /// When it connected, while that limits what it takes.
    ramps_from: Option<Timestamp>,
}

impl<L> Slot<L> {
    /// A slot for a tunnel of an eligible node: without the proof there is none.
    pub fn new(
        node: &EligibleNode<'_>,
        node_cell: Arc<NodeCell>,
        tunnel: TunnelId,
        cell: Arc<TunnelCell>,
        link: L,
    ) -> Self {
        Self {
            tunnel,
            node_id: node.node().id.clone(),
            link,
            node: node_cell,
            cell,
            bucket: Bucket::UNPRICED,
            ramps_from: None,
        }
    }

    /// The same slot, of a tunnel that connected then.
    #[must_use]
    pub fn connected(mut self, at: Timestamp) -> Self {
        self.ramps_from = Some(at);
        self
    }

    /// The same slot, in the merit order of its node's effective price.
    #[must_use]
    pub fn priced(mut self, bucket: Bucket) -> Self {
        self.bucket = bucket;
        self
    }

    /// The tunnel.
    pub const fn tunnel(&self) -> TunnelId {
        self.tunnel
    }

    /// Whose it is.
    pub const fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    /// The way to it.
    pub const fn link(&self) -> &L {
        &self.link
    }

    /// How busy it is.
    pub fn cell(&self) -> &TunnelCell {
        &self.cell
    }

    /// Requests that may be under way now.
    fn credits(&self, now: Timestamp) -> u32 {
        let granted = self.cell.credits();
        self.ramps_from
            .map_or(granted, |from| ramped(granted, now.since(from)))
    }

    fn open_for(&self, now: Timestamp) -> bool {
        self.node.is_valid(now) && self.cell.inflight() < self.credits(now)
    }
}

/// Why no tunnel was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PickError {
    /// No eligible node has a tunnel.
    NoTunnel,
    /// Every tunnel of an eligible node is full.
    NoCredit,
}

/// A request's hold on a tunnel: one credit, given back when it is dropped.
#[derive(Debug)]
pub struct Lease<L>(Arc<Slot<L>>);

impl<L> Deref for Lease<L> {
    type Target = Slot<L>;
    fn deref(&self) -> &Slot<L> {
        &self.0
    }
}

impl<L> Drop for Lease<L> {
    fn drop(&mut self) {
        self.0.cell.give_back();
    }
}

/// The tunnels of one app's eligible nodes, at one moment.
#[derive(Debug)]
pub struct Pool<L> {
    slots: Vec<Arc<Slot<L>>>,
}

impl<L> Default for Pool<L> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<L> FromIterator<Slot<L>> for Pool<L> {
    /// Where nobody else could serve instead, no slot starts slowly.
    fn from_iter<I: IntoIterator<Item = Slot<L>>>(slots: I) -> Self {
        let mut slots: Vec<Slot<L>> = slots.into_iter().collect();
        let first = slots.first().map(|slot| slot.node_id.clone());
        if slots
            .iter()
            .all(|slot| Some(&slot.node_id) == first.as_ref())
        {
            for slot in &mut slots {
                slot.ramps_from = None;
            }
        }
        let mut slots: Vec<Arc<Slot<L>>> = slots.into_iter().map(Arc::new).collect();
        slots.sort_by_key(|slot| slot.bucket);
        Self { slots }
    }
}

impl<L> Pool<L> {
    /// The slots, cheapest first; of equal ones in the order in which they were given.
    pub fn slots(&self) -> impl Iterator<Item = &Slot<L>> {
        self.slots.iter().map(Arc::as_ref)
    }

    /// Takes a credit of a tunnel in the cheapest bucket that has one: of two drawn at random the
    /// less loaded one, and where both are full, the next with room. `draw` is uniform; it makes
    /// the choice repeatable in tests.
    pub fn pick(&self, now: Timestamp, draw: u64) -> Result<Lease<L>, PickError> {
        if !self.slots.iter().any(|slot| slot.node.is_valid(now)) {
            return Err(PickError::NoTunnel);
        }
        let mut start = 0;
        while let Some(first) = self.slots.get(start) {
            let same = |slot: &Arc<Slot<L>>| slot.bucket == first.bucket;
            let count = self.slots[start..].partition_point(same);
            if let Some(lease) = self.pick_among(start, count, (now, draw)) {
                return Ok(lease);
            }
            start += count;
        }
        Err(PickError::NoCredit)
    }

    /// A credit of one of the `count` slots from `start` on.
    fn pick_among(
        &self,
        start: usize,
        count: usize,
        (now, draw): (Timestamp, u64),
    ) -> Option<Lease<L>> {
        let first = index(draw, count);
        let second = index(draw.rotate_right(32), count);
        let (near, far) = self.lighter_first(start + first, start + second, now);
        let rest = (1..=count).map(|step| start + (first + step) % count);
        let open = [near, far]
            .into_iter()
            .chain(rest)
            .map(|at| &self.slots[at]);
        let taken = open
            .into_iter()
            .find(|slot| slot.open_for(now) && slot.cell.take(slot.credits(now)));
        taken.map(|slot| Lease(Arc::clone(slot)))
    }

    /// The slot that would be picked now, without taking anything.
    pub fn peek(&self, now: Timestamp) -> Option<&Slot<L>> {
        let valid = self.slots().filter(|slot| slot.node.is_valid(now));
        valid.min_by_key(|slot| (slot.bucket, slot.cell.load(slot.credits(now))))
    }

    fn lighter_first(&self, a: usize, b: usize, now: Timestamp) -> (usize, usize) {
        let weight = |at: usize| match self.slots[at].open_for(now) {
            true => self.slots[at].cell.load(self.slots[at].credits(now)),
            false => u64::MAX,
        };
        if weight(b) < weight(a) {
            (b, a)
        } else {
            (a, b)
        }
    }
}

/// The low half of a draw as an index below `count`.
fn index(draw: u64, count: usize) -> usize {
    let low = draw & 0xffff_ffff;
    let scaled = (low * u64::try_from(count).expect("usize fits u64")) >> 32;
    usize::try_from(scaled).expect("below count")
}

mod bucket;
#[cfg(test)]
mod tests;
pub mod trust;

pub use bucket::Bucket;

/// What a node offers: its price, how likely it delivers, and what that makes a delivered
/// vCPU-hour cost. Nodes are picked by the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Posted, per vCPU-hour.
    pub price: Price,
    /// How likely a period passes.
    pub trust: trust::Trust,
    /// Price by trust.
    pub effective: Price,
}
