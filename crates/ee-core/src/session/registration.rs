//! `register`, parsed: from here on every name is valid.
//!
//! Order of checks as in TUNNEL 2.1: the network first, then absent fields, then shapes, then what
//! the network demands of the tunnel.

use ee_protocol::{
    names::{AgentId, AppName, Network, NodeId, ReleaseTag, Repo},
    tunnel::{InnerTlsMode, Register, TUNNEL_VERSION},
};

use super::SessionRefusal;
use crate::{
    attestation::{AttestationCode, BindingStrength, Failure},
    policy::LivePolicy,
};

/// Longest `instance` an agent may send: ours are 32 hexadecimal digits; the same bound as ids.
const INSTANCE_MAX_BYTES: usize = 128;
/// Streams an agent is trusted with if it names none: 16 per virtual CPU (ROUTING 3).
const CREDITS_PER_VCPU: u32 = 16;
/// Streams one tunnel may have open, whatever the agent grants (TUNNEL 10).
pub const CREDITS_MAX: u32 = 1_024;

/// Who an agent says it is and what it offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The app's repository.
    pub repo: Repo,
    /// The release whose allowlist applies.
    pub release_tag: ReleaseTag,
    /// The app it serves.
    pub app_name: AppName,
    /// The network it joins.
    pub network: Network,
    /// The agent.
    pub agent_id: AgentId,
    /// The node; the agent's id if it named none.
    pub node_id: NodeId,
    /// Random per boot of the agent.
    pub instance: Option<String>,
    /// Streams the agent can serve at once.
    pub max_inflight: Option<u32>,
    /// Virtual CPUs of its VM.
    pub vcpus: Option<u32>,
    /// Whether this tunnel has an inner TLS session: decided by the network and the offer.
    pub inner_tls: InnerTlsMode,
    /// How requests reach the agent: decided by the network and the offer.
    pub mux: Mux,
    /// Whether HTTP/2 may rest on this tunnel: both ends know how (TUNNEL 3.3).
    pub epochs: bool,
}

/// How requests travel on a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mux {
    /// As HTTP/2 streams in binary messages.
    H2,
    /// One after another in text messages (TUNNEL 7): agents that speak only the seed's messages.
    Legacy,
}

impl Registration {
    /// Parses the names in a `register` message; the terms of the tunnel come with
    /// [`Registration::agree`].
    pub fn parse(message: &Register) -> Result<Self, SessionRefusal> {
        let network =
            Network::parse(&message.network).map_err(|_| SessionRefusal::InvalidNetwork)?;
        let required = [
            &message.repo,
            &message.release_tag,
            &message.app_name,
            &message.agent_id,
        ];
        if required.iter().any(|text| text.is_empty()) {
            return Err(SessionRefusal::MissingFields);
        }
        let repo = Repo::parse(&message.repo).map_err(wrong)?;
        let release_tag = ReleaseTag::parse(&message.release_tag).map_err(wrong)?;
        let app_name = AppName::parse(&message.app_name).map_err(wrong)?;
        let agent_id = AgentId::parse(&message.agent_id).map_err(wrong)?;
        let node_id = match &message.node_id {
            Some(text) => NodeId::parse(text).map_err(wrong)?,
            None => NodeId::from(agent_id.clone()),
        };
        Ok(Self {
            repo,
            release_tag,
            app_name,
            network,
            agent_id,
            node_id,
            instance: instance(message)?,
            max_inflight: message.max_inflight,
            vcpus: message.vcpus,
            inner_tls: InnerTlsMode::Off,
            mux: Mux::Legacy,
            epochs: false,
        })
    }

    /// Settles how the tunnel will work, from the agent's offer and the network's demands.
    pub fn agree(&mut self, message: &Register, policy: &LivePolicy) -> Result<(), SessionRefusal> {
        (self.mux, self.inner_tls) = terms(message, self.network, policy)?;
        self.epochs = self.mux == Mux::H2 && offers(message, "epochs");
        Ok(())
    }

    /// Streams this tunnel may have open until the agent says otherwise.
    pub fn initial_credits(&self) -> u32 {
        let by_size = || self.vcpus.unwrap_or(1).saturating_mul(CREDITS_PER_VCPU);
        match self.mux {
            Mux::H2 => self.max_inflight.unwrap_or_else(by_size).min(CREDITS_MAX),
            Mux::Legacy => crate::legacy::CREDITS,
        }
    }
}

fn wrong(error: ee_protocol::names::NameError) -> SessionRefusal {
    SessionRefusal::InvalidField(error.kind)
}

/// An empty instance names no boot: it counts as none.
fn instance(message: &Register) -> Result<Option<String>, SessionRefusal> {
    match &message.instance {
        Some(text) if text.len() > INSTANCE_MAX_BYTES => {
            Err(SessionRefusal::InvalidField("instance"))
        }
        Some(text) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) | None => Ok(None),
    }
}

fn terms(
    message: &Register,
    network: Network,
    policy: &LivePolicy,
) -> Result<(Mux, InnerTlsMode), SessionRefusal> {
    let rules = policy.rules(network);
    let offers = |name| offers(message, name);
    let speaks_h2 = message.tunnel_version.as_deref() == Some(TUNNEL_VERSION) && offers("h2");
    let channel_demanded = rules.least_binding == BindingStrength::Channel;
    if channel_demanded && !(speaks_h2 && offers("itls")) {
        return Err(binding_required(network).into());
    }
    if !speaks_h2 {
        return Ok((Mux::Legacy, InnerTlsMode::Off));
    }
    if offers("itls") && (channel_demanded || rules.inner_tls == InnerTlsMode::Required) {
        return Ok((Mux::H2, InnerTlsMode::Required));
    }
    Ok((Mux::H2, InnerTlsMode::Off))
}

fn offers(message: &Register, name: &str) -> bool {
    let mut offered = message.capabilities.iter();
    offered.any(|capability| capability == name)
}

fn binding_required(network: Network) -> Failure {
    let row = ee_protocol::refusal::Refusal::new(
        AttestationCode::BindingRequired.as_str(),
        "binding",
        format!(
            "{network} takes only agents that bind the quote to an inner TLS session: use an agent that offers the capabilities h2 and itls"
        ),
    );
    Failure::new(AttestationCode::BindingRequired).explained(row.compared(
        "capabilities h2 and itls, tunnel_version \"2\"",
        "not all offered",
    ))
}
