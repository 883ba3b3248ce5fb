//! What goes into a session and what comes out of it: the whole list of its inputs' answers and
//! of its effects. What is not here does not happen.

use ee_protocol::{
    report_data::{Binding, Digest, Nonce},
    time::Timestamp,
    tunnel::{AttestResponse, ControlMessage},
};

use super::{Registration, SessionRefusal};
use crate::{
    attestation::{AttestationResult, Failure},
    registry::ProvenNode,
};

/// An effect the shell carries out, in the order in which commands are polled.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Ask the plane whether this registration may be challenged and wait for a slot; the answer
    /// goes to `handle_challenge_answer`.
    AskChallenge(Box<Registration>),
    /// Write a challenge, then report it with `handle_challenge_sent`.
    Challenge(Outgoing),
    /// Begin the inner TLS handshake (the control plane is the client).
    StartInnerTls,
    /// The session is attested: let traffic in, with so many streams at most. Comes right before
    /// the `Send` of `status ok attested`.
    OpenTraffic {
        /// Streams this tunnel may have open.
        credits: u32,
    },
    /// The agent changed how many streams this tunnel may have open.
    SetCredits(u32),
    /// Write a message.
    Send(Outgoing),
    /// Have evidence appraised; the verdict goes to `handle_verdict` with the request's nonce.
    Verify(Box<VerificationRequest>),
    /// Tell the plane.
    Emit(Event),
    /// Send a WebSocket ping; the pong goes to `handle_pong`.
    Ping,
    /// Close the WebSocket. No command follows.
    Close(Close),
}

/// A message on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// What to say.
    pub message: ControlMessage,
    /// Whether it goes out with sequence number and MAC.
    pub protection: Protection,
}

/// Whether control messages carry a sequence number and a MAC (TUNNEL 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Before `attested`, and on tunnels without inner TLS.
    Plain,
    /// From the first `status ok attested` on, on tunnels with inner TLS.
    Mac,
}

/// How the WebSocket is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// TUNNEL 2.1, "Close codes".
    pub code: u16,
    /// The status reason; at most 123 bytes, as RFC 6455 allows.
    pub reason: String,
}

/// Done, nothing wrong.
pub const CLOSE_DONE: u16 = 1000;
/// The agent drained.
pub const CLOSE_AGENT_DRAINED: u16 = 1001;
/// Policy: the close reason is the status reason.
pub const CLOSE_POLICY: u16 = 1008;
/// The server drains; never a miss.
pub const CLOSE_SERVER_DRAINS: u16 = 1012;
/// Overloaded: come back later.
pub const CLOSE_OVERLOADED: u16 = 1013;

/// Evidence to appraise, with everything the session knows that the message must not say itself.
#[derive(Debug, Clone, PartialEq)]
pub struct VerificationRequest {
    /// What the agent registered as.
    pub registration: Registration,
    /// The open challenge's nonce; the verdict must carry it.
    pub nonce: Nonce,
    /// The open challenge's reason.
    pub reason: ChallengeReason,
    /// The session's own view of the channel.
    pub binding: Binding,
    /// SHA-256 of each live token of the node; if there is one, `node_proof` is demanded.
    pub node_keys: Vec<Digest>,
    /// The agent's answer.
    pub response: AttestResponse,
    /// When the answer arrived.
    pub received_at: Timestamp,
    /// Whether this session has passed before: only then can a failure be a breach.
    pub attested_before: Attested,
}

/// Whether a session has passed an attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attested {
    /// It has.
    Yes,
    /// Not yet.
    No,
}

/// Why the agent is challenged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeReason {
    /// It registered.
    Register,
    /// The interval passed.
    Periodic,
    /// Allowlist, policy or collateral changed.
    Policy,
}

impl ChallengeReason {
    /// The word in `attest_request.reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Periodic => "periodic",
            Self::Policy => "policy",
        }
    }
}

