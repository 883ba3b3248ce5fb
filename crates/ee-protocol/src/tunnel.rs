//! The tunnel's control messages: JSON in WebSocket text frames (TUNNEL 2, ATTESTATION 2).
//!
//! The seed's field names hold word for word; golden files beside the tests pin them. Unknown
//! fields are ignored in both directions: that is what negotiation rides on. Names arrive as
//! plain text here and are parsed by the session, which answers each wrong one by its field.

use serde::{Deserialize, Deserializer, Serialize};

use crate::depth::{deeper_than, has_more_parts_than};
use crate::refusal::Refusal;

/// Depth of nesting a control message may have (ATTESTATION 11).
pub const JSON_DEPTH_MAX: usize = 32;
/// Most arrays, objects and commas in a message: a full event log of 4 096 events with five members
/// has some 25 000. A parsed value takes up to a hundred times its two bytes of text, so without
/// this limit 2 MiB of `0,0,0` from a stranger would become 200 MiB.
pub const JSON_PARTS_MAX: usize = 32_768;
/// `tunnel_version` of agents that speak this protocol; the prototype's say `"1"`.
pub const TUNNEL_VERSION: &str = "2";

/// A text frame that is no message of ours. The names are the `status.reason` words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not JSON, not an object, or nested too deeply.
    #[error("invalid_json")]
    InvalidJson,
    /// An object whose `type` is none of ours.
    #[error("unknown_message")]
    UnknownMessage,
    /// A known type with a member of the wrong kind.
    #[error("invalid_field:{0}")]
    InvalidField(&'static str),
}

/// What an agent says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AgentMessage {
    /// Who it is and what it serves.
    Register(Register),
    /// The answer to a challenge.
    AttestResponse(Box<AttestResponse>),
    /// The outcome of its probe of the backend.
    Health(Health),
    /// How many streams this tunnel may have open.
    Credits(Credits),
    /// It is about to leave.
    Drain(Drain),
}

/// What the control plane says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ControlMessage {
    /// A challenge.
    AttestRequest(AttestRequest),
    /// The outcome of something the agent did.
    Status(Status),
    /// The control plane is about to leave, or wants the agent to reconnect.
    Drain(Drain),
}

/// `register`. The first six fields are the seed's; each may be absent on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Register {
    /// `owner/name` on GitHub.
    #[serde(default, deserialize_with = "lenient_text")]
    pub repo: String,
    /// The release whose allowlist applies.
    #[serde(default, deserialize_with = "lenient_text")]
    pub release_tag: String,
    /// The app to serve.
    #[serde(default, deserialize_with = "lenient_text")]
    pub app_name: String,
    /// The network; absent means `forge-1`.
    #[serde(default = "default_network", deserialize_with = "lenient_text")]
    pub network: String,
    /// The agent's id.
    #[serde(default, deserialize_with = "lenient_text")]
    pub agent_id: String,
    /// Defaults to the agent's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// `"2"` for this protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_version: Option<String>,
    /// `h2`, `ws`, `itls`, `epochs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Random per boot of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Streams the agent can serve at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_inflight: Option<u32>,
    /// Virtual CPUs of the VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
}

fn default_network() -> String {
    "forge-1".to_owned()
}

/// The seed's names: null counts as absent; another kind of value is a wrong field, reported by
/// the session because empty text is never a valid name.
fn lenient_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_null() => String::new(),
        None => value.to_string(),
    })
}

/// `attest_request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestRequest {
    /// 32 bytes in lower-case hexadecimal; opaque to agents.
    pub nonce: String,
    /// Seconds to answer in, from the moment the request was sent.
    pub deadline_s: u32,
    /// `register`, `periodic` or `policy`.
    pub reason: String,
    /// Version of the attestation protocol: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v: Option<u32>,
    /// What to bind: `tls-exporter` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    /// SHA-256 of the control plane's tunnel key (SPKI DER), lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cp_key: Option<String>,
    /// How this tunnel will work; absent for legacy agents and in re-attestation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelOffer>,
}

/// `attest_request.tunnel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelOffer {
    /// 2.
    pub version: u32,
    /// `h2`.
    pub mux: String,
    /// Whether an inner TLS 1.3 session carries the HTTP/2.
    pub inner_tls: InnerTlsMode,
    /// Whether the HTTP/2 session may hibernate (TUNNEL 3.3).
    pub epochs: bool,
    /// Longest text the server takes while a challenge is open, in bytes.
    pub max_text: u32,
    /// Reserved for other replicas.
    #[serde(default)]
    pub peers: Vec<String>,
}

/// Whether the tunnel has an inner TLS session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InnerTlsMode {
    /// The ClientHello follows the request at once.
    Required,
    /// HTTP/2 in the clear inside the (outer) WebSocket.
    Off,
}

