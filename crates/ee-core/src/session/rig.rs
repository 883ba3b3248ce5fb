//! A session under test: a clock that moves by hand, messages as agents write them.

use std::{sync::Arc, time::Duration};

use ee_protocol::{
    report_data::Nonce,
    time::Timestamp,
    tunnel::{
        AgentMessage, AttestRequest, AttestResponse, ControlMessage, Health, Register, Status,
    },
};

use super::*;
use crate::attestation::{
    AttestationResult, BindingStrength, Pinning, Provenance, TcbStatus, Verdict,
};

/// SHA-256 of the control plane's key in these tests.
pub(crate) const CONTROL_KEY: [u8; 32] = [0x55; 32];

pub(crate) fn start() -> Timestamp {
    Timestamp::from_unix_seconds(1_770_000_000)
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn policy() -> LivePolicy {
    LivePolicy::with_defaults(CONTROL_KEY)
}

pub(crate) fn register() -> Register {
    Register {
        repo: "org/repo".into(),
        release_tag: "v0.1.3".into(),
        app_name: "myapp".into(),
        network: "forge-1".into(),
        agent_id: "uuid".into(),
        tunnel_version: Some("2".into()),
        capabilities: vec!["h2".into(), "ws".into(), "itls".into()],
        instance: Some("boot-1".into()),
        max_inflight: Some(8),
        ..Register::default()
    }
}

pub(crate) fn channel() -> Channel {
    Channel {
        exporter: [0xa5; 32],
        agent_spki: [0x44; 32],
        control_spki: CONTROL_KEY,
    }
}

pub(crate) fn result(at: Timestamp) -> AttestationResult {
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

pub(crate) struct Rig {
    pub(crate) session: Session,
    pub(crate) now: Timestamp,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(policy())
    }

    pub(crate) fn with(policy: LivePolicy) -> Self {
        let now = start();
        Self {
            session: Session::new(Arc::new(policy), [9; 32], now),
            now,
        }
    }

    /// A session that has joined, with nothing left to poll.
    pub(crate) fn active() -> Self {
        let mut rig = Self::new();
        rig.attest();
        rig.commands();
        rig
    }

    pub(crate) fn attest(&mut self) {
        let nonce = self.challenged();
        self.answer(&nonce);
        self.verdict(&nonce, Verdict::Pass(Box::new(result(self.now))));
        self.admit();
    }

    /// Registers, gets a slot, completes the handshake; returns the open challenge's nonce.
    pub(crate) fn challenged(&mut self) -> Nonce {
        self.register(&register());
        self.grant();
        let nonce = self.nonce();
        self.session.handle_challenge_sent(self.now);
        self.session
            .handle_inner_tls(self.now, InnerTlsOutcome::Established(channel()));
        nonce
    }

    pub(crate) fn register(&mut self, register: &Register) {
        self.says(AgentMessage::Register(register.clone()));
    }

    pub(crate) fn says(&mut self, message: AgentMessage) {
        self.session.handle_message(self.now, Ok(message));
    }

    pub(crate) fn grant(&mut self) {
        let answer = ChallengeAnswer::Granted {
            node_keys: Vec::new(),
        };
        self.session.handle_challenge_answer(self.now, answer);
    }

    pub(crate) fn answer(&mut self, nonce: &Nonce) {
        self.says(AgentMessage::AttestResponse(Box::new(AttestResponse {
            nonce: hex::encode(nonce),
            quote: Some("AAAA".into()),
            ..AttestResponse::default()
        })));
    }

    pub(crate) fn agent_error(&mut self, nonce: &Nonce) {
        self.says(AgentMessage::AttestResponse(Box::new(AttestResponse {
            nonce: hex::encode(nonce),
            error: Some("quote_busy".into()),
            ..AttestResponse::default()
        })));
    }

    pub(crate) fn health(&mut self) {
        self.says(AgentMessage::Health(Health::pass()));
    }

    pub(crate) fn verdict(&mut self, nonce: &Nonce, verdict: Verdict) {
        self.session.handle_verdict(self.now, *nonce, verdict);
    }

    pub(crate) fn admit(&mut self) {
        let expires_at = self.now.after(policy().registration_ttl);
        self.session
            .handle_admission(self.now, Admission::Joined { expires_at });
    }

    pub(crate) fn pass_time(&mut self, span: Duration) {
        self.now = self.now.after(span);
        self.session.handle_timeout(self.now);
    }

    /// Moves to the session's next deadline.
    pub(crate) fn next_deadline(&mut self) {
        self.now = self
            .session
            .poll_timeout()
            .expect("an open session has a deadline");
        self.session.handle_timeout(self.now);
    }

    pub(crate) fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.session.poll_command()).collect()
    }

    /// The nonce of the one challenge among the commands.
    pub(crate) fn nonce(&mut self) -> Nonce {
        let requests = challenges(&self.commands());
        assert_eq!(requests.len(), 1, "one challenge");
        let bytes = hex::decode(&requests[0].nonce).expect("hexadecimal");
        bytes.try_into().expect("32 bytes")
    }
}

/// The one element.
pub(crate) fn only<T: std::fmt::Debug>(mut items: Vec<T>) -> T {
    assert_eq!(items.len(), 1, "{items:?}");
    items.remove(0)
}

pub(crate) fn challenges(commands: &[Command]) -> Vec<AttestRequest> {
    let request = |command: &Command| {
        let Command::Challenge(Outgoing { message, .. }) = command else {
            return None;
        };
        let ControlMessage::AttestRequest(request) = message else {
            return None;
        };
        Some(request.clone())
    };
    commands.iter().filter_map(request).collect()
}

pub(crate) fn statuses(commands: &[Command]) -> Vec<Status> {
    let status = |command: &Command| {
        let Command::Send(Outgoing { message, .. }) = command else {
            return None;
        };
        let ControlMessage::Status(status) = message else {
            return None;
        };
        Some(status.clone())
    };
    commands.iter().filter_map(status).collect()
}

pub(crate) fn reasons(commands: &[Command]) -> Vec<String> {
    statuses(commands)
        .into_iter()
        .map(|status| status.reason)
        .collect()
}

pub(crate) fn events(commands: &[Command]) -> Vec<Event> {
    let event = |command: &Command| {
        let Command::Emit(event) = command else {
            return None;
        };
        Some(event.clone())
    };
    commands.iter().filter_map(event).collect()
}

pub(crate) fn closes(commands: &[Command]) -> Option<(u16, String)> {
    match commands.last() {
        Some(Command::Close(Close { code, reason })) => Some((*code, reason.clone())),
        _ => None,
    }
}
