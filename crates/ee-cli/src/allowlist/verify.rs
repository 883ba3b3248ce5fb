//! `allowlist verify`: is the file one that the control plane takes, and does a quote fit it?

use std::{path::PathBuf, process::ExitCode};

use ee_attest::{Allowlist, DebugTds, Evidence, ParsedQuote, RegisterName, Selection};
use ee_core::attestation::Pinning;
use ee_protocol::{refusal::Refusal, time::Timestamp};
use serde::Serialize;

use crate::{
    evidence::{self, QuoteFile},
    failure::Exit,
    output::{self, Format},
};

/// Arguments of `allowlist verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The allowlist
    allowlist: PathBuf,
    /// A quote that should fit it
    #[arg(long)]
    quote: Option<PathBuf>,
    /// The tag that it should be for
    #[arg(long)]
    release_tag: Option<String>,
}

/// What `allowlist verify` prints.
#[derive(Debug, Serialize)]
struct Outcome {
    ok: bool,
    release_tag: String,
    revoked: bool,
    entries: Vec<EntryRow>,
    /// The entry that the quote selects; null without a quote or a fit.
    selected: Option<String>,
    code: Option<String>,
    refusals: Vec<Refusal>,
}

#[derive(Debug, Serialize)]
struct EntryRow {
    id: String,
    sealed: bool,
    pinning: &'static str,
    pins: Vec<&'static str>,
}

/// Reads, checks, prints.
pub(super) fn run(args: &Args, format: Format) -> anyhow::Result<ExitCode> {
    let allowlist = Allowlist::parse(&evidence::bytes(&args.allowlist)?)
        .map_err(|refused| evidence::no(&refused))?;
    let mut outcome = describe(&allowlist);
    if let Some(tag) = args
        .release_tag
        .as_ref()
        .filter(|tag| *tag != allowlist.release_tag())
    {
        let hint = format!("publish an allowlist made with --release-tag {tag}");
        outcome.refuse(
            "allowlist_invalid",
            Refusal::new("allowlist_invalid", "release tag", hint)
                .compared(tag, allowlist.release_tag()),
        );
    }
    if let Some(path) = &args.quote {
        check_quote(&mut outcome, &allowlist, evidence::quote(path)?)?;
    }
    outcome.ok = outcome.code.is_none();
    output::print(format, &outcome, text);
    Ok(if outcome.ok {
        ExitCode::SUCCESS
    } else {
        Exit::No.into()
    })
}

fn describe(allowlist: &Allowlist) -> Outcome {
    let described = allowlist.rtmr3_events().is_some();
    let rows = allowlist.entries().iter().map(|entry| EntryRow {
        id: name(entry.id()),
        sealed: entry.sealed(),
        pinning: Pinning::as_str(entry.pinning(described)),
        pins: RegisterName::ALL
            .into_iter()
            .filter(|register| entry.pinned(*register).is_some())
            .map(RegisterName::as_str)
            .collect(),
    });
    Outcome {
        ok: true,
        release_tag: allowlist.release_tag().to_owned(),
        revoked: allowlist.revoked(),
        entries: rows.collect(),
        selected: None,
        code: allowlist.revoked().then(|| "allowlist_revoked".to_owned()),
        refusals: Vec::new(),
    }
}

/// The quote is read, not verified: this compares registers and claims.
fn check_quote(
    outcome: &mut Outcome,
    allowlist: &Allowlist,
    file: QuoteFile,
) -> anyhow::Result<()> {
    let QuoteFile { quote, claims } = file;
    let parsed =
        ParsedQuote::parse(&quote, DebugTds::Allowed).map_err(|refused| evidence::no(&refused))?;
    match allowlist.select(parsed.registers(), now()) {
        Selection::Entry(entry) => {
            outcome.selected = Some(name(entry.id()));
            let Some(claims) = claims else { return Ok(()) };
            let report_data = *parsed.report_data();
            let evidence = Evidence::from_parts(quote, report_data, claims, None);
            if let Err(refused) = entry.check_claims(&evidence) {
                outcome.code = Some(refused.reason());
                outcome.refusals.extend(refused.refusals);
            }
        }
        Selection::None(nearest) => {
            let register = nearest.as_ref().and_then(|nearest| nearest.register);
            let expected = register.and_then(|register| nearest.as_ref()?.entry.pinned(register));
            outcome.refuse_register(register, expected, &parsed);
        }
    }
    Ok(())
}

fn now() -> Timestamp {
    use ee_control::ports::Clock as _;
    ee_server::clock::SystemClock.now()
}

/// The top-level entry has no id.
fn name(id: &str) -> String {
    if id.is_empty() {
        "top level".to_owned()
    } else {
        id.to_owned()
    }
}

impl Outcome {
    fn refuse(&mut self, code: &str, refusal: Refusal) {
        self.code.get_or_insert_with(|| code.to_owned());
        self.refusals.push(refusal);
    }

    fn refuse_register(
        &mut self,
        register: Option<RegisterName>,
        expected: Option<&[Vec<u8>]>,
        quote: &ParsedQuote,
    ) {
        let Some(register) = register else {
            let code = "measurement_mismatch:mrtd";
            let hint = "every entry is empty or has expired: publish one that is in force";
            return self.refuse(code, Refusal::new(code, "entries", hint));
        };
        let code = format!("measurement_mismatch:{}", register.as_str());
        let wanted: Vec<String> = expected
            .unwrap_or_default()
            .iter()
            .map(hex::encode)
            .collect();
        let hint = "easyenclave allowlist create --from-quote QUOTE --release-tag TAG";
        let check = format!("{} ({})", register.as_str(), register.meaning());
        let refusal = Refusal::new(code.clone(), check, hint).compared(
            wanted.join(" or "),
            hex::encode(register.value(quote.registers())),
        );
        self.refuse(&code, refusal);
    }
}

fn text(outcome: &Outcome) -> String {
    let rows: Vec<Vec<String>> = outcome
        .entries
        .iter()
        .map(|row| {
            let sealed = if row.sealed { "yes" } else { "no" }.to_owned();
            vec![
                row.id.clone(),
                sealed,
                row.pinning.to_owned(),
                row.pins.join(" "),
            ]
        })
        .collect();
    let mut lines = vec![
        format!("allowlist of {}", outcome.release_tag),
        output::columns(&["ENTRY", "SEALED", "PINNING", "PINS"], &rows),
    ];
    if let Some(selected) = &outcome.selected {
        lines.push(format!("the quote fits: {selected}"));
    }
    match &outcome.code {
        None => lines.push("ok".to_owned()),
        Some(code) => lines.push(format!("FAIL  {code}")),
    }
    for Refusal {
        check,
        expected,
        actual,
        hint,
        ..
    } in &outcome.refusals
    {
        lines.push(format!("      {check}"));
        if !expected.is_empty() {
            lines.push(format!("      expected {expected}"));
            lines.push(format!("      actual   {actual}"));
        }
        lines.push(format!("      next: {hint}"));
    }
    lines.join("\n")
}