/// `attest_response`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AttestResponse {
    /// The challenge's nonce.
    #[serde(default, deserialize_with = "lenient_text")]
    pub nonce: String,
    /// The quote in base64 (standard alphabet, padded).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// 128 hexadecimal digits, equal to the quote's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_data: Option<String>,
    /// Claims; `WorkloadClaims` after a strict parse by the verifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurements: Option<serde_json::Value>,
    /// Echo of the binding, for diagnosis only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    /// Hash of the agent's session key, for diagnosis only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// Events that explain the runtime registers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_log: Option<serde_json::Value>,
    /// A collateral bundle: one more untrusted mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collateral: Option<serde_json::Value>,
    /// Proof of the node's token, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_proof: Option<String>,
    /// In place of a quote: `quote_busy`, `quote_timeout`, `quote_failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `health`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Health {
    /// `pass`; absent means pass, any other word means fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Streams being served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inflight: Option<u32>,
    /// Load in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_permille: Option<u32>,
}

impl Health {
    /// A message that says the probe passed.
    pub fn pass() -> Self {
        Self {
            status: Some("pass".to_owned()),
            ..Self::default()
        }
    }

    /// A message that says the probe failed.
    pub fn fail() -> Self {
        Self {
            status: Some("fail".to_owned()),
            ..Self::default()
        }
    }

    /// Whether the agent says that its backend is well.
    pub fn passes(&self) -> bool {
        self.status.as_deref().is_none_or(|word| word == "pass")
    }
}

/// `credits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credits {
    /// Upper bound of open streams on this tunnel.
    pub max_inflight: u32,
}

/// `drain`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Drain {
    /// `restart`, `registration`, `shutdown`, …
    #[serde(default)]
    pub reason: String,
    /// Window, in milliseconds from now, to spread reconnections over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnect_after_ms: Option<[u32; 2]>,
}

/// `status.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusState {
    /// It worked.
    Ok,
    /// It did not, and it is the agent's to mend.
    Invalid,
    /// Not decided yet, through no fault of the agent.
    Pending,
}

/// `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// How it went.
    pub state: StatusState,
    /// Stable word: `attested`, `nonce_mismatch`, `measurement_mismatch:rtmr2`, …
    pub reason: String,
    /// What failed, expected and seen, and what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<Refusal>,
    /// When to try again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl AgentMessage {
    /// Parses a text frame of an agent.
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        parse(
            text,
            &["register", "attest_response", "health", "credits", "drain"],
        )
    }

    /// The text frame.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("messages hold only text, numbers and JSON values")
    }
}

impl ControlMessage {
    /// Parses a text frame of the control plane.
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        parse(text, &["attest_request", "status", "drain"])
    }

    /// The text frame.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("messages hold only text, numbers and JSON values")
    }
}

fn parse<'a, M: Deserialize<'a>>(text: &'a str, types: &[&'static str]) -> Result<M, MessageError> {
    if !text.trim_start().starts_with('{')
        || deeper_than(text.as_bytes(), JSON_DEPTH_MAX)
        || has_more_parts_than(text, JSON_PARTS_MAX)
    {
        return Err(MessageError::InvalidJson);
    }
    match serde_json::from_str(text) {
        Ok(message) => Ok(message),
        Err(_) => Err(explain(text, types)),
    }
}

/// Names what is wrong with a text that is none of our messages.
fn explain(text: &str, types: &[&'static str]) -> MessageError {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else {
        return MessageError::InvalidJson;
    };
    let tag = value.get("type").and_then(serde_json::Value::as_str);
    match types.iter().find(|known| tag == Some(**known)) {
        None => MessageError::UnknownMessage,
        Some(known) => MessageError::InvalidField(first_wrong_field(known, &value)),
    }
}

