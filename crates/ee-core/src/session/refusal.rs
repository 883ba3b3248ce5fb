//! Why a session says no: the words of TUNNEL 2.1, what follows, and what a person can do.

use ee_protocol::refusal::Refusal;

use super::command::{CLOSE_OVERLOADED, CLOSE_POLICY, CLOSE_SERVER_DRAINS};
use crate::attestation::{AttestationCode, Failure};

/// A refusal of the session; [`SessionRefusal::reason`] is the word on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionRefusal {
    /// Not a JSON object, or nested too deeply.
    InvalidJson,
    /// An object of no known type.
    UnknownMessage,
    /// No such network.
    InvalidNetwork,
    /// A required field is absent or empty.
    MissingFields,
    /// A field has the wrong shape.
    InvalidField(&'static str),
    /// This session has registered already.
    AlreadyRegistered,
    /// An answer without an open challenge.
    UnexpectedAttestation,
    /// A message that only an attested agent may send.
    NotRegistered,
    /// Nothing that registers came in time.
    RegisterTimeout,
    /// No attestation slot became free in time.
    TooManyPending,
    /// The evidence was refused, or none came.
    Evidence(Box<Failure>),
    /// The app belongs to another repository.
    AppBoundToOtherRepo,
    /// The app belongs to forge-1.
    AppBoundToOtherNetwork,
    /// A living agent holds the node id.
    NodeInUse,
    /// The node is banned.
    Banned,
    /// The agent holds as many tunnels as it may.
    TunnelLimit,
    /// The repository holds as many app names as it may.
    AppLimit,
    /// The repository's agents hold as many node ids as they may.
    NodeLimit,
    /// A newer instance of the agent took over.
    Replaced,
    /// The inner TLS handshake failed.
    InnerTlsFailed,
    /// Binary data where none may be.
    BinaryNotAllowed,
    /// A control message without a valid MAC.
    ControlMacInvalid,
    /// The control plane shuts down.
    ServerDrains,
}

/// What follows a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The tunnel stays.
    Open,
    /// It is closed with this code.
    Close(u16),
}

impl From<Failure> for SessionRefusal {
    fn from(failure: Failure) -> Self {
        Self::Evidence(Box::new(failure))
    }
}

impl SessionRefusal {
    /// The word in `status.reason` and in the close frame.
    pub fn reason(&self) -> String {
        if let Self::InvalidField(name) = self {
            return format!("invalid_field:{name}");
        }
        if let Self::Evidence(failure) = self {
            return failure.reason();
        }
        self.words().0.to_owned()
    }

    /// What follows.
    pub const fn then(&self) -> Then {
        match self {
            Self::InvalidJson
            | Self::UnknownMessage
            | Self::InvalidNetwork
            | Self::MissingFields
            | Self::InvalidField(_)
            | Self::AlreadyRegistered
            | Self::UnexpectedAttestation
            | Self::NotRegistered => Then::Open,
            Self::TooManyPending => Then::Close(CLOSE_OVERLOADED),
            Self::ServerDrains => Then::Close(CLOSE_SERVER_DRAINS),
            Self::RegisterTimeout
            | Self::Evidence(_)
            | Self::AppBoundToOtherRepo
            | Self::AppBoundToOtherNetwork
            | Self::NodeInUse
            | Self::Banned
            | Self::TunnelLimit
            | Self::AppLimit
            | Self::NodeLimit
            | Self::Replaced
            | Self::InnerTlsFailed
            | Self::BinaryNotAllowed
            | Self::ControlMacInvalid => Then::Close(CLOSE_POLICY),
        }
    }

    /// The rows of `status.detail`: at least one, and each says what to do.
    pub fn explain(&self) -> Vec<Refusal> {
        let (_, check, hint) = self.words();
        let row = Refusal::new(self.reason(), check, hint);
        if let Self::Evidence(failure) = self
            && !failure.refusals.is_empty()
        {
            return failure.refusals.clone();
        }
        if let Self::InvalidField(name) = self {
            return vec![row.compared(shape_of(name), "")];
        }
        vec![row]
    }

    const fn words(&self) -> Words {
        match self {
            Self::InvalidJson => INVALID_JSON,
            Self::UnknownMessage => UNKNOWN_MESSAGE,
            Self::InvalidNetwork => INVALID_NETWORK,
            Self::MissingFields => MISSING_FIELDS,
            Self::InvalidField(_) => INVALID_FIELD,
            Self::AlreadyRegistered => ALREADY_REGISTERED,
            Self::UnexpectedAttestation => UNEXPECTED_ATTESTATION,
            Self::NotRegistered => NOT_REGISTERED,
            Self::RegisterTimeout => REGISTER_TIMEOUT,
            Self::TooManyPending => TOO_MANY_PENDING,
            Self::Evidence(_) => EVIDENCE,
            Self::AppBoundToOtherRepo => APP_BOUND_TO_OTHER_REPO,
            Self::AppBoundToOtherNetwork => APP_BOUND_TO_OTHER_NETWORK,
            Self::NodeInUse => NODE_IN_USE,
            Self::Banned => BANNED,
            Self::TunnelLimit => TUNNEL_LIMIT,
            Self::AppLimit => APP_LIMIT,
            Self::NodeLimit => NODE_LIMIT,
            Self::Replaced => REPLACED,
            Self::InnerTlsFailed => INNER_TLS_FAILED,
            Self::BinaryNotAllowed => BINARY_NOT_ALLOWED,
            Self::ControlMacInvalid => CONTROL_MAC_INVALID,
            Self::ServerDrains => SERVER_DRAINS,
        }
    }
}