/// What happened, for the plane.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first attestation passed: decide whether the node joins. Only this event is answered,
    /// with an [`Admission`].
    Attested(Box<AttestedRegistration>),
    /// A later attestation passed.
    Reattested(Box<AttestationResult>),
    /// An attempt to join was refused; it had no effect on anything another session holds.
    Refused(Box<RefusedRegistration>),
    /// An attested session failed an attestation.
    Failed(Failure),
    /// A re-attestation could not be judged; nobody's fault here.
    Waiting(Failure),
    /// The first evidence of a session could not be judged, but the session proved the node's
    /// token: the node is back and waits for a verdict.
    WaitingToJoin(ProvenNode, Failure),
    /// A heartbeat.
    Health(Heartbeat),
    /// No heartbeat came in time.
    HealthTimedOut,
    /// The agent set how many streams this tunnel may have open.
    Credits(u32),
    /// The agent is about to leave: nothing new goes to this tunnel.
    Draining,
    /// The agent answered a ping that the plane asked for.
    Alive,
    /// The session, once attested, is over.
    Closed,
}

/// What a heartbeat says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Whether the agent's probe of the backend passed.
    pub word: HealthWord,
    /// Streams being served, by the agent's count.
    pub inflight: Option<u32>,
    /// Load in thousandths, by the agent's measure.
    pub load_permille: Option<u32>,
}

/// The outcome of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthWord {
    /// The backend is well.
    Pass,
    /// It is not.
    Fail,
}

/// A registration whose evidence passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestedRegistration {
    /// Who it is.
    pub registration: Registration,
    /// What was established.
    pub result: AttestationResult,
    /// SHA-256 of the agent's inner TLS key, if there is an inner TLS.
    pub agent_key: Option<Digest>,
    /// Whether a node token was proved.
    pub node_proof: NodeProof,
    /// What is known of a living holder of the node id.
    pub holder: Holder,
}

/// Whether the agent proved to hold a token of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeProof {
    /// It did.
    Proved,
    /// The node has no token.
    NotRegistered,
}

/// What is known of a session that holds the node id already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody asked it yet.
    NotAsked,
    /// It was pinged and did not answer in time.
    Silent,
}

/// A registration that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRegistration {
    /// Who it claimed to be: nothing in it is proved.
    pub registration: Registration,
    /// Why.
    pub refusal: SessionRefusal,
}

/// Whether a registration may be challenged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChallengeAnswer {
    /// It may, and a slot is held for it.
    Granted {
        /// SHA-256 of each live token of the node.
        node_keys: Vec<Digest>,
    },
    /// It may not.
    Refused(SessionRefusal),
}

/// Whether an attested registration joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It does; the tunnel is routable.
    Joined {
        /// When the registration ends.
        expires_at: Timestamp,
    },
    /// A living session may hold the node id; it was pinged.
    HolderAsked,
    /// It does not.
    Refused(SessionRefusal),
    /// The store did not take it: not the agent's fault, it will be challenged again.
    Deferred(Failure),
}

/// What the plane tells a session to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Find out whether the agent lives: another session wants its node id.
    Ping,
    /// The holder of the node id answered: this newcomer is refused.
    HolderAlive,
    /// Close for this reason.
    Close(SessionRefusal),
    /// The control plane shuts down: ask the agent to reconnect elsewhere.
    Drain,
    /// The shutdown is over: close now.
    Shutdown,
    /// Challenge again, for the policy or its inputs changed.
    Reattest,
}

/// How the inner TLS handshake went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InnerTlsOutcome {
    /// It completed.
    Established(Channel),
    /// It did not.
    Failed,
}

/// What ties evidence to the inner TLS session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// 32 bytes under `EXPORTER-Channel-Binding`, no context (RFC 9266).
    pub exporter: [u8; 32],
    /// SHA-256 of the agent's SPKI (DER).
    pub agent_spki: Digest,
    /// SHA-256 of our tunnel key's SPKI (DER).
    pub control_spki: Digest,
}

/// What the transport saw that no agent may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Binary data before it is allowed, or more than the handshake may need.
    BinaryNotAllowed,
    /// The inner TLS session broke.
    InnerTlsFailed,
    /// A control message without a valid MAC or sequence number.
    ControlMacInvalid,
}

/// Which binary payload may arrive now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryGate {
    /// None.
    Closed,
    /// Inner TLS handshake bytes only, at most 16 KiB.
    Handshake,
    /// Everything.
    Open,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Connected, has not said who it is.
    AwaitingRegister,
    /// Registered, not yet attested.
    Attesting,
    /// Attested and routable.
    Active,
    /// Over.
    Closed,
}