/// The first member, in the order of the message, whose kind is wrong.
fn first_wrong_field(message: &str, value: &serde_json::Value) -> &'static str {
    use serde_json::Value;
    let text = |v: &Value| v.is_string() || v.is_null();
    let u32_number = |v: &Value| v.as_u64().is_some_and(|n| u32::try_from(n).is_ok());
    let optional_number = |v: &Value| v.is_null() || u32_number(v);
    let texts = |v: &Value| v.as_array().is_some_and(|a| a.iter().all(Value::is_string));
    type Check<'a> = (&'static str, &'a dyn Fn(&Value) -> bool);
    let checks: &[Check<'_>] = match message {
        "register" => &[
            ("node_id", &text),
            ("tunnel_version", &text),
            ("capabilities", &texts),
            ("instance", &text),
            ("max_inflight", &optional_number),
            ("vcpus", &optional_number),
        ],
        "attest_response" => &[
            ("quote", &text),
            ("report_data", &text),
            ("binding", &text),
            ("session_key", &text),
            ("node_proof", &text),
            ("error", &text),
        ],
        "health" => &[
            ("status", &text),
            ("inflight", &optional_number),
            ("load_permille", &optional_number),
        ],
        "credits" => &[("max_inflight", &u32_number)],
        _ => &[],
    };
    let wrong = |(name, good): &&Check<'_>| match value.get(name) {
        Some(member) => !good(member),
        None => *name == "max_inflight" && message == "credits",
    };
    checks
        .iter()
        .find(wrong)
        .map_or("message", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_would_grow_in_memory_is_refused() {
        let with_log = |events: &str| {
            let text = format!(
                r#"{{"type":"attest_response","nonce":"00ff","quote":"AAAA","event_log":[{events}]}}"#
            );
            AgentMessage::parse(&text).map(drop)
        };
        for event in ["0", "{}", "[[[[]]]]"] {
            let flood = vec![event; JSON_PARTS_MAX].join(",");
            assert_eq!(with_log(&flood), Err(MessageError::InvalidJson), "{event}");
        }
        let event = r#"{"imr":3,"event_type":1,"digest":"a,[{","event":"b","event_payload":""}"#;
        assert_eq!(with_log(&vec![event; 4_096].join(",")), Ok(()));
    }

    const SEED_REGISTER: &str = r#"{"type":"register","repo":"org/repo","release_tag":"v0.1.3","app_name":"myapp","network":"forge-1","agent_id":"uuid"}"#;
    const SEED_ATTEST_REQUEST: &str =
        r#"{"type":"attest_request","nonce":"00ff","deadline_s":30,"reason":"register"}"#;
    const SEED_ATTEST_RESPONSE: &str = r#"{"type":"attest_response","nonce":"00ff","quote":"AAAA","report_data":"00","measurements":{}}"#;
    const SEED_HEALTH: &str = r#"{"type":"health","status":"pass"}"#;
    const STATUS: &str = r#"{"type":"status","state":"ok","reason":"attested"}"#;

    #[test]
    fn seed_messages_survive_word_for_word() {
        for text in [SEED_REGISTER, SEED_ATTEST_RESPONSE, SEED_HEALTH] {
            let message = AgentMessage::parse(text).expect("the seed's message");
            assert_eq!(message.to_json(), text);
        }
        for text in [SEED_ATTEST_REQUEST, STATUS] {
            let message = ControlMessage::parse(text).expect("the seed's message");
            assert_eq!(message.to_json(), text);
        }
    }

    #[test]
    fn network_defaults_to_production() {
        let AgentMessage::Register(register) =
            AgentMessage::parse(r#"{"type":"register"}"#).expect("parses")
        else {
            panic!("not a register");
        };
        assert_eq!(register.network, "forge-1");
        assert_eq!(register.repo, "");
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let text = r#"{"type":"health","status":"pass","later":{"a":[1]}}"#;
        assert_eq!(
            AgentMessage::parse(text),
            Ok(AgentMessage::Health(Health::pass()))
        );
    }

    #[test]
    fn garbage_is_named() {
        use MessageError::{InvalidField, InvalidJson, UnknownMessage};
        let deep = format!(
            r#"{{"type":"health","x":{}1{}}}"#,
            "[".repeat(40),
            "]".repeat(40)
        );
        for (text, error) in [
            ("", InvalidJson),
            ("hello", InvalidJson),
            ("[]", InvalidJson),
            ("17", InvalidJson),
            ("{\"type\":", InvalidJson),
            (deep.as_str(), InvalidJson),
            ("{}", UnknownMessage),
            (r#"{"type":7}"#, UnknownMessage),
            (r#"{"type":"hello"}"#, UnknownMessage),
            (r#"{"type":"credits"}"#, InvalidField("max_inflight")),
            (
                r#"{"type":"credits","max_inflight":-1}"#,
                InvalidField("max_inflight"),
            ),
            (
                r#"{"type":"register","capabilities":"h2"}"#,
                InvalidField("capabilities"),
            ),
            (
                r#"{"type":"attest_response","quote":5}"#,
                InvalidField("quote"),
            ),
        ] {
            assert_eq!(AgentMessage::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        let text = format!(r#"{{"type":"health","x":"{}"}}"#, "[\\\"".repeat(100));
        assert!(AgentMessage::parse(&text).is_ok());
    }

    #[test]
    fn absent_health_word_passes_and_any_other_fails() {
        assert!(Health::default().passes());
        assert!(Health::pass().passes());
        assert!(!Health::fail().passes());
        assert!(
            !Health {
                status: Some("PASS".into()),
                ..Health::default()
            }
            .passes()
        );
    }
}
