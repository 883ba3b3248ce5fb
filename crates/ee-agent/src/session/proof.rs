//! From a challenge to the answer: whom the agent proves itself to, and what it proves.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ee_protocol::{
    names::Network,
    report_data::{Binding, Digest, Nonce, ReportData, node_proof},
    time::Timestamp,
    tunnel::{AttestRequest, AttestResponse, InnerTlsMode, TunnelOffer},
};

use super::{Challenge, Channel, Command, Session};
use crate::{identity::Identity, quote::QuoteBundle};

/// Inner TLS is one round trip; the control plane gives up after the same time (TUNNEL 3.1).
const INNER_TLS_DEADLINE: Duration = Duration::from_secs(10);
/// The quote must be done this long before the control plane's deadline (ATTESTATION 7), or half
/// the time where the deadline is short.
const QUOTE_RESERVE: Duration = Duration::from_secs(5);

impl Session {
    pub(super) fn handle_challenge(&mut self, now: Timestamp, request: AttestRequest) {
        let Some(nonce) = parse_nonce(&request.nonce) else {
            return self.close(1008, "nonce_mismatch");
        };
        let budget = Duration::from_secs(u64::from(request.deadline_s));
        self.challenge = Some(Challenge {
            nonce,
            reason: request.reason,
            control_key: request.cp_key,
            quote_by: now.after(budget - QUOTE_RESERVE.min(budget / 2)),
            report_data: None,
        });
        match (&self.channel, request.tunnel) {
            (Channel::Unknown, Some(offer)) => self.handle_offer(now, &offer),
            // The prototype's control plane: its framing is not spoken here.
            (Channel::Unknown, None) => self.close(1008, "legacy_framing_unsupported"),
            (Channel::Handshaking { .. }, _) => {}
            (Channel::Ready(_), _) => self.ask_for_quote(now),
        }
    }

    fn handle_offer(&mut self, now: Timestamp, offer: &TunnelOffer) {
        if offer.version != 2 || offer.mux != "h2" {
            return self.close(1008, "tunnel_version_unsupported");
        }
        if offer.epochs {
            self.commands.push_back(Command::UseEpochs);
        }
        match offer.inner_tls {
            InnerTlsMode::Required => {
                self.channel = Channel::Handshaking {
                    deadline: now.after(INNER_TLS_DEADLINE),
                };
                self.commands.push_back(Command::ExpectInnerTls);
            }
            // Without inner TLS nobody proves the control plane's key, and whoever ends the
            // outer TLS reads the traffic: production and pinned agents do not agree to that.
            InnerTlsMode::Off
                if self.identity.network == Network::Forge1
                    || !self.identity.control_keys.is_empty() =>
            {
                self.close(1008, "inner_tls_required");
            }
            InnerTlsMode::Off => {
                self.channel = Channel::Ready(Binding::None);
                self.commands.push_back(Command::ExpectPlain);
                self.ask_for_quote(now);
            }
        }
    }

    /// Both the challenge and the channel are known: check whom we would prove ourselves to, and
    /// ask for the quote.
    pub(super) fn ask_for_quote(&mut self, now: Timestamp) {
        let (Channel::Ready(binding), Some(challenge)) = (&self.channel, &mut self.challenge)
        else {
            return;
        };
        if !is_expected_control(&self.identity, binding, challenge.control_key.as_deref()) {
            return self.close(1008, "control_key_refused");
        }
        let bound = self
            .identity
            .binding_digest(&challenge.nonce, &challenge.reason, binding);
        let report_data = ReportData::new(&self.claims.digest(), &bound);
        challenge.report_data = Some(report_data);
        self.commands.push_back(Command::Quote {
            nonce: challenge.nonce,
            report_data,
            budget: challenge.quote_by.since(now),
        });
    }

    pub(super) fn answer(
        &self,
        nonce: &Nonce,
        report_data: &ReportData,
        bundle: QuoteBundle,
    ) -> AttestResponse {
        let token = self.identity.node_token.as_ref();
        let (binding, session_key) = match &self.channel {
            Channel::Ready(Binding::TlsExporter { agent_spki, .. }) => {
                ("tls-exporter", Some(hex::encode(agent_spki)))
            }
            Channel::Ready(Binding::None) | Channel::Unknown | Channel::Handshaking { .. } => {
                ("none", None)
            }
        };
        AttestResponse {
            nonce: hex::encode(nonce),
            quote: Some(STANDARD.encode(bundle.quote)),
            report_data: Some(hex::encode(report_data.0)),
            measurements: serde_json::to_value(&*self.claims).ok(),
            binding: Some(binding.to_owned()),
            session_key,
            event_log: bundle.event_log,
            collateral: None,
            node_proof: token
                .map(|token| hex::encode(node_proof(token.expose(), nonce, report_data))),
            error: None,
        }
    }
}

/// Whether the other end of the inner TLS is the control plane that this agent wants.
fn is_expected_control(identity: &Identity, binding: &Binding, named: Option<&str>) -> bool {
    let Binding::TlsExporter { control_spki, .. } = binding else {
        return true;
    };
    let named_key: Option<Digest> = named
        .and_then(|text| hex::decode(text).ok())
        .and_then(|bytes| bytes.try_into().ok());
    named_key == Some(*control_spki)
        && (identity.control_keys.is_empty() || identity.control_keys.contains(control_spki))
}

fn parse_nonce(text: &str) -> Option<Nonce> {
    hex::decode(text).ok()?.try_into().ok()
}
