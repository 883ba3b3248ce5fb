//! Stage 9, policy: is this platform good enough for this network, and for this app.
//!
//! Defaults are those of ATTESTATION 4. An app's allowlist may tighten, never loosen. "First
//! seen out of date" and the newest evaluation number are facts that the caller remembers.

use std::{collections::BTreeSet, time::Duration};

use ee_core::attestation::{
    AttestationCode as Code, BindingStrength, Failure, Provenance, TcbStatus,
};
use ee_protocol::{names::Network, refusal::Refusal, report_data::Digest, time::Timestamp};

use crate::{
    allowlist::{Entry, TcbPolicy},
    attributes::TdAttributes,
    platform::VerifiedQuote,
    quote::DebugTds,
    registers::{Register, RegisterName},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an owner has to update, from the day on which we first saw a level out of date.
const OUT_OF_DATE_GRACE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// No grace helps a level older than this.
const TCB_AGE_MAX: Duration = Duration::from_secs(730 * 24 * 60 * 60);
/// TCB info and QE identity differ by one in production (20 and 19).
const EVALUATION_LAG: u32 = 1;

/// Whether a network admits workloads that are not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedRule {
    /// Sealed workloads only.
    Required,
    /// Any.
    Optional,
}

/// How long platforms that have fallen out of date stay admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfDateGrace {
    /// From our first verified TCB info that marks the level so.
    pub after_first_seen: Duration,
    /// The oldest level that may have grace at all.
    pub tcb_age_max: Duration,
}

/// The appraisal policy of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Statuses admitted without reservation.
    pub statuses: BTreeSet<TcbStatus>,
    /// Statuses admitted and flagged.
    pub flagged_statuses: BTreeSet<TcbStatus>,
    /// Grace of out-of-date platforms that no set above admits.
    pub out_of_date_grace: Option<OutOfDateGrace>,
    /// How far the evaluation number may lie behind the newest verified; `None`: any distance.
    pub evaluation_lag_max: Option<u32>,
    /// Advisories that are not accepted.
    pub denied_advisories: BTreeSet<String>,
    /// TD attributes that need no pin in the allowlist.
    pub td_attributes: TdAttributes,
    /// TD attributes that an allowlist's entry may pin on top.
    pub pinnable_attributes: TdAttributes,
    /// Whether debuggable TDs are admitted.
    pub debug_tds: DebugTds,
    /// TDX modules admitted; `None`: all that Intel signed.
    pub mr_seam_allowed: Option<BTreeSet<Register>>,
    /// TDX modules refused.
    pub mr_seam_denied: BTreeSet<Register>,
    /// Platforms (pseudonyms) admitted; `None`: all.
    pub platforms_allowed: Option<BTreeSet<Digest>>,
    /// Platforms (pseudonyms) refused.
    pub platforms_denied: BTreeSet<Digest>,
    /// The weakest binding admitted.
    pub binding_at_least: BindingStrength,
    /// The weakest provenance of reference values admitted.
    pub provenance_at_least: Provenance,
    /// Whether workloads must be sealed.
    pub sealed: SealedRule,
}

impl NetworkPolicy {
    /// The default policy of a network.
    pub fn of(network: Network) -> Self {
        match network {
            Network::Forge1 => Self::forge_1(),
            Network::Sandbox1 => Self::sandbox_1(),
        }
    }

    /// Production.
    pub fn forge_1() -> Self {
        Self {
            statuses: BTreeSet::from([TcbStatus::UpToDate, TcbStatus::TDRelaunchAdvised]),
            flagged_statuses: BTreeSet::new(),
            out_of_date_grace: Some(OutOfDateGrace {
                after_first_seen: OUT_OF_DATE_GRACE,
                tcb_age_max: TCB_AGE_MAX,
            }),
            evaluation_lag_max: Some(EVALUATION_LAG),
            denied_advisories: BTreeSet::new(),
            td_attributes: TdAttributes::BASE,
            pinnable_attributes: TdAttributes::PKS
                .with(TdAttributes::LASS)
                .with(TdAttributes::ICSSD),
            debug_tds: DebugTds::Refused,
            mr_seam_allowed: None,
            mr_seam_denied: BTreeSet::new(),
            platforms_allowed: None,
            platforms_denied: BTreeSet::new(),
            binding_at_least: BindingStrength::Channel,
            provenance_at_least: Provenance::Release,
            sealed: SealedRule::Required,
        }
    }

