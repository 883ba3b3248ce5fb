//! Did a node earn a period? One pure function from evidence to verdict (LEDGER 7).
//!
//! **Fail**: a breach that counts, a gap in standing, or a part of the window that is neither
//! covered nor excused. **Pass**: else, if at least half of the window is covered: no evidence is
//! not a pass. **Inconclusive**: else. More coverage or more excuse never makes a verdict worse,
//! a breach never makes one better.

use ee_protocol::time::Timestamp;

use crate::facts::{
    Breach, Lack,
    evidence::Evidence,
    spans::{Span, Spans},
};

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

/// What a node earned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// Nothing.
    Fail,
    /// It cannot be told yet; at the deadline the charge is split without fault.
    Inconclusive,
    /// Its charge.
    Pass,
}

impl Decision {
    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Pass => "pass",
        }
    }

    /// The stable number in tables and the journal.
    pub const fn code(self) -> u8 {
        match self {
            Self::Fail => 0,
            Self::Inconclusive => 1,
            Self::Pass => 2,
        }
    }

    /// The decision with this code.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Fail),
            1 => Some(Self::Inconclusive),
            2 => Some(Self::Pass),
            _ => None,
        }
    }
}

/// Why a node did not pass. The order is the order of answers; the words up to
/// [`Reason::AbuseAuthorized`] are the prototype's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// There is no such node.
    NodeNotFound,
    /// It is banned.
    NodeInactive,
    /// Its evidence was refused.
    AttestationInvalid,
    /// It said that its backend is not well.
    HealthFail,
    /// Less stake than demanded.
    StakeMissing,
    /// Heartbeats are missing.
    HealthMiss,
    /// An attestation is missing.
    AttestMiss,
    /// The owner authorised an abuse report.
    AbuseAuthorized,
    /// Nothing at all was seen of it.
    NoEvidence,
    /// Its registration ended.
    RegistrationExpired,
    /// Too little was seen of it, through no fault of its own.
    Inconclusive,
}

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Self; 11] = [
        Self::NodeNotFound,
        Self::NodeInactive,
        Self::AttestationInvalid,
        Self::HealthFail,
        Self::StakeMissing,
        Self::HealthMiss,
        Self::AttestMiss,
        Self::AbuseAuthorized,
        Self::NoEvidence,
        Self::RegistrationExpired,
        Self::Inconclusive,
    ];

    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeNotFound => "node_not_found",
            Self::NodeInactive => "node_inactive",
            Self::AttestationInvalid => "attestation_invalid",
            Self::HealthFail => "health_fail",
            Self::StakeMissing => "stake_missing",
            Self::HealthMiss => "health_miss",
            Self::AttestMiss => "attest_miss",
            Self::AbuseAuthorized => "abuse_authorized",
            Self::NoEvidence => "no_evidence",
            Self::RegistrationExpired => "registration_expired",
            Self::Inconclusive => "inconclusive",
        }
    }

    /// The stable number in tables and the journal.
    pub const fn code(self) -> u8 {
        match self {
            Self::NodeNotFound => 0,
            Self::NodeInactive => 1,
            Self::AttestationInvalid => 2,
            Self::HealthFail => 3,
            Self::StakeMissing => 4,
            Self::HealthMiss => 5,
            Self::AttestMiss => 6,
            Self::AbuseAuthorized => 7,
            Self::NoEvidence => 8,
            Self::RegistrationExpired => 9,
            Self::Inconclusive => 10,
        }
    }

    /// The reason with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

impl From<Breach> for Reason {
    fn from(breach: Breach) -> Self {
        match breach {
            Breach::HealthTimeout => Self::HealthMiss,
            Breach::HealthFail => Self::HealthFail,
            Breach::AttestTimeout => Self::AttestMiss,
            Breach::AttestRejected => Self::AttestationInvalid,
            Breach::Abuse => Self::AbuseAuthorized,
        }
    }
}

impl From<Lack> for Reason {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::Inactive => Self::NodeInactive,
            Lack::Stake => Self::StakeMissing,
            Lack::Registration => Self::RegistrationExpired,
        }
    }
}

/// A reason with where it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// Why.
    pub reason: Reason,
    /// Where the first occurrence begins.
    pub first: Timestamp,
    /// Where the last occurrence ends; an instant ends where it begins.
    pub last: Timestamp,
    /// How many occurrences; a failure that several facts tell of is one.
    pub count: u32,
    /// How much more of the same was excused, in milliseconds rounded down.
    pub excused_ms: u64,
}

/// What a node earned in a window, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What it earned.
    pub decision: Decision,
    /// Why not more, each reason once, in their order; empty for a pass.
    pub findings: Vec<Finding>,
    /// The window's length, in microseconds.
    pub window_us: u64,
    /// How much of it was covered.
    pub covered_us: u64,
    /// How much of the rest was excused.
    pub excused_us: u64,
}

