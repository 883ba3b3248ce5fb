//! `/v1/settlements/*`, `POST /v1/facts`: periods and how they were judged.

use serde::{Deserialize, Serialize};

use super::fields::{Fields, Refused, Sent, SentPeriod};
use crate::{
    names::NodeId,
    period::Period,
    problem::{Problem, ProblemCode},
    time::Timestamp,
};

/// `POST /v1/settlements/{period}/finalize`, for one node or for all with locks in the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finalized {
    /// The node, as sent; null if the period was finalised for all its nodes.
    pub node_id: Option<String>,
    /// The period's start, as sent.
    pub period_start: String,
    /// Its end, as sent.
    pub period_end: String,
    /// Whether the node is paid.
    pub eligible: bool,
    /// Why not, each once.
    pub reasons: Vec<String>,
    /// Locks that this call paid.
    pub settled: u64,
    /// Locks that this call returned.
    pub failed: u64,
    /// `pass`, `fail` or `inconclusive`; null if nothing was judged.
    pub verdict: Option<String>,
    /// `settling`, `awaiting` (inconclusive so far) or `settled`.
    pub state: String,
    /// What the node was paid for the period in all.
    pub paid_micro_usd: String,
    /// What went back to users in all.
    pub returned_micro_usd: String,
    /// The period, canonically.
    pub period: String,
    /// Reports about the period that nobody has decided: this judgement did not wait for them.
    pub pending_abuse_reports: Vec<String>,
    /// Each node's part, if the period was finalised for all its nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeSettled>,
    /// The record in the journal.
    pub seq: u64,
}

impl Finalized {
    /// Whether locks are still to be resolved.
    pub fn is_settling(&self) -> bool {
        self.state == "settling"
    }

    /// The nodes whose locks this call began to resolve.
    pub fn begun(&self) -> Vec<String> {
        let of_all = self
            .nodes
            .iter()
            .filter(|node| node.settled + node.failed > 0);
        let one = self
            .node_id
            .iter()
            .filter(|_| self.settled + self.failed > 0);
        of_all
            .map(|node| &node.node_id)
            .chain(one)
            .cloned()
            .collect()
    }

    /// Takes over what a later look at the same settlement says; the counts stay this call's.
    pub fn follow(&mut self, later: Self) {
        let counts = (self.settled, self.failed);
        let pending = std::mem::take(&mut self.pending_abuse_reports);
        *self = Self {
            settled: counts.0,
            failed: counts.1,
            pending_abuse_reports: pending,
            seq: self.seq,
            ..later
        };
    }
}

/// A node's part of a period that was finalised for all its nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSettled {
    /// The node.
    pub node_id: String,
    /// `pass`, `fail` or `inconclusive`.
    pub verdict: String,
    /// `settling`, `awaiting` (inconclusive so far) or `settled`.
    pub state: String,
    /// Why it is no pass, each once.
    pub reasons: Vec<ReasonView>,
    /// Locks that this call paid.
    pub settled: u64,
    /// Locks that this call returned.
    pub failed: u64,
    /// What the node was paid in all.
    pub paid_micro_usd: String,
    /// What went back to users in all.
    pub returned_micro_usd: String,
}

/// A node's verdict within a period; public, so it names no user and no amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeVerdict {
    /// The node.
    pub node_id: String,
    /// The period, canonically.
    pub period: String,
    /// `pass`, `fail` or `inconclusive`.
    pub verdict: String,
    /// `settling`, `awaiting` (inconclusive so far) or `settled`.
    pub state: String,
    /// Why it is no pass, each once.
    pub reasons: Vec<ReasonView>,
    /// SHA-256 of the facts it was judged by.
    pub facts_hash: String,
    /// SHA-256 of the rules it was judged by.
    pub policy_hash: String,
    /// When, RFC 3339.
    pub at: String,
}

/// One reason of a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonView {
    /// `health_miss`, `abuse_authorized`, …
    pub reason: String,
    /// Its first instant, RFC 3339.
    pub first: String,
    /// Its last.
    pub last: String,
    /// How often.
    pub count: u32,
    /// Time that was excused beside it.
    pub excused_ms: u64,
}

/// `GET /v1/settlements/{period}`: by node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettlementView {
    /// The period, canonically.
    pub period: String,
    /// `open` (no node of this page is judged), `settling`, `awaiting` (inconclusive so far) or
    /// `settled`.
    pub state: String,
    /// Each judged node's verdict, in the order in which the nodes came to the books.
    pub nodes: Vec<NodeVerdict>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

