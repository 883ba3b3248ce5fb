//! `/v1/abuse/reports*`, `/v1/slashes*`.

use serde::{Deserialize, Serialize};

use super::fields::{Fields, Refused, SentPeriod};
use crate::{
    account::{ClientId, Note},
    names::NodeId,
    problem::ProblemCode,
};

/// `POST /v1/abuse/reports`, `POST /v1/abuse/reports/{id}/authorize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportStatus {
    /// The report.
    pub report_id: String,
    /// `pending`, `authorized`, `denied` or `overturned`.
    pub status: String,
    /// The record in the journal.
    pub seq: u64,
}

/// A report as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportView {
    /// The report.
    pub report_id: String,
    /// The node.
    pub node_id: String,
    /// From when on it counts, RFC 3339.
    pub from: String,
    /// Until when; null: until the decision.
    pub until: Option<String>,
    /// What the filer wrote.
    pub reason: Option<String>,
    /// Who filed it, as written; the journal has the token's own name.
    pub reported_by: Option<String>,
    /// `pending`, `authorized`, `denied` or `overturned`.
    pub status: String,
    /// A note about who decided, as written.
    pub authorized_by: Option<String>,
    /// When it was filed, RFC 3339.
    pub filed_at: String,
    /// When it was decided.
    pub decided_at: Option<String>,
}

/// `GET /v1/abuse/reports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportList {
    /// The reports.
    pub reports: Vec<ReportView>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// `POST /v1/slashes`, `POST /v1/slashes/{id}/authorize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlashStatus {
    /// The slash.
    pub slash_id: String,
    /// `pending`, `executed` or `denied`.
    pub status: String,
    /// What it took from the stake by this request.
    pub taken_micro_usd: String,
    /// The record in the journal.
    pub seq: u64,
}

/// A report as filed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbuseRequest {
    /// The node.
    pub node: NodeId,
    /// The period it is about; none: from the period of its filing to the decision.
    pub period: Option<SentPeriod>,
    /// Why.
    pub reason: Option<Note>,
    /// Who says so.
    pub reported_by: Option<Note>,
}

/// What an admin decides about a report or a slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecisionWord {
    /// It holds.
    Authorize,
    /// It does not.
    Deny,
    /// It turned out otherwise later; moves no money.
    Overturn,
}

/// A decision as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRequest {
    /// The decision.
    pub action: DecisionWord,
    /// A note about who decided.
    pub authorized_by: Option<Note>,
}

/// Why stake is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlashWord {
    /// The node broke off and its app moved to another.
    DowntimeMigration,
    /// The node's evidence was a lie.
    AttestationFraud,
}

/// A slash as filed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlashRequest {
    /// The client's id of it.
    pub id: Option<ClientId>,
    /// The node.
    pub node: NodeId,
    /// Why.
    pub reason: SlashWord,
    /// What shows it.
    pub evidence: Option<Note>,
}

impl AbuseRequest {
    /// Reads the body of `POST /v1/abuse/reports`: `missing_node_id`.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        let missing = || fields.refused(ProblemCode::MissingNodeId, "node_id", "missing");
        Ok(Self {
            node: fields.node("node_id")?.ok_or_else(missing)?,
            period: fields.period()?,
            reason: fields.note("reason")?,
            reported_by: fields.note("reported_by")?,
        })
    }
}

impl DecisionRequest {
    /// Reads the body of `POST /v1/abuse/reports/{id}/authorize`: `invalid_action`.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        let actions = [
            ("authorize", DecisionWord::Authorize),
            ("deny", DecisionWord::Deny),
            ("overturn", DecisionWord::Overturn),
        ];
        let action = fields
            .choice("action", &actions, ProblemCode::InvalidAction)?
            .ok_or_else(|| fields.refused(ProblemCode::InvalidAction, "action", "missing"))?;
        Ok(Self {
            action,
            authorized_by: fields.note("authorized_by")?,
        })
    }
}

impl SlashRequest {
    /// Reads the body of `POST /v1/slashes`: `missing_fields`; fraud needs its evidence.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        fields.only(&["id", "node_id", "reason", "evidence"])?;
        fields.demand(&["node_id", "reason"])?;
        let reasons = [
            ("downtime_migration", SlashWord::DowntimeMigration),
            ("attestation_fraud", SlashWord::AttestationFraud),
        ];
        let reason = fields
            .choice("reason", &reasons, ProblemCode::InvalidField)?
            .ok_or_else(|| fields.refused(ProblemCode::MissingFields, "reason", "missing"))?;
        if reason == SlashWord::AttestationFraud {
            fields.demand(&["evidence"])?;
        }
        let missing = || fields.refused(ProblemCode::MissingFields, "node_id", "missing");
        Ok(Self {
            node: fields.node("node_id")?.ok_or_else(missing)?,
            reason,
            evidence: fields.note("evidence")?,
            id: fields.client_id("id")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_its_node() {
        let read = |body: &str| {
            let parsed = AbuseRequest::parse(body.as_bytes());
            parsed.map_or_else(|problem| problem.code, |report| report.node.to_string())
        };
        assert_eq!(read("{}"), "missing_node_id");
        assert_eq!(read(r#"{"node_id":"n1","more":1}"#), "n1");
        let half = r#"{"node_id":"n1","period_start":"2026-11-22T13:00:00Z"}"#;
        assert_eq!(read(half), "missing_fields");
        let long = format!(r#"{{"node_id":"n1","reason":"{}"}}"#, "x".repeat(2_000));
        assert_eq!(read(&long), "invalid_field");
    }

    #[test]
    fn there_are_three_decisions() {
        let read = |body: &str| {
            let parsed = DecisionRequest::parse(body.as_bytes());
            parsed
                .map(|decision| decision.action)
                .map_err(|problem| problem.code)
        };
        assert_eq!(read(r#"{"action":"deny"}"#), Ok(DecisionWord::Deny));
        for bad in [
            "{}",
            r#"{"action":"Deny"}"#,
            r#"{"action":1}"#,
            r#"{"action":[1]}"#,
        ] {
            assert_eq!(read(bad), Err("invalid_action".into()), "{bad}");
        }
    }

    #[test]
    fn fraud_needs_evidence() {
        let read = |body: &str| {
            let parsed = SlashRequest::parse(body.as_bytes());
            parsed.map_or_else(|problem| problem.code, |_| "ok".to_owned())
        };
        let fraud = r#"{"node_id":"n1","reason":"attestation_fraud"}"#;
        assert_eq!(read(fraud), "missing_fields");
        let downtime = r#"{"node_id":"n1","reason":"downtime_migration"}"#;
        assert_eq!(read(downtime), "ok");
        assert_eq!(
            read(r#"{"node_id":"n1","reason":"spite"}"#),
            "invalid_field"
        );
    }

    #[test]
    fn a_report_as_the_seed_answers_it_is_golden() {
        let filed = ReportStatus {
            report_id: "r".into(),
            status: "pending".into(),
            seq: 3,
        };
        insta::assert_snapshot!(serde_json::to_string(&filed).expect("plain data"), @r#"{"report_id":"r","status":"pending","seq":3}"#);
    }
}