/// Judges a node by the evidence of a window.
pub fn judge(evidence: &Evidence) -> Verdict {
    let time = Time::of(evidence);
    let mut findings = Findings::default();
    for &(lack, span) in &evidence.lacks {
        findings.add(Occurrence::of(lack.into(), span));
    }
    time.find_misses(&mut findings);
    for &(at, breach) in &evidence.breaches {
        if counts(breach) == Counts::Always || !evidence.excused.contains(at) {
            findings.add(Occurrence {
                reason: breach.into(),
                from: at,
                until: at,
            });
        }
    }
    let decision = time.decide(&findings);
    if decision != Decision::Pass {
        time.find_thinness(decision, &mut findings);
    }
    Verdict {
        decision,
        findings: findings.finish(&time),
        window_us: evidence.window.length_us(),
        covered_us: time.covered.length_us(),
        excused_us: time.excused.length_us(),
    }
}

/// What an inconclusive lock pays at its deadline: the part of its charge that was covered,
/// rounded down, for the user keeps what cannot be shown to be earned.
pub fn split_without_fault(charge_micro_usd: u64, verdict: &Verdict) -> u64 {
    assert!(
        verdict.covered_us <= verdict.window_us,
        "covered is a part of the window"
    );
    let part = u128::from(charge_micro_usd) * u128::from(verdict.covered_us);
    let paid = part.checked_div(u128::from(verdict.window_us)).unwrap_or(0);
    u64::try_from(paid).expect("a part is not more than the whole")
}

#[derive(PartialEq, Eq)]
enum Counts {
    Always,
    UnlessExcused,
}

const fn counts(breach: Breach) -> Counts {
    match breach {
        Breach::HealthTimeout | Breach::AttestTimeout => Counts::UnlessExcused,
        Breach::HealthFail | Breach::AttestRejected | Breach::Abuse => Counts::Always,
    }
}

/// The window, divided.
struct Time<'a> {
    evidence: &'a Evidence,
    covered: Spans,
    /// Not covered, excused.
    excused: Spans,
    /// Neither covered nor excused.
    missed: Spans,
}

impl<'a> Time<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        let covered = evidence.health.intersection(&evidence.attestation);
        let lacking = Spans::from(evidence.window).minus(&covered);
        Self {
            evidence,
            excused: lacking.intersection(&evidence.excused),
            missed: lacking.minus(&evidence.excused),
            covered,
        }
    }

    /// By the track that lacks, health first.
    fn find_misses(&self, findings: &mut Findings) {
        let no_health = self.missed.minus(&self.evidence.health);
        let no_attestation = self.missed.intersection(&self.evidence.health);
        for span in no_health.iter() {
            findings.add(Occurrence::of(Reason::HealthMiss, span));
        }
        for span in no_attestation.iter() {
            findings.add(Occurrence::of(Reason::AttestMiss, span));
        }
    }

    fn decide(&self, findings: &Findings) -> Decision {
        if !findings.0.is_empty() {
            return Decision::Fail;
        }
        // q = 1/2, without a division.
        if self.covered.length_us() * 2 >= self.evidence.window.length_us() {
            return Decision::Pass;
        }
        Decision::Inconclusive
    }

    fn find_thinness(&self, decision: Decision, findings: &mut Findings) {
        if self.covered.is_empty() {
            findings.add(Occurrence::of(Reason::NoEvidence, self.evidence.window));
        }
        if decision == Decision::Inconclusive {
            findings.add(Occurrence::of(Reason::Inconclusive, self.evidence.window));
        }
    }

    /// How much of what a reason stands for was excused, in microseconds.
    fn excused_us(&self, reason: Reason) -> u64 {
        match reason {
            Reason::HealthMiss => self.excused.minus(&self.evidence.health).length_us(),
            Reason::AttestMiss => self.excused.intersection(&self.evidence.health).length_us(),
            Reason::NoEvidence | Reason::Inconclusive => self.excused.length_us(),
            Reason::NodeNotFound
            | Reason::NodeInactive
            | Reason::AttestationInvalid
            | Reason::HealthFail
            | Reason::StakeMissing
            | Reason::AbuseAuthorized
            | Reason::RegistrationExpired => 0,
        }
    }
}

struct Occurrence {
    reason: Reason,
    from: Timestamp,
    until: Timestamp,
}

impl Occurrence {
    const fn of(reason: Reason, span: Span) -> Self {
        Self {
            reason,
            from: span.from(),
            until: span.until(),
        }
    }
}

#[derive(Default)]
struct Findings(Vec<Occurrence>);

impl Findings {
    fn add(&mut self, occurrence: Occurrence) {
        self.0.push(occurrence);
    }

    /// Each reason once; occurrences that touch are one.
    fn finish(mut self, time: &Time<'_>) -> Vec<Finding> {
        self.0
            .sort_unstable_by_key(|found| (found.reason, found.from, found.until));
        let mut findings: Vec<Finding> = Vec::new();
        for Occurrence {
            reason,
            from,
            until,
        } in self.0
        {
            match findings.last_mut() {
                Some(last) if last.reason == reason => {
                    last.count += u32::from(from > last.last);
                    last.last = last.last.max(until);
                }
                Some(_) | None => findings.push(Finding {
                    reason,
                    first: from,
                    last: until,
                    count: 1,
                    excused_ms: time.excused_us(reason) / 1_000,
                }),
            }
        }
        findings
    }
}
