//! Stage 4, binding: the quote answers this challenge, on this connection, for this app.

use ee_core::attestation::{AttestationCode as Code, BindingStrength, Failure};
use ee_protocol::{
    refusal::Refusal,
    report_data::{Binding, BindingFields},
};

use crate::{evidence::Evidence, quote::ParsedQuote};

/// Compares report data, workload digest and binding digest; says how firm the binding is.
///
/// `fields` describe the challenge as the control plane sent it. On a session with inner TLS
/// (`Binding::TlsExporter`) a quote that binds the nonce alone counts as `Nonce`.
pub fn check(
    quote: &ParsedQuote,
    evidence: &Evidence,
    fields: &BindingFields<'_>,
    at_least: BindingStrength,
) -> Result<BindingStrength, Failure> {
    let signed = quote.report_data();
    if *signed != evidence.report_data {
        return Err(mismatch(
            Code::ReportDataMismatch,
            &evidence.report_data.0,
            &signed.0,
            "Send the report_data that the quote was made with.",
        ));
    }
    let workload = evidence.claims.digest();
    if signed.workload() != workload {
        return Err(mismatch(
            Code::WorkloadDigestMismatch,
            &workload,
            signed.workload(),
            "Begin report_data with the SHA-256 of the measurements that you send.",
        ));
    }
    let strength = strength(signed.binding(), fields);
    match strength {
        Some(strength) if strength >= at_least => Ok(strength),
        Some(strength) => Err(required(strength, at_least)),
        None => Err(mismatch(
            Code::BindingMismatch,
            &fields.digest(),
            signed.binding(),
            "Quote anew for each challenge, over the nonce, names and TLS session of this one.",
        )),
    }
}

/// `None` if the digest belongs to another challenge, connection or registration.
fn strength(binding: &[u8], fields: &BindingFields<'_>) -> Option<BindingStrength> {
    if binding.iter().all(|byte| *byte == 0) {
        return Some(BindingStrength::None);
    }
    let nonce_only = BindingFields {
        binding: &Binding::None,
        ..*fields
    };
    match fields.binding {
        Binding::TlsExporter { .. } if binding == fields.digest() => Some(BindingStrength::Channel),
        Binding::TlsExporter { .. } | Binding::None => {
            (binding == nonce_only.digest()).then_some(BindingStrength::Nonce)
        }
    }
}

fn mismatch(code: Code, expected: &[u8], actual: &[u8], hint: &str) -> Failure {
    Failure::new(code).explained(
        Refusal::new(code.as_str(), "report_data", hint)
            .compared(hex::encode(expected), hex::encode(actual)),
    )
}

fn required(actual: BindingStrength, expected: BindingStrength) -> Failure {
    let code = Code::BindingRequired;
    let hint = "Bind the challenge: put the binding digest of ATTESTATION 2 into report_data, \
                with the inner TLS session where the network asks for `channel`.";
    Failure::new(code).explained(
        Refusal::new(code.as_str(), "binding", hint).compared(expected.as_str(), actual.as_str()),
    )
}