/// Word, check, advice.
type Words = (&'static str, &'static str, &'static str);

const INVALID_JSON: Words = (
    "invalid_json",
    "message",
    "send one JSON object per text frame, at most 32 levels deep",
);
const UNKNOWN_MESSAGE: Words = (
    "unknown_message",
    "message",
    "type is one of register, attest_response, health, credits, drain",
);
const INVALID_NETWORK: Words = (
    "invalid_network",
    "register",
    "set EE_NETWORK to forge-1 or sandbox-1",
);
const MISSING_FIELDS: Words = (
    "missing_fields",
    "register",
    "repo, release_tag, app_name and agent_id are all required: \
                 set EE_REPO, EE_RELEASE_TAG, EE_APP_NAME",
);
const INVALID_FIELD: Words = (
    "invalid_field",
    "register",
    "correct the field that the reason names",
);
const ALREADY_REGISTERED: Words = (
    "already_registered",
    "register",
    "a connection registers once; reconnect to register as something else",
);
const UNEXPECTED_ATTESTATION: Words = (
    "unexpected_attestation",
    "challenge",
    "answer each attest_request once, with its own nonce",
);
const NOT_REGISTERED: Words = (
    "not_registered",
    "message",
    "wait for status ok attested before health, credits or drain",
);
const REGISTER_TIMEOUT: Words = (
    "register_timeout",
    "register",
    "send register within 10 s of connecting",
);
const TOO_MANY_PENDING: Words = (
    "too_many_pending",
    "challenge",
    "no attestation slot became free; reconnect later, with jitter",
);
const EVIDENCE: Words = (
    "evidence",
    "evidence",
    "easyenclave app explain <app> shows the refused attempt in full",
);
const APP_BOUND_TO_OTHER_REPO: Words = (
    "app_bound_to_other_repo",
    "app",
    "the name belongs to another repository: choose another EE_APP_NAME, \
                 or have the operator release it",
);
const APP_BOUND_TO_OTHER_NETWORK: Words = (
    "app_bound_to_other_network",
    "app",
    "the app serves on forge-1: join with EE_NETWORK=forge-1, \
                 or use another EE_APP_NAME",
);
const NODE_IN_USE: Words = (
    "node_in_use",
    "node",
    "a living agent, or one of another repository, holds this node id: stop the living one, \
                 or give this one its own EE_AGENT_ID",
);
const BANNED: Words = (
    "banned",
    "node",
    "the operator banned this node; ask the operator",
);
const APP_LIMIT: Words = (
    "app_limit",
    "registry",
    "releases of this repository hold 16384 app names already: serve under one of them",
);
const NODE_LIMIT: Words = (
    "node_limit",
    "registry",
    "agents of this repository hold 65536 node ids already: keep EE_DATA_DIR or set \
     EE_AGENT_ID, so that an agent that comes back keeps its id",
);
const TUNNEL_LIMIT: Words = (
    "tunnel_limit",
    "node",
    "an agent may hold 4 tunnels; close one first",
);
const REPLACED: Words = (
    "replaced",
    "node",
    "a newer instance of this agent took over; nothing to do",
);
const INNER_TLS_FAILED: Words = (
    "inner_tls_failed",
    "channel",
    "the inner TLS 1.3 handshake with raw public keys must end within 10 s; \
                 check EE_CONTROL_KEY and the agent's version",
);
const BINARY_NOT_ALLOWED: Words = (
    "binary_not_allowed",
    "channel",
    "send binary frames only after attest_request, \
                 and application data only after status ok attested",
);
const CONTROL_MAC_INVALID: Words = (
    "control_mac_invalid",
    "channel",
    "every text after status ok attested carries seq and mac; \
                 something on the way altered or dropped one",
);
const SERVER_DRAINS: Words = (
    "restart",
    "server",
    "the control plane restarts; reconnect within the window of drain",
);

/// The answer carries another nonce than the open challenge.
pub(super) fn nonce_mismatch() -> SessionRefusal {
    explained(
        AttestationCode::NonceMismatch,
        "answer with the nonce of the latest attest_request, as it was sent",
    )
}

/// No answer came in time.
pub(super) fn attestation_timeout() -> SessionRefusal {
    explained(
        AttestationCode::AttestationTimeout,
        "answer within deadline_s; if quoting is slow, look at the VM's load and at its \
         quoting service",
    )
}

/// The agent could not make a quote, twice.
pub(super) fn agent_error(word: &str) -> SessionRefusal {
    let hint = "the agent could not quote, twice; see its own log and the VM's quoting service";
    let row = Refusal::new(AttestationCode::AgentError.as_str(), "challenge", hint);
    Failure::new(AttestationCode::AgentError)
        .explained(row.compared("a quote", word.to_owned()))
        .into()
}

fn explained(code: AttestationCode, hint: &str) -> SessionRefusal {
    Failure::new(code)
        .explained(Refusal::new(code.as_str(), "challenge", hint))
        .into()
}

fn shape_of(field: &str) -> &'static str {
    match field {
        "app_name" => "1 to 63 of [a-z0-9-], not beginning or ending with '-'",
        "repo" => "owner/name as on GitHub",
        "release_tag" => "a git tag of 1 to 128 bytes",
        "agent_id" | "node_id" => "1 to 128 of [A-Za-z0-9._:@-], not beginning with 'sys:'",
        "instance" => "1 to 128 bytes",
        "capabilities" => "an array of texts",
        "max_inflight" | "vcpus" => "a whole number below 2^32",
        _ => "text",
    }
}