    /// Development.
    pub fn sandbox_1() -> Self {
        let production = Self::forge_1();
        let admitted = |status: &TcbStatus| {
            *status != TcbStatus::Revoked && !production.statuses.contains(status)
        };
        Self {
            flagged_statuses: TcbStatus::ALL.into_iter().filter(admitted).collect(),
            out_of_date_grace: None,
            evaluation_lag_max: None,
            pinnable_attributes: production
                .pinnable_attributes
                .with(TdAttributes::KL)
                .with(TdAttributes::PERFMON),
            binding_at_least: BindingStrength::Nonce,
            sealed: SealedRule::Optional,
            ..production
        }
    }
}

/// What the caller remembers about platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PolicyFacts {
    /// When a verified TCB info first marked this (FMSPC, level) as out of date; the key is
    /// `VerifiedQuote::level_id`. `None`: now.
    pub out_of_date_since: Option<Timestamp>,
    /// The newest evaluation number verified so far for any TCB info.
    pub newest_evaluation: u32,
    /// The platform's pseudonym (`VerifiedQuote::platform_identity`), if sets of them are used.
    pub platform: Option<Digest>,
}

/// How an admitted platform stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Admitted with a reservation.
    pub flagged: bool,
}

/// Applies a network's policy, tightened by the app's, to a verified quote.
pub fn check(
    quote: &VerifiedQuote,
    policy: &NetworkPolicy,
    app: &TcbPolicy,
    entry: Option<&Entry>,
    facts: &PolicyFacts,
    now: Timestamp,
) -> Result<Standing, Failure> {
    let appraisal = Appraisal {
        quote,
        policy,
        app,
        facts,
        now,
    };
    let standing = appraisal.status()?;
    appraisal.evaluation()?;
    appraisal.advisories()?;
    appraisal.attributes(entry)?;
    appraisal.platform()?;
    Ok(standing)
}

struct Appraisal<'a> {
    quote: &'a VerifiedQuote,
    policy: &'a NetworkPolicy,
    app: &'a TcbPolicy,
    facts: &'a PolicyFacts,
    now: Timestamp,
}

