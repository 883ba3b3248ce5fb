//! `allowlist create`: pins what one quote of the image shows (ATTESTATION 5, version 1.1).

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use ee_attest::{Allowlist, DebugTds, ParsedQuote, RegisterName};
use ee_protocol::{
    names::{NameError, ReleaseTag},
    report_data::WorkloadClaims,
    time::Timestamp,
};
use serde_json::{Map, Value, json};

use crate::{
    evidence::{self, QuoteFile},
    output,
};

/// Arguments of `allowlist create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A quote of the image: raw, hex, base64, or JSON that also holds the claims
    #[arg(long, value_name = "QUOTE")]
    from_quote: PathBuf,
    /// The release that the allowlist is for
    #[arg(long, value_parser = parse_tag)]
    release_tag: ReleaseTag,
    /// Claim: SHA-256 of the agent's directory
    #[arg(long, value_name = "HEX")]
    agent_dir_sha256: Option<String>,
    /// Claim: SHA-256 of the agent's main executable
    #[arg(long, value_name = "HEX")]
    agent_py_sha256: Option<String>,
    /// Claim: the VM image
    #[arg(long, value_name = "TEXT")]
    vm_image_id: Option<String>,
    /// Claim: the image is sealed
    #[arg(long)]
    sealed: bool,
    /// Do not pin the application's register
    #[arg(long)]
    without_rtmr3: bool,
    /// When it was made, RFC 3339; now if absent
    #[arg(long, value_name = "TIME")]
    created_at: Option<String>,
}

fn parse_tag(text: &str) -> Result<ReleaseTag, NameError> {
    ReleaseTag::parse(text)
}

/// Prints the allowlist as JSON: it is a file to publish, whatever the form of output.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let QuoteFile { quote, claims } = evidence::quote(&args.from_quote)?;
    let quote =
        ParsedQuote::parse(&quote, DebugTds::Allowed).map_err(|refused| evidence::no(&refused))?;
    let created_at = match &args.created_at {
        Some(text) => Timestamp::parse_rfc3339(text).context("--created-at is not RFC 3339")?,
        None => now(),
    };
    let claims = merged(args, claims.unwrap_or_default());
    let document = document(args, &quote, &claims, created_at);
    let text = serde_json::to_string_pretty(&document)?;
    Allowlist::parse(text.as_bytes()).map_err(|refused| evidence::no(&refused))?;
    output::line(&text);
    Ok(ExitCode::SUCCESS)
}

fn now() -> Timestamp {
    use ee_control::ports::Clock as _;
    ee_server::clock::SystemClock.now()
}

/// What the command line says wins over what the file says.
fn merged(args: &Args, file: WorkloadClaims) -> WorkloadClaims {
    let or = |flag: &Option<String>, file: String| flag.clone().unwrap_or(file);
    WorkloadClaims {
        agent_dir_sha256: or(&args.agent_dir_sha256, file.agent_dir_sha256),
        agent_py_sha256: or(&args.agent_py_sha256, file.agent_py_sha256),
        vm_image_id: or(&args.vm_image_id, file.vm_image_id),
        sealed: args.sealed || file.sealed,
    }
}

fn document(
    args: &Args,
    quote: &ParsedQuote,
    claims: &WorkloadClaims,
    created_at: Timestamp,
) -> Value {
    let WorkloadClaims {
        agent_dir_sha256,
        agent_py_sha256,
        vm_image_id,
        sealed,
    } = claims;
    let mut measurements = Map::new();
    measurements.insert("agent_dir_sha256".to_owned(), json!(agent_dir_sha256));
    measurements.insert("agent_py_sha256".to_owned(), json!(agent_py_sha256));
    measurements.insert("vm_image_id".to_owned(), json!(vm_image_id));
    measurements.insert("sealed".to_owned(), json!(sealed));
    for register in RegisterName::ALL {
        let value = register.value(quote.registers());
        let pinned = match register {
            RegisterName::Rtmr3 => !args.without_rtmr3,
            // Zero is what the verifier demands of a sealed image without a pin.
            RegisterName::MrConfigId | RegisterName::MrOwner | RegisterName::MrOwnerConfig => {
                value.iter().any(|byte| *byte != 0)
            }
            // Depends on the host's processor, not on the image.
            RegisterName::Xfam => false,
            RegisterName::Mrtd
            | RegisterName::Rtmr0
            | RegisterName::Rtmr1
            | RegisterName::Rtmr2
            | RegisterName::TdAttributes => true,
        };
        let value = if pinned {
            json!(hex::encode(value))
        } else {
            Value::Null
        };
        measurements.insert(register.as_str().to_owned(), value);
    }
    json!({
        "version": "1.1",
        "release_tag": args.release_tag.as_str(),
        "created_at": created_at.rfc3339_seconds(),
        "measurements": measurements,
        "report_data": format!("{}{}", hex::encode(claims.digest()), "00".repeat(32)),
    })
}
