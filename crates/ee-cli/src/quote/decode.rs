//! `quote decode`: the fields of a quote by name.

use std::{path::Path, process::ExitCode};

use ee_attest::{ParsedQuote, Registers};
use serde::Serialize;

use crate::{
    evidence,
    output::{self, Format},
};

/// What `quote decode` prints. Nothing in it is verified.
#[derive(Debug, Serialize)]
struct Decoded {
    version: u16,
    body: &'static str,
    fmspc: String,
    ca: &'static str,
    used_bytes: usize,
    evidence_sha256: String,
    td_attribute_names: String,
    workload_digest: String,
    binding_digest: String,
    registers: Vec<Field>,
}

/// One register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Field {
    /// Its name in allowlists and codes.
    pub name: &'static str,
    /// What it measures.
    pub meaning: &'static str,
    /// Its value in hexadecimal.
    pub value: String,
}

/// Reads and prints.
pub(super) fn run(path: &Path, format: Format) -> anyhow::Result<ExitCode> {
    let decoded = decode(&evidence::parsed(path)?);
    output::print(format, &decoded, text);
    Ok(ExitCode::SUCCESS)
}

fn decode(quote: &ParsedQuote) -> Decoded {
    Decoded {
        version: quote.version(),
        body: quote.body_name(),
        fmspc: hex::encode(quote.fmspc()),
        ca: quote.ca().as_str(),
        used_bytes: quote.bytes().len(),
        evidence_sha256: hex::encode(quote.evidence_digest()),
        td_attribute_names: quote.registers().td_attributes.names(),
        workload_digest: hex::encode(quote.report_data().workload()),
        binding_digest: hex::encode(quote.report_data().binding()),
        registers: fields(quote.registers()),
    }
}

/// The registers in the order of a TD report, those that pin code first.
pub(super) fn fields(registers: &Registers) -> Vec<Field> {
    let Registers {
        tee_tcb_svn,
        mr_seam,
        mr_signer_seam,
        seam_attributes,
        td_attributes,
        xfam,
        mrtd,
        mr_config_id,
        mr_owner,
        mr_owner_config,
        rtmr,
        report_data,
        tee_tcb_svn2,
        mr_service_td,
    } = registers;
    let field = |name, meaning, value: &[u8]| Field {
        name,
        meaning,
        value: hex::encode(value),
    };
    let mut fields = vec![
        field("mrtd", "firmware", mrtd),
        field("rtmr0", "VM shape, ACPI", &rtmr[0]),
        field("rtmr1", "kernel", &rtmr[1]),
        field("rtmr2", "command line, initrd", &rtmr[2]),
        field("rtmr3", "application", &rtmr[3]),
        field("mr_config_id", "configuration by the host", mr_config_id),
        field("mr_owner", "owner by the host", mr_owner),
        field("mr_owner_config", "owner's configuration", mr_owner_config),
        Field {
            name: "td_attributes",
            meaning: "attributes of the TD",
            value: td_attributes.to_string(),
        },
        field("xfam", "processor features", xfam),
        field("report_data", "workload and binding digest", &report_data.0),
        field("mr_seam", "TDX module", mr_seam),
        field("mr_signer_seam", "signer of the TDX module", mr_signer_seam),
        field(
            "seam_attributes",
            "attributes of the TDX module",
            seam_attributes,
        ),
        field("tee_tcb_svn", "security versions at launch", tee_tcb_svn),
    ];
    if let Some(svn) = tee_tcb_svn2 {
        fields.push(field("tee_tcb_svn2", "security versions now", svn));
    }
    if let Some(service) = mr_service_td {
        fields.push(field("mr_service_td", "service TDs", service));
    }
    fields
}

fn text(decoded: &Decoded) -> String {
    let mut rows: Vec<Vec<String>> = [
        ("version", decoded.version.to_string(), decoded.body),
        ("fmspc", decoded.fmspc.clone(), "platform family"),
        (
            "ca",
            decoded.ca.to_owned(),
            "authority of the PCK certificate",
        ),
        (
            "used_bytes",
            decoded.used_bytes.to_string(),
            "without padding",
        ),
        (
            "evidence_sha256",
            decoded.evidence_sha256.clone(),
            "identity of the signed body",
        ),
        (
            "workload_digest",
            decoded.workload_digest.clone(),
            "report_data, first half",
        ),
        (
            "binding_digest",
            decoded.binding_digest.clone(),
            "report_data, second half",
        ),
    ]
    .map(|(name, value, meaning)| vec![name.to_owned(), value, meaning.to_owned()])
    .to_vec();
    rows.extend(decoded.registers.iter().map(|field| {
        let meaning = match field.name {
            "td_attributes" => decoded.td_attribute_names.clone(),
            _ => field.meaning.to_owned(),
        };
        vec![field.name.to_owned(), field.value.clone(), meaning]
    }));
    output::columns(&["FIELD", "VALUE", "MEANING"], &rows)
}