impl Appraisal<'_> {
    fn status(&self) -> Result<Standing, Failure> {
        let status = self.quote.tcb_status();
        if self
            .app
            .statuses
            .as_ref()
            .is_some_and(|accepted| !accepted.contains(&status))
        {
            return Err(self.status_refused(self.app.statuses.as_ref(), "the app's allowlist"));
        }
        let flagged = if self.policy.statuses.contains(&status) {
            false
        } else if self.policy.flagged_statuses.contains(&status) {
            true
        } else {
            self.grace(status)?;
            true
        };
        self.minimum_date()?;
        Ok(Standing { flagged })
    }

    fn grace(&self, status: TcbStatus) -> Result<(), Failure> {
        let out_of_date = matches!(
            status,
            TcbStatus::OutOfDate | TcbStatus::OutOfDateConfigurationNeeded
        );
        let Some(grace) = self.policy.out_of_date_grace.filter(|_| out_of_date) else {
            return Err(self.status_refused(Some(&self.policy.statuses), "the network"));
        };
        let since = self.facts.out_of_date_since.unwrap_or(self.now);
        let until = since.after(grace.after_first_seen);
        if self.now >= until {
            let expected = format!("an up-to-date platform since {until}");
            return Err(self.refused(Code::TcbGraceOver, expected, status.to_string()));
        }
        if self.now.since(self.quote.tcb_date()) > grace.tcb_age_max {
            let days = grace.tcb_age_max.as_secs() / DAY.as_secs();
            let expected = format!("a TCB level of the last {days} days");
            return Err(self.refused(Code::TcbTooOld, expected, self.date()));
        }
        Ok(())
    }

    fn minimum_date(&self) -> Result<(), Failure> {
        match self.app.min_tcb_date {
            Some(oldest) if self.quote.tcb_date() < oldest => {
                let expected = format!("a TCB level not before {oldest} (the app's allowlist)");
                Err(self.refused(Code::TcbTooOld, expected, self.date()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn date(&self) -> String {
        self.quote.tcb_date().rfc3339_seconds()
    }

    fn evaluation(&self) -> Result<(), Failure> {
        let Some(lag) = self.policy.evaluation_lag_max else {
            return Ok(());
        };
        let least = self.facts.newest_evaluation.saturating_sub(lag);
        let number = self.quote.tcb_eval_data_number();
        if number >= least {
            return Ok(());
        }
        Err(refusal(
            Code::TcbEvalTooLow,
            format!("TCB evaluation data number {least} or higher"),
            number.to_string(),
            "Nothing to do for the agent: the control plane needs newer collateral from its \
             endpoints.",
        ))
    }

    fn advisories(&self) -> Result<(), Failure> {
        let denied = |id: &&String| {
            self.policy.denied_advisories.contains(*id) || self.app.reject_advisories.contains(*id)
        };
        match self.quote.advisories().iter().find(denied) {
            None => Ok(()),
            Some(id) => {
                let expected = format!("a platform without {id}");
                Err(self.refused(Code::AdvisoryRefused, expected, id.clone()))
            }
        }
    }

    /// The network's attributes, and on top the pinnable ones that the entry pins.
    fn attributes(&self, entry: Option<&Entry>) -> Result<(), Failure> {
        let mut allowed = self.policy.td_attributes;
        if self.policy.debug_tds == DebugTds::Allowed {
            allowed = allowed.with(TdAttributes::DEBUG);
        }
        let actual = self.quote.registers().td_attributes;
        let pinned = entry.and_then(|entry| entry.pinned(RegisterName::TdAttributes));
        if pinned.is_some_and(|values| values.contains(&actual.to_bytes().to_vec())) {
            allowed = allowed.with(self.policy.pinnable_attributes);
        }
        if actual.within(allowed) {
            return Ok(());
        }
        let beyond = actual.beyond(allowed).names();
        Err(refusal(
            Code::TdAttributesRefused,
            format!("no attributes beyond {}", allowed.names()),
            format!("{actual}: also {beyond}"),
            "Start the TD without them, or pin those that the network lets an allowlist pin.",
        ))
    }

    fn platform(&self) -> Result<(), Failure> {
        let module = &self.quote.registers().mr_seam;
        let admitted = self
            .policy
            .mr_seam_allowed
            .as_ref()
            .is_none_or(|set| set.contains(module));
        if !admitted || self.policy.mr_seam_denied.contains(module) {
            let hint = "The owner of the platform loads a TDX module that the network admits.";
            let actual = format!("MRSEAM {}", hex::encode(module));
            let expected = "an admitted TDX module".to_owned();
            return Err(refusal(Code::PlatformRefused, expected, actual, hint));
        }
        let contains = |set: &BTreeSet<Digest>| {
            self.facts
                .platform
                .is_some_and(|platform| set.contains(&platform))
        };
        let admitted = self.policy.platforms_allowed.as_ref().is_none_or(&contains);
        if !admitted || contains(&self.policy.platforms_denied) {
            let hint = "Run on another machine, or ask the network's operator to admit this one.";
            let expected = "an admitted platform".to_owned();
            return Err(refusal(
                Code::PlatformRefused,
                expected,
                "another".to_owned(),
                hint,
            ));
        }
        Ok(())
    }

    fn status_refused(&self, accepted: Option<&BTreeSet<TcbStatus>>, whose: &str) -> Failure {
        let names: Vec<&str> = accepted
            .into_iter()
            .flatten()
            .map(|status| status.as_str())
            .collect();
        let expected = format!("{} ({whose})", names.join(", "));
        self.refused(
            Code::TcbStatusRefused,
            expected,
            self.quote.tcb_status().to_string(),
        )
    }

    /// A refusal whose remedy is to update the platform.
    fn refused(&self, code: Code, expected: String, actual: String) -> Failure {
        let advice = match self.quote.advice() {
            "" => "The owner of the platform updates its firmware and TDX module.",
            advice => advice,
        };
        refusal(code, expected, actual, advice)
    }
}

fn refusal(code: Code, expected: String, actual: String, hint: &str) -> Failure {
    Failure::new(code)
        .explained(Refusal::new(code.as_str(), "platform", hint).compared(expected, actual))
}
