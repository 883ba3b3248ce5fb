//! What the books say takes effect: apps that nobody pays for, nodes without stake or
//! banned.

use ee_protocol::names::{AppName, NodeId};

use super::{Gates, TunnelLink, writer::Plane};

impl<L: TunnelLink> Plane<L> {
    /// Applies what the books say; a gate that closes acts at once.
    pub(super) fn gate(&mut self, gates: Gates) {
        let now = self.clock.now();
        let changed: Vec<AppName> = self
            .gates
            .unfunded
            .symmetric_difference(&gates.unfunded)
            .cloned()
            .collect();
        self.stale.extend(changed);
        let dearer_or_cheaper = gates
            .stakes
            .keys()
            .filter(|node| gates.offers.get(node) != self.gates.offers.get(node))
            .filter_map(|node| self.registry.node(node));
        self.stale
            .extend(dearer_or_cheaper.map(|node| node.app.clone()));
        for (node, stake) in &gates.stakes {
            let changed: Option<NodeId> = self
                .registry
                .set_stake(node, *stake)
                .map(|node| node.id.clone());
            self.reconsider(changed, now);
            let banned = gates.banned.contains(node);
            let changed = self.registry.set_banned(node, banned);
            let changed = changed.map(|node| node.id.clone());
            self.reconsider(changed, now);
        }
        self.gates = gates;
    }
}
