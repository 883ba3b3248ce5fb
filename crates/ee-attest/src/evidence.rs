//! Stage 1, frame: an `attest_response` becomes `Evidence`.
//!
//! Sizes and shapes only. Everything an agent sends is bounded here before any of it is decoded
//! or compared.

use base64::{Engine, engine::general_purpose::STANDARD};
use ee_core::attestation::{AttestationCode as Code, Failure};
use ee_protocol::{
    refusal::Refusal,
    report_data::{REPORT_DATA_LEN, ReportData, WorkloadClaims},
    tunnel::AttestResponse,
};
use serde_json::{Map, Value};

/// Bytes of a decoded quote (ATTESTATION 11): real ones are 5 KiB, some clouds pad to 8 or more.
pub const QUOTE_DECODED_BYTES_MAX: usize = 160 * 1024;
/// Bytes of the claims' JSON text (ATTESTATION 11).
pub const CLAIMS_BYTES_MAX: usize = 4 * 1024;
/// Bytes of `vm_image_id` (ATTESTATION 11).
pub const VM_IMAGE_ID_BYTES_MAX: usize = 512;

const KNOWN_CLAIMS: [&str; 4] = [
    "agent_dir_sha256",
    "agent_py_sha256",
    "vm_image_id",
    "sealed",
];

/// What an agent answered to a challenge: decoded, bounded, unverified.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The quote as sent, padding included.
    pub quote: Vec<u8>,
    /// What the agent says the quote carries.
    pub report_data: ReportData,
    /// What the agent says it runs.
    pub claims: WorkloadClaims,
    /// Events behind the runtime registers; bounded when it is parsed in stage 10.
    pub event_log: Option<Value>,
    /// A collateral bundle: one more untrusted mirror.
    pub collateral: Option<Value>,
    /// Proof of the node's token.
    pub node_proof: Option<[u8; 32]>,
    /// Every claim as sent, for allowlists of version 1.0 with keys of their own.
    pub(crate) raw_claims: Map<String, Value>,
}

impl Evidence {
    /// Parses the answer to a challenge. The nonce and `error` are the session's to look at.
    pub fn parse(response: &AttestResponse) -> Result<Self, Failure> {
        let quote = response.quote.as_ref().filter(|text| !text.is_empty());
        let (Some(quote), Some(claims)) = (quote, &response.measurements) else {
            return Err(missing("quote and measurements"));
        };
        let raw_claims = claim_object(claims)?;
        if !KNOWN_CLAIMS
            .iter()
            .any(|name| raw_claims.contains_key(*name))
        {
            return Err(missing("at least one measurement"));
        }
        let Some(report_data) = &response.report_data else {
            return Err(malformed(
                "report_data",
                "128 hexadecimal digits",
                "nothing",
            ));
        };
        Ok(Self {
            quote: decode_quote(quote)?,
            report_data: ReportData(fixed_hex::<REPORT_DATA_LEN>("report_data", report_data)?),
            claims: typed_claims(&raw_claims)?,
            event_log: response.event_log.clone(),
            collateral: response.collateral.clone(),
            node_proof: response
                .node_proof
                .as_deref()
                .map(|text| fixed_hex("node_proof", text))
                .transpose()?,
            raw_claims,
        })
    }

    /// Evidence from its parts, for tools that hold a quote and no `attest_response`.
    pub fn from_parts(
        quote: Vec<u8>,
        report_data: ReportData,
        claims: WorkloadClaims,
        event_log: Option<Value>,
    ) -> Self {
        let WorkloadClaims {
            agent_dir_sha256,
            agent_py_sha256,
            vm_image_id,
            sealed,
        } = &claims;
        let raw_claims = Map::from_iter([
            (
                "agent_dir_sha256".to_owned(),
                Value::from(agent_dir_sha256.as_str()),
            ),
            (
                "agent_py_sha256".to_owned(),
                Value::from(agent_py_sha256.as_str()),
            ),
            ("vm_image_id".to_owned(), Value::from(vm_image_id.as_str())),
            ("sealed".to_owned(), Value::from(*sealed)),
        ]);
        Self {
            quote,
            report_data,
            claims,
            event_log,
            collateral: None,
            node_proof: None,
            raw_claims,
        }
    }
}

fn missing(expected: &str) -> Failure {
    let code = Code::MissingQuoteOrMeasurements;
    Failure::new(code).explained(
        Refusal::new(
            code.as_str(),
            "evidence",
            "Answer the challenge with `quote` (base64), `report_data` and `measurements`.",
        )
        .compared(expected, "absent"),
    )
}

fn malformed(field: &str, expected: &str, actual: impl Into<String>) -> Failure {
    let code = Code::EvidenceMalformed;
    Failure::new(code).explained(
        Refusal::new(
            code.as_str(),
            field,
            format!("Correct `{field}` of attest_response."),
        )
        .compared(expected, actual),
    )
}

fn decode_quote(text: &str) -> Result<Vec<u8>, Failure> {
    if text.len() / 4 * 3 > QUOTE_DECODED_BYTES_MAX + 2 {
        return Err(too_large(text.len() / 4 * 3));
    }
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| malformed("quote", "standard base64 with padding", "other text"))?;
    if bytes.len() > QUOTE_DECODED_BYTES_MAX {
        return Err(too_large(bytes.len()));
    }
    Ok(bytes)
}

fn too_large(bytes: usize) -> Failure {
    let code = Code::EvidenceTooLarge;
    Failure::new(code).explained(
        Refusal::new(code.as_str(), "quote", "Send the quote without padding.").compared(
            format!("at most {QUOTE_DECODED_BYTES_MAX} bytes"),
            format!("{bytes} bytes"),
        ),
    )
}

