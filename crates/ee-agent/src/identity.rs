//! Who this agent says it is, in every tunnel of this process.

use ee_protocol::{
    names::{AgentId, AppName, Network, NodeId, ReleaseTag, Repo},
    report_data::{Binding, BindingFields, Digest, Nonce, Role},
    settings::Secret,
    tunnel::{Register, TUNNEL_VERSION},
};

/// The agent's names and keys.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The app's repository.
    pub repo: Repo,
    /// The release whose allowlist applies.
    pub release_tag: ReleaseTag,
    /// The app it serves.
    pub app_name: AppName,
    /// The network it joins.
    pub network: Network,
    /// Its id.
    pub agent_id: AgentId,
    /// The node it is; the agent's id unless configured.
    pub node_id: NodeId,
    /// The node's token: proved, never sent.
    pub node_token: Option<Secret>,
    /// Random per boot.
    pub instance: String,
    /// Requests it serves at once on one tunnel, if all its tunnels are up.
    pub max_inflight: u32,
    /// Hashes of the control plane's tunnel key that are accepted; empty accepts any.
    pub control_keys: Vec<Digest>,
}

impl Identity {
    /// The first message of a tunnel.
    pub fn register(&self) -> Register {
        Register {
            repo: self.repo.to_string(),
            release_tag: self.release_tag.to_string(),
            app_name: self.app_name.to_string(),
            network: self.network.to_string(),
            agent_id: self.agent_id.to_string(),
            node_id: Some(self.node_id.to_string()),
            tunnel_version: Some(TUNNEL_VERSION.to_owned()),
            capabilities: ["h2", "itls", "epochs"].map(str::to_owned).to_vec(),
            instance: Some(self.instance.clone()),
            max_inflight: Some(self.max_inflight),
            vcpus: std::thread::available_parallelism()
                .ok()
                .and_then(|n| u32::try_from(n.get()).ok()),
        }
    }

    /// The second half of `report_data` for one challenge.
    pub fn binding_digest(&self, nonce: &Nonce, reason: &str, binding: &Binding) -> Digest {
        BindingFields {
            role: Role::Agent,
            nonce,
            reason,
            network: self.network.as_str(),
            repo: self.repo.as_str(),
            release_tag: self.release_tag.as_str(),
            app_name: self.app_name.as_str(),
            agent_id: self.agent_id.as_str(),
            node_id: self.node_id.as_str(),
            binding,
        }
        .digest()
    }
}