impl SettlementView {
    /// A period and a page of its verdicts.
    pub fn of(period: Period, nodes: Vec<NodeVerdict>, next_cursor: Option<String>) -> Self {
        let is_any = |state: &str| nodes.iter().any(|node| node.state == state);
        let unfinished = ["settling", "awaiting"]
            .into_iter()
            .find(|state| is_any(state));
        let finished = if nodes.is_empty() { "open" } else { "settled" };
        Self {
            period: period.to_string(),
            state: unfinished.unwrap_or(finished).to_owned(),
            nodes,
            next_cursor,
        }
    }
}

/// `GET /v1/settlements?node=`: the latest period first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictList {
    /// The verdicts.
    pub settlements: Vec<NodeVerdict>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// `GET /v1/settlements/{period}/{node}`: a verdict with the facts behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceView {
    /// The verdict.
    #[serde(flatten)]
    pub verdict: NodeVerdict,
    /// The facts about the node in the period.
    pub facts: Vec<FactView>,
}

/// One fact about a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactView {
    /// The record in the journal.
    pub seq: u64,
    /// `health`, `attestation`, `breach`, …
    pub kind: String,
    /// From when on, RFC 3339 with microseconds.
    pub from: String,
    /// Until when; null: it was still so when it was read.
    pub until: Option<String>,
    /// What caused it.
    pub cause: Option<String>,
}

/// `POST /v1/facts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsReported {
    /// The node.
    pub node_id: String,
    /// The record in the journal.
    pub seq: u64,
}

/// What is to be finalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinalizeRequest {
    /// One node's period, named by the body.
    Node(NodeId, SentPeriod),
    /// All nodes with locks in exactly this period, named by the path.
    All(Period),
}

impl FinalizeRequest {
    /// The period.
    pub fn period(&self) -> Period {
        match self {
            Self::Node(_, sent) => sent.period,
            Self::All(period) => *period,
        }
    }

    /// Reads path and body of `POST /v1/settlements/{period}/finalize`. The body wins; a path that
    /// parses must agree with it: `missing_fields`, `invalid_period`, `period_mismatch`.
    pub fn parse(path: &str, body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read_or_empty(body)?;
        let named = Period::parse(path);
        let members = ["node_id", "period_start", "period_end"];
        if members
            .iter()
            .all(|name| fields.sent(name) == Sent::Missing)
        {
            let detail = format!("'{path}' is no period, and the body names none");
            let invalid = Problem::new(ProblemCode::InvalidPeriod).detail(detail);
            return named.map(Self::All).map_err(|_| invalid.into());
        }
        fields.demand(&members)?;
        let missing = |name| fields.refused(ProblemCode::MissingFields, name, "missing");
        let sent = fields.period()?.ok_or_else(|| missing("period_start"))?;
        if named.is_ok_and(|named| named != sent.period) {
            let detail = format!("the path says {path}, the body {}", sent.period);
            let mismatch = Problem::new(ProblemCode::PeriodMismatch).detail(detail);
            return Err(mismatch.into());
        }
        let node = fields.node("node_id")?.ok_or_else(|| missing("node_id"))?;
        Ok(Self::Node(node, sent))
    }
}

/// Which coverage a fact reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackWord {
    /// The node was healthy.
    Health,
    /// The node was attested.
    Attestation,
}

