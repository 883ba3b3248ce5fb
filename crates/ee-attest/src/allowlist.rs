//! Reference values: what a release says its agents measure (ATTESTATION 5).
//!
//! The quote's registers select an entry, never the claims. Version 1.0 is the prototype's and
//! knows claims only.

mod parse;

use std::collections::{BTreeMap, BTreeSet};

use ee_core::attestation::{AttestationCode as Code, Failure, Pinning, Provenance, TcbStatus};
use ee_protocol::{refusal::Refusal, report_data::Digest, time::Timestamp};
use serde_json::Value;

use crate::{
    event_log::ExpectedEvent,
    evidence::Evidence,
    registers::{RegisterName, Registers},
};

/// Bytes of an allowlist (ATTESTATION 11).
pub const ALLOWLIST_BYTES_MAX: usize = 256 * 1024;
/// Entries beside the top-level one (ATTESTATION 11).
pub const ENTRIES_MAX: usize = 64;
/// Values that one register may have (ATTESTATION 11).
pub const VALUES_MAX: usize = 32;
/// Events that describe RTMR3 (ATTESTATION 11).
pub const EVENTS_MAX: usize = 64;

/// The reference values of one release.
#[derive(Debug, Clone, PartialEq)]
pub struct Allowlist {
    release_tag: String,
    digest: Digest,
    entries: Vec<Entry>,
    rtmr3_events: Option<Vec<ExpectedEvent>>,
    tcb_policy: TcbPolicy,
    revoked: bool,
}

/// One way in which the release may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    id: String,
    sealed: bool,
    not_after: Option<Timestamp>,
    pins: BTreeMap<RegisterName, Vec<Vec<u8>>>,
    claims: Vec<(String, Value)>,
    workload: Option<Digest>,
}

/// Platform policy of an app: it may only tighten its network's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TcbPolicy {
    /// Statuses that the app accepts; `None` leaves the network's.
    pub statuses: Option<BTreeSet<TcbStatus>>,
    /// The oldest TCB level that the app accepts.
    pub min_tcb_date: Option<Timestamp>,
    /// Advisories that the app does not accept.
    pub reject_advisories: BTreeSet<String>,
}

/// The entry that the quote's registers select.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection<'a> {
    /// All its pins hold.
    Entry(&'a Entry),
    /// Some pin of every entry fails, or every entry that holds has expired.
    None(Option<Nearest<'a>>),
}

/// The entry with the fewest failing pins.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest<'a> {
    /// The entry.
    pub entry: &'a Entry,
    /// Its first failing pin; `None` if all hold and it has expired.
    pub register: Option<RegisterName>,
}

impl<'a> Selection<'a> {
    /// The selected entry, if there is one.
    pub fn entry(&self) -> Option<&'a Entry> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::None(_) => None,
        }
    }
}

impl Allowlist {
    /// Parses the asset of a release.
    pub fn parse(content: &[u8]) -> Result<Self, Failure> {
        parse::allowlist(content)
    }

    /// The release that it speaks of.
    pub fn release_tag(&self) -> &str {
        &self.release_tag
    }

    /// SHA-256 of the asset.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The top-level entry, then the others.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Runtime events that describe RTMR3.
    pub fn rtmr3_events(&self) -> Option<&[ExpectedEvent]> {
        self.rtmr3_events.as_deref()
    }

    /// The app's tightening of platform policy.
    pub fn tcb_policy(&self) -> &TcbPolicy {
        &self.tcb_policy
    }

    /// Whether the publisher has withdrawn the release.
    pub fn revoked(&self) -> bool {
        self.revoked
    }

    /// The rest of stage 5: the right release, not withdrawn, from a good enough source.
    pub fn check_release(
        &self,
        tag: &str,
        provenance: Provenance,
        at_least: Provenance,
    ) -> Result<(), Failure> {
        if self.release_tag != tag {
            return Err(release(
                Code::AllowlistInvalid,
                format!("release_tag {tag}"),
                format!("release_tag {}", self.release_tag),
                "Publish the allowlist of this very release.",
            ));
        }
        if self.revoked {
            return Err(release(
                Code::AllowlistRevoked,
                "a release in force".to_owned(),
                "revoked by its publisher".to_owned(),
                "Register a release that its publisher has not revoked.",
            ));
        }
        if rank(provenance) < rank(at_least) {
            return Err(release(
                Code::ProvenanceInsufficient,
                at_least.as_str().to_owned(),
                provenance.as_str().to_owned(),
                "Publish the release the way the network demands.",
            ));
        }
        Ok(())
    }

    /// The first entry in force whose pins all hold.
    pub fn select(&self, registers: &Registers, now: Timestamp) -> Selection<'_> {
        let in_force = |entry: &Entry| entry.not_after.is_none_or(|end| now < end);
        let fits = |entry: &&Entry| !entry.is_empty() && entry.failing(registers).is_empty();
        let found = self
            .entries
            .iter()
            .find(|entry| in_force(entry) && fits(entry));
        if let Some(entry) = found {
            return Selection::Entry(entry);
        }
        let candidates = self.entries.iter().filter(|entry| !entry.is_empty());
        let nearest =
            candidates.min_by_key(|entry| (entry.failing(registers).len(), !in_force(entry)));
        Selection::None(nearest.map(|entry| Nearest {
            entry,
            register: entry.failing(registers).first().copied(),
        }))
    }
}

