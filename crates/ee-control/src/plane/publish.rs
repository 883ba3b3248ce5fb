//! From the registry to the snapshots that readers see.

use std::sync::Arc;

use ee_core::{
    eligibility::assess,
    registry::Node,
    routing::{Bucket, NodeCell, Slot},
};
use ee_protocol::{names::AppName, time::Timestamp};

use super::{TunnelLink, writer::Plane};
use crate::routes::{AppEntry, Funds, NodeEntry};

impl<L: TunnelLink> Plane<L> {
    /// Publishes every app that changed.
    pub(super) fn publish(&mut self) {
        let now = self.clock.now();
        for name in std::mem::take(&mut self.stale) {
            if let Some(entry) = self.entry(&name, now) {
                self.routes.publish(entry);
            }
        }
    }

    fn entry(&mut self, name: &AppName, now: Timestamp) -> Option<AppEntry<L>> {
        let app = self.registry.app(name)?.clone();
        let funds = match self.gates.unfunded.contains(name) {
            true => Funds::Exhausted,
            false => Funds::Enough,
        };
        let nodes: Vec<Node> = self.registry.nodes_of(name).cloned().collect();
        let mut entries = Vec::with_capacity(nodes.len());
        let mut slots = Vec::new();
        for node in nodes {
            let cell = self
                .nodes
                .entry(node.id.clone())
                .or_insert_with(closed_cell)
                .clone();
            let of_node = self.slots(&node, &cell, now);
            if funds == Funds::Enough {
                slots.extend(of_node);
            }
            let tunnels = self.registry.tunnels_of(&node.id);
            let tunnels = tunnels.filter_map(|(id, _)| self.tunnels.get(&id));
            let tunnels = tunnels.map(|live| Arc::clone(&live.cell)).collect();
            let offer = self.gates.offers.get(&node.id).copied();
            entries.push(NodeEntry::new(node, cell, tunnels).offering(offer));
        }
        Some(AppEntry {
            app,
            nodes: entries,
            pool: slots.into_iter().collect(),
            funds,
        })
    }

    /// The slots of a node: none unless it is eligible.
    fn slots(&mut self, node: &Node, cell: &Arc<NodeCell>, now: Timestamp) -> Vec<Slot<L>> {
        let Ok(eligible) = assess(node, &self.policy, now).eligible() else {
            cell.close();
            self.in_pool.remove(&node.id);
            return Vec::new();
        };
        cell.open(&eligible);
        self.in_pool.insert(node.id.clone());
        let open = self
            .registry
            .tunnels_of(&node.id)
            .filter(|(_, tunnel)| !tunnel.draining);
        let offer = self.gates.offers.get(&node.id);
        let bucket = Bucket::of(offer.map(|offer| offer.effective));
        let live = open.filter_map(|(id, _)| self.tunnels.get(&id).map(|live| (id, live)));
        live.map(|(id, live)| {
            let (node_cell, cell) = (Arc::clone(cell), Arc::clone(&live.cell));
            Slot::new(&eligible, node_cell, id, cell, live.link.clone())
                .priced(bucket)
                .connected(live.joined_at)
        })
        .collect()
    }
}

fn closed_cell() -> Arc<NodeCell> {
    Arc::new(NodeCell::closed())
}
