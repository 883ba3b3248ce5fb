//! Did a node earn a period? One pure function from evidence to verdict (LEDGER 7).
//!
//! **Fail**: a breach that counts, a gap in standing, or a part of the window that is neither
//! covered nor excused. **Pass**: else, if at least half of the window is covered: no evidence is
//! not a pass. **Inconclusive**: else. More coverage or more excuse never makes a verdict worse,
//! a breach never makes one better.

use ee_protocol::time::Timestamp;

pub use crate::books::rows::{Reason, ReasonRow as Finding, Verdict};
use crate::facts::{
    Breach, Lack,
    evidence::Evidence,
    spans::{Span, Spans},
};

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

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

/// What a node earned in a window, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What it earned.
    pub verdict: Verdict,
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
pub fn judge(evidence: &Evidence) -> Judgement {
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
    let verdict = time.decide(&findings);
    if verdict != Verdict::Pass {
        time.find_thinness(verdict, &mut findings);
    }
    Judgement {
        verdict,
        findings: findings.finish(&time),
        window_us: evidence.window.length_us(),
        covered_us: time.covered.length_us(),
        excused_us: time.excused.length_us(),
    }
}

/// What an inconclusive lock pays at its deadline: the part of its charge that was covered,
/// rounded down, for the user keeps what cannot be shown to be earned.
pub fn split_without_fault(charge_micro_usd: u64, judgement: &Judgement) -> u64 {
    assert!(
        judgement.covered_us <= judgement.window_us,
        "covered is a part of the window"
    );
    let part = u128::from(charge_micro_usd) * u128::from(judgement.covered_us);
    let paid = part
        .checked_div(u128::from(judgement.window_us))
        .unwrap_or(0);
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

    fn decide(&self, findings: &Findings) -> Verdict {
        if !findings.0.is_empty() {
            return Verdict::Fail;
        }
        // q = 1/2, without a division.
        if self.covered.length_us() * 2 >= self.evidence.window.length_us() {
            return Verdict::Pass;
        }
        Verdict::Inconclusive
    }

    fn find_thinness(&self, verdict: Verdict, findings: &mut Findings) {
        if self.covered.is_empty() {
            findings.add(Occurrence::of(Reason::NoEvidence, self.evidence.window));
        }
        if verdict == Verdict::Inconclusive {
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