/// A local directory is the operator's own word and counts as a release.
const fn rank(provenance: Provenance) -> u8 {
    match provenance {
        Provenance::Local | Provenance::Release => 0,
        Provenance::ReleaseImmutable => 1,
    }
}

fn release(code: Code, expected: String, actual: String, hint: &str) -> Failure {
    Failure::new(code)
        .explained(Refusal::new(code.as_str(), "allowlist", hint).compared(expected, actual))
}

impl Entry {
    /// Its id; empty for the top-level one.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the publisher calls it sealed; the registers decide.
    pub fn sealed(&self) -> bool {
        self.sealed
    }

    /// Accepted values of a register; `None` if it is not pinned.
    pub fn pinned(&self, register: RegisterName) -> Option<&[Vec<u8>]> {
        self.pins.get(&register).map(Vec::as_slice)
    }

    /// How much of a TD the entry pins; RTMR3 may be described by events instead.
    pub fn pinning(&self, rtmr3_described: bool) -> Pinning {
        let code = [
            RegisterName::Mrtd,
            RegisterName::Rtmr0,
            RegisterName::Rtmr1,
            RegisterName::Rtmr2,
        ];
        let application = rtmr3_described || self.pins.contains_key(&RegisterName::Rtmr3);
        if application && code.iter().all(|register| self.pins.contains_key(register)) {
            return Pinning::Full;
        }
        if self.pins.is_empty() && !rtmr3_described {
            Pinning::None
        } else {
            Pinning::Partial
        }
    }

    /// Pins neither a register nor a claim: matches nothing.
    fn is_empty(&self) -> bool {
        self.pins.is_empty() && self.claims.is_empty()
    }

    /// The pins that do not hold, in order.
    fn failing(&self, registers: &Registers) -> Vec<RegisterName> {
        let fails = |(register, values): (&RegisterName, &Vec<Vec<u8>>)| {
            (!values.contains(&register.value(registers))).then_some(*register)
        };
        self.pins.iter().filter_map(fails).collect()
    }

    /// Stage 6: the claims are those of the selected entry.
    pub fn check_claims(&self, evidence: &Evidence) -> Result<(), Failure> {
        for (name, expected) in &self.claims {
            let claimed = evidence.raw_claims.get(name).unwrap_or(&Value::Null);
            if claimed != expected && !counts_as_absent(name, expected, claimed) {
                return Err(claim(name, &plain(expected), &plain(claimed)));
            }
        }
        match self.workload {
            Some(expected) if expected != evidence.claims.digest() => Err(claim(
                "report_data",
                &hex::encode(expected),
                &hex::encode(evidence.claims.digest()),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// An absent claim counts as empty text, an absent `sealed` as false.
fn counts_as_absent(name: &str, expected: &Value, claimed: &Value) -> bool {
    let default = if name == "sealed" {
        Value::Bool(false)
    } else {
        Value::from("")
    };
    claimed.is_null() && *expected == default
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn claim(name: &str, expected: &str, actual: &str) -> Failure {
    let failure = Failure::new(Code::ClaimMismatch).about(name);
    let hint = "Run the binaries of the release that was registered, or register the release \
                that runs.";
    let refusal = Refusal::new(failure.reason(), "measurements", hint).compared(expected, actual);
    failure.explained(refusal)
}

/// Stage 6 over a selection: without an entry there is nothing to compare, and stage 10 speaks.
pub fn check_claims(selection: &Selection<'_>, evidence: &Evidence) -> Result<(), Failure> {
    match selection {
        Selection::Entry(entry) => entry.check_claims(evidence),
        Selection::None(_) => Ok(()),
    }
}

/// The part of stage 10 that refuses when no entry was selected; names the nearest.
pub fn check_selected<'a>(
    selection: &Selection<'a>,
    registers: &Registers,
) -> Result<&'a Entry, Failure> {
    let nearest = match selection {
        Selection::Entry(entry) => return Ok(entry),
        Selection::None(nearest) => nearest,
    };
    let Some(Nearest { entry, register }) = nearest else {
        return Err(Failure::new(Code::AllowlistMissingMeasurements));
    };
    let name = if entry.id.is_empty() {
        "top-level"
    } else {
        &entry.id
    };
    let Some(register) = register else {
        let failure = Failure::new(Code::RegisterMismatch).about("not_after");
        let hint = format!("Entry `{name}` has expired: register a newer release.");
        let refusal = Refusal::new(failure.reason(), "allowlist entry", hint);
        return Err(failure.explained(refusal));
    };
    let failure = Failure::new(Code::RegisterMismatch).about(register.as_str());
    let hint = format!(
        "{} ({}) is not what entry `{name}` pins: run the released image unchanged, or publish \
         and register the release that runs.",
        register.as_str(),
        register.meaning()
    );
    let expected = entry.pinned(*register).unwrap_or_default();
    let expected: Vec<String> = expected.iter().map(hex::encode).collect();
    let refusal = Refusal::new(failure.reason(), "measurements", hint).compared(
        expected.join(" or "),
        hex::encode(register.value(registers)),
    );
    Err(failure.explained(refusal))
}
