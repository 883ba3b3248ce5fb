//! Text of an agent, and text of a control plane: parsing, the MAC, and a session that hears it.

use std::sync::Arc;

use ee_core::{
    attestation::{AttestationResult, BindingStrength, Pinning, Provenance, TcbStatus, Verdict},
    policy::LivePolicy,
    session::{Admission, ChallengeAnswer, Channel, Command, InnerTlsOutcome, Outgoing, Session},
};
use ee_protocol::{
    control_mac::{ControlMac, Sender},
    time::Timestamp,
    tunnel::{AgentMessage, ControlMessage},
};

use super::text;
use crate::{Target, seeds};

pub const TARGET: Target = Target {
    name: "control-messages",
    about: "control messages of the tunnel, one a line",
    run,
    seeds: story,
    longest: 8 * 1024,
    floor: 1500,
};

/// Stands in an input for the nonce of the last challenge.
const NONCE: &str = "NONCE";
const KEY: [u8; 32] = [0xa5; 32];

fn story() -> Vec<Vec<u8>> {
    let register = r#"{"type":"register","repo":"org/repo","release_tag":"v0.1.3","app_name":"myapp","network":"forge-1","agent_id":"uuid","tunnel_version":"2","capabilities":["h2","ws","itls"],"instance":"boot-1","max_inflight":8,"vcpus":2,"node_id":"n-1"}"#;
    let answer = r#"{"type":"attest_response","nonce":"NONCE","quote":"AAAA","report_data":"00","measurements":{"sealed":true},"event_log":[],"binding":"tls-exporter"}"#;
    let health = r#"{"type":"health","status":"pass","inflight":3,"load_permille":250}"#;
    let rest = [
        r#"{"type":"credits","max_inflight":48}"#,
        r#"{"type":"drain","reason":"restart","reconnect_after_ms":[0,15000]}"#,
        r#"{"type":"attest_response","nonce":"NONCE","error":"quote_busy"}"#,
        r#"{"type":"attest_request","nonce":"00ff","deadline_s":30,"reason":"register","v":2,"binding":"tls-exporter","cp_key":"00","tunnel":{"version":2,"mux":"h2","inner_tls":"required","epochs":false,"max_text":2097152,"peers":[]}}"#,
        r#"{"type":"status","state":"invalid","reason":"measurement_mismatch:rtmr2","detail":[],"retry_after_ms":5}"#,
        "[[[[]]]]",
    ];
    let mut seeds = seeds::texts(&rest);
    seeds.push(
        [register, answer, health, rest[0], rest[1]]
            .join("\n")
            .into_bytes(),
    );
    seeds.push([register, rest[2], register].join("\n").into_bytes());
    let mut mac = ControlMac::new(&KEY, Sender::Agent);
    let sealed = [mac.seal(health), mac.seal(rest[0])];
    seeds.push(sealed.join("\n").into_bytes());
    seeds
}

fn run(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let mut opening = ControlMac::new(&KEY, Sender::Agent);
    let mut sealing = ControlMac::new(&KEY, Sender::Agent);
    let mut session = Heard::new();
    for line in text.split('\n') {
        if let Ok(message) = AgentMessage::parse(line) {
            let again = AgentMessage::parse(&message.to_json());
            assert_eq!(
                again.as_ref(),
                Ok(&message),
                "an agent's message reads back the same"
            );
        }
        if let Ok(message) = ControlMessage::parse(line) {
            let again = ControlMessage::parse(&message.to_json());
            assert_eq!(
                again.as_ref(),
                Ok(&message),
                "our message reads back the same"
            );
        }
        if let Ok(covered) = opening.open(line) {
            let seq = covered.rfind(",\"seq\":").or(covered.rfind("\"seq\":"));
            let plain = format!("{}}}", &covered[..seq.expect("it carries a number")]);
            assert_eq!(
                sealing.seal(&plain),
                line,
                "only what the key made is taken"
            );
        }
        session.hears(line);
    }
}

/// A session whose owner does at once whatever it is told.
struct Heard {
    session: Session,
    now: Timestamp,
    nonce: String,
    closed: bool,
}

impl Heard {
    fn new() -> Self {
        let now = Timestamp::from_unix_seconds(1_790_000_000);
        let policy = Arc::new(LivePolicy::with_defaults([0x55; 32]));
        Self {
            session: Session::new(policy, [9; 32], now),
            now,
            nonce: String::new(),
            closed: false,
        }
    }

    fn hears(&mut self, line: &str) {
        let line = line.replace(NONCE, &self.nonce);
        self.session
            .handle_message(self.now, AgentMessage::parse(&line));
        while let Some(command) = self.session.poll_command() {
            assert!(!self.closed, "nothing follows a close: {command:?}");
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        let now = self.now;
        match command {
            Command::AskChallenge(_) => {
                let node_keys = Vec::new();
                self.session
                    .handle_challenge_answer(now, ChallengeAnswer::Granted { node_keys });
            }
            Command::Challenge(outgoing) => {
                self.remember(&outgoing);
                self.session.handle_challenge_sent(now);
            }
            Command::StartInnerTls => {
                let channel = Channel {
                    exporter: [0xa5; 32],
                    agent_spki: [0x44; 32],
                    control_spki: [0x55; 32],
                };
                self.session
                    .handle_inner_tls(now, InnerTlsOutcome::Established(channel));
            }
            Command::Verify(request) => {
                let verdict = Verdict::Pass(Box::new(passed(now)));
                self.session.handle_verdict(now, request.nonce, verdict);
                let expires_at = Timestamp::FAR_FUTURE;
                self.session
                    .handle_admission(now, Admission::Joined { expires_at });
            }
            Command::Close(_) => self.closed = true,
            Command::Send(outgoing) => {
                let text = outgoing.message.to_json();
                assert_eq!(
                    ControlMessage::parse(&text),
                    Ok(outgoing.message),
                    "agents can read us"
                );
            }
            Command::OpenTraffic { .. }
            | Command::SetCredits(_)
            | Command::Emit(_)
            | Command::Ping => {}
        }
    }

    fn remember(&mut self, outgoing: &Outgoing) {
        if let ControlMessage::AttestRequest(request) = &outgoing.message {
            self.nonce.clone_from(&request.nonce);
        }
    }
}

fn passed(at: Timestamp) -> AttestationResult {
    AttestationResult {
        at,
        trust_root: "simulated".into(),
        sealed: true,
        binding: BindingStrength::Channel,
        pinning: Pinning::Full,
        provenance: Provenance::Local,
        allowlist_digest: [1; 32],
        allowlist_entry: String::new(),
        tcb_status: TcbStatus::UpToDate,
        tcb_date: at,
        advisories: Vec::new(),
        flagged: false,
        tcb_eval_data_number: 20,
        evidence_digest: [2; 32],
        collateral_expires_at: Timestamp::FAR_FUTURE,
        platform: None,
    }
}