fn fixed_hex<const N: usize>(field: &str, text: &str) -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| {
        let actual = format!("{} characters", text.len());
        malformed(field, &format!("{} hexadecimal digits", 2 * N), actual)
    })?;
    Ok(bytes)
}

fn claim_object(claims: &Value) -> Result<Map<String, Value>, Failure> {
    let Value::Object(claims) = claims else {
        return Err(malformed(
            "measurements",
            "an object",
            "another kind of value",
        ));
    };
    let text = serde_json::to_string(claims).expect("a JSON value can be written");
    if text.len() > CLAIMS_BYTES_MAX {
        let expected = format!("at most {CLAIMS_BYTES_MAX} bytes");
        return Err(malformed(
            "measurements",
            &expected,
            format!("{} bytes", text.len()),
        ));
    }
    Ok(claims.clone())
}

fn typed_claims(claims: &Map<String, Value>) -> Result<WorkloadClaims, Failure> {
    let sealed = match claims.get("sealed") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(sealed)) => *sealed,
        Some(_) => {
            return Err(malformed(
                "measurements.sealed",
                "true or false",
                "another kind",
            ));
        }
    };
    let vm_image_id = text_claim(claims, "vm_image_id")?;
    if vm_image_id.len() > VM_IMAGE_ID_BYTES_MAX {
        let expected = format!("at most {VM_IMAGE_ID_BYTES_MAX} bytes");
        let actual = format!("{} bytes", vm_image_id.len());
        return Err(malformed("measurements.vm_image_id", &expected, actual));
    }
    Ok(WorkloadClaims {
        agent_dir_sha256: hash_claim(claims, "agent_dir_sha256")?,
        agent_py_sha256: hash_claim(claims, "agent_py_sha256")?,
        vm_image_id,
        sealed,
    })
}

fn text_claim(claims: &Map<String, Value>, name: &str) -> Result<String, Failure> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(malformed(
            &format!("measurements.{name}"),
            "text",
            "another kind",
        )),
    }
}

/// Absent counts as empty; what is there must be 64 digits, or the workload digest would not be
/// injective.
fn hash_claim(claims: &Map<String, Value>, name: &str) -> Result<String, Failure> {
    let text = text_claim(claims, name)?;
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.is_empty() || is_hash {
        return Ok(text);
    }
    let actual = format!("{} characters", text.len());
    Err(malformed(
        &format!("measurements.{name}"),
        "64 hexadecimal digits",
        actual,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn response() -> AttestResponse {
        AttestResponse {
            quote: Some("AAAA".to_owned()),
            report_data: Some("00".repeat(64)),
            measurements: Some(json!({"agent_dir_sha256": "11".repeat(32), "sealed": true})),
            ..AttestResponse::default()
        }
    }

    fn code(response: &AttestResponse) -> Code {
        Evidence::parse(response).expect_err("refused").code
    }

    #[test]
    fn absent_claims_count_as_empty() {
        let evidence = Evidence::parse(&response()).expect("complete");
        assert!(evidence.claims.sealed);
        assert_eq!(evidence.claims.agent_py_sha256, "");
        assert_eq!(evidence.quote, [0, 0, 0]);
    }

    #[test]
    fn claims_alone_never_pass() {
        for quote in [None, Some(String::new())] {
            let without_quote = AttestResponse {
                quote,
                ..response()
            };
            assert_eq!(code(&without_quote), Code::MissingQuoteOrMeasurements);
        }
        for measurements in [None, Some(json!({})), Some(json!({"unknown": 1}))] {
            let response = AttestResponse {
                measurements,
                ..response()
            };
            assert_eq!(code(&response), Code::MissingQuoteOrMeasurements);
        }
    }

    #[test]
    fn missing_report_data_is_refused() {
        for report_data in [None, Some(String::new()), Some("00".repeat(63))] {
            let response = AttestResponse {
                report_data,
                ..response()
            };
            assert_eq!(code(&response), Code::EvidenceMalformed);
        }
    }

    #[test]
    fn claims_of_the_wrong_kind_are_refused() {
        for measurements in [
            json!([]),
            json!({"sealed": "true"}),
            json!({"agent_dir_sha256": 7}),
            json!({"agent_dir_sha256": "abc"}),
            json!({"vm_image_id": "x".repeat(VM_IMAGE_ID_BYTES_MAX + 1)}),
            json!({"sealed": true, "other": "x".repeat(CLAIMS_BYTES_MAX)}),
        ] {
            let response = AttestResponse {
                measurements: Some(measurements),
                ..response()
            };
            assert_eq!(code(&response), Code::EvidenceMalformed);
        }
    }

    #[test]
    fn oversized_and_garbled_quotes_are_refused() {
        let big = STANDARD.encode(vec![0; QUOTE_DECODED_BYTES_MAX + 1]);
        let oversized = AttestResponse {
            quote: Some(big),
            ..response()
        };
        assert_eq!(code(&oversized), Code::EvidenceTooLarge);
        let full = STANDARD.encode(vec![0; QUOTE_DECODED_BYTES_MAX]);
        assert!(
            Evidence::parse(&AttestResponse {
                quote: Some(full),
                ..response()
            })
            .is_ok()
        );
        let garbled = AttestResponse {
            quote: Some("no base64!".to_owned()),
            ..response()
        };
        assert_eq!(code(&garbled), Code::EvidenceMalformed);
    }
}