/// Coverage that the uptime server saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactRequest {
    /// The node.
    pub node: NodeId,
    /// Which coverage.
    pub track: TrackWord,
    /// From when on.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl FactRequest {
    /// Reads the body of `POST /v1/facts`: `missing_fields`, `invalid_field`, `invalid_period`.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        let members = ["node_id", "track", "from", "until"];
        fields.only(&members)?;
        fields.demand(&members)?;
        let missing = |name| fields.refused(ProblemCode::MissingFields, name, "missing");
        let tracks = [
            ("health", TrackWord::Health),
            ("attestation", TrackWord::Attestation),
        ];
        let track = fields
            .choice("track", &tracks, ProblemCode::InvalidField)?
            .ok_or_else(|| missing("track"))?;
        let instant = |name: &str| {
            let text = fields.id_text(name)?;
            let parsed = text.as_deref().and_then(Timestamp::parse_rfc3339);
            parsed.ok_or_else(|| fields.invalid(name, "not RFC 3339"))
        };
        let (from, until) = (instant("from")?, instant("until")?);
        if from >= until {
            return Err(fields.refused(ProblemCode::InvalidPeriod, "until", "not after from"));
        }
        Ok(Self {
            node: fields.node("node_id")?.ok_or_else(|| missing("node_id"))?,
            track,
            from,
            until,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: &str =
        r#""period_start":"2026-11-22T13:00:00Z","period_end":"2026-11-22T14:00:00Z""#;

    fn read(path: &str, body: &str) -> String {
        match FinalizeRequest::parse(path, body.as_bytes()) {
            Ok(FinalizeRequest::Node(node, sent)) => format!("{node} {}", sent.period),
            Ok(FinalizeRequest::All(period)) => format!("all {period}"),
            Err(problem) => problem.code,
        }
    }

    #[test]
    fn the_body_wins_over_an_opaque_path() {
        let body = format!(r#"{{"node_id":"n1",{HOUR}}}"#);
        let one = "n1 20261122T130000Z--20261122T140000Z";
        assert_eq!(read("2026-11", &body), one);
        assert_eq!(read("2026-11-22T13Z", &body), one);
        assert_eq!(read("2026-11-22T14Z", &body), "period_mismatch");
        assert_eq!(
            read("2026-11-22T13Z", ""),
            "all 20261122T130000Z--20261122T140000Z"
        );
        assert_eq!(
            read("2026-11-22", "{}"),
            "all 20261122T000000Z--20261123T000000Z"
        );
    }

    #[test]
    fn malformed_periods_are_refused() {
        for path in [
            "2026-11",
            "latest",
            "2026-02-30",
            "aaaé",
            "aaaéaaa",
            "é",
            "2026-11-22T24Z",
        ] {
            assert_eq!(read(path, "{}"), "invalid_period", "{path}");
        }
        assert_eq!(read("x", r#"{"node_id":"n1"}"#), "missing_fields");
        assert_eq!(read("x", &format!("{{{HOUR}}}")), "missing_fields");
        assert_eq!(read("2026-11-22", "[]"), "invalid_json");
    }

    #[test]
    fn a_fact_is_an_interval_of_one_track() {
        let read = |track: &str, from: &str, until: &str| {
            let body = format!(
                r#"{{"node_id":"n1","track":"{track}","from":"{from}","until":"{until}"}}"#
            );
            let parsed = FactRequest::parse(body.as_bytes());
            parsed.map_or_else(|problem| problem.code, |_| "ok".to_owned())
        };
        let (one, two) = ("2026-11-22T13:00:00Z", "2026-11-22T14:00:00Z");
        assert_eq!(read("health", one, two), "ok");
        assert_eq!(read("wealth", one, two), "invalid_field");
        assert_eq!(read("health", two, one), "invalid_period");
        assert_eq!(read("health", one, "now"), "invalid_field");
    }

    fn settled() -> Finalized {
        Finalized {
            node_id: Some("n1".into()),
            period_start: "2026-11-22T13:00:00Z".into(),
            period_end: "2026-11-22T14:00:00+00:00".into(),
            eligible: false,
            reasons: vec!["health_miss".into()],
            settled: 0,
            failed: 1,
            verdict: Some("fail".into()),
            state: "settled".into(),
            paid_micro_usd: "0".into(),
            returned_micro_usd: "40000".into(),
            period: "20261122T130000Z--20261122T140000Z".into(),
            pending_abuse_reports: Vec::new(),
            nodes: Vec::new(),
            seq: 11,
        }
    }

    #[test]
    fn a_settlement_as_the_seed_answers_it_is_golden() {
        insta::assert_snapshot!(serde_json::to_string(&settled()).expect("plain data"), @r#"{"node_id":"n1","period_start":"2026-11-22T13:00:00Z","period_end":"2026-11-22T14:00:00+00:00","eligible":false,"reasons":["health_miss"],"settled":0,"failed":1,"verdict":"fail","state":"settled","paid_micro_usd":"0","returned_micro_usd":"40000","period":"20261122T130000Z--20261122T140000Z","pending_abuse_reports":[],"seq":11}"#);
    }

    #[test]
    fn a_later_look_changes_the_state_and_no_count() {
        let mut first = settled();
        first.state = "settling".into();
        assert!(first.is_settling());
        assert_eq!(first.begun(), ["n1"]);
        let mut later = settled();
        later.failed = 0;
        later.returned_micro_usd = "80000".into();
        assert!(later.begun().is_empty());
        first.follow(later);
        assert!(!first.is_settling());
        assert_eq!(
            (first.failed, first.returned_micro_usd.as_str()),
            (1, "80000")
        );
    }
}
