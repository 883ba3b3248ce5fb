//! Proof of which node a session is: without it there is no fact about the node (LEDGER 1, L12).

use ee_protocol::names::NodeId;

use super::{Registry, TunnelId};

/// A node whose session proved to be it. Facts are about nothing else; only the
/// registry and the session make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenNode(NodeId);

impl ProvenNode {
    /// Which node.
    pub const fn id(&self) -> &NodeId {
        &self.0
    }

    /// By a proved node token: ids have a token as soon as money is involved.
    pub(crate) const fn by_token(id: NodeId) -> Self {
        Self(id)
    }
}

impl Registry {
    /// The node of a tunnel that joined: attested, and not superseded since.
    pub fn proven(&self, tunnel: TunnelId) -> Option<ProvenNode> {
        let tunnel = self.tunnels.get(&tunnel)?;
        Some(ProvenNode(tunnel.node.clone()))
    }
}
