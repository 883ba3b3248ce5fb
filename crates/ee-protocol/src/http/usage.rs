//! `POST /v1/usage/report`, `GET /v1/accounts/{a}/usage`: compute that was used.

use serde::{Deserialize, Serialize};

use super::fields::{Fields, Refused, Sent, SentPeriod};
use crate::{
    account::{AccountId, ClientId},
    money::VcpuMicros,
    names::NodeId,
    problem::ProblemCode,
};

/// `POST /v1/usage/report`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReported {
    /// The report.
    pub usage_id: String,
    /// The lock that it made; null if earlier locks of the meter cover it.
    pub lock_id: Option<String>,
    /// The charge it adds, in whole cents.
    pub amount_cents: i64,
    /// The charge it adds.
    pub amount_micro_usd: String,
    /// The period, canonically.
    pub period: String,
    /// The record in the journal.
    pub seq: u64,
}

/// A report as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageView {
    /// The report.
    pub usage_id: String,
    /// Who pays.
    pub account_id: String,
    /// Who worked.
    pub node_id: String,
    /// The period, canonically.
    pub period: String,
    /// Compute in vCPU-microseconds.
    pub vcpu_us: String,
    /// The charge it added.
    pub amount_micro_usd: String,
    /// `collected`, or `uncollected` for want of funds.
    pub state: String,
    /// When it was reported, RFC 3339.
    pub at: String,
    /// The record in the journal.
    pub seq: u64,
}

/// `GET /v1/accounts/{a}/usage`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageList {
    /// The reports.
    pub usage: Vec<UsageView>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// A report as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRequest {
    /// Who pays.
    pub account: AccountId,
    /// Who worked.
    pub node: NodeId,
    /// When.
    pub period: SentPeriod,
    /// How much.
    pub used: VcpuMicros,
    /// Whether `used` is the total of the meter instead of what it adds.
    pub cumulative: bool,
    /// The reporter's id of it: counted once for (account, node), for ever.
    pub usage_id: Option<ClientId>,
    /// The reporter and its own id, counted once everywhere.
    pub source: Option<(ClientId, ClientId)>,
}

impl UsageRequest {
    /// Reads the body of `POST /v1/usage/report`: `missing_fields`, `invalid_vcpu_hours`,
    /// `invalid_period`.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        let demanded = [
            "account_id",
            "node_id",
            "period_start",
            "period_end",
            "vcpu_hours",
        ];
        fields.demand(&demanded)?;
        let missing = |name| fields.refused(ProblemCode::MissingFields, name, "missing");
        let used = vcpu_hours(&fields)?;
        let period = fields.period()?.ok_or_else(|| missing("period_start"))?;
        let source = match (fields.client_id("source")?, fields.client_id("id")?) {
            (Some(source), Some(id)) => Some((source, id)),
            (None, None) => None,
            (Some(_), None) => return Err(fields.invalid("id", "missing beside source")),
            (None, Some(_)) => return Err(fields.invalid("source", "missing beside id")),
        };
        Ok(Self {
            account: fields
                .account("account_id")?
                .ok_or_else(|| missing("account_id"))?,
            node: fields.node("node_id")?.ok_or_else(|| missing("node_id"))?,
            period,
            used,
            cumulative: fields.flag("cumulative")?.unwrap_or(false),
            usage_id: fields.client_id("usage_id")?,
            source,
        })
    }
}

/// Less than one vCPU-microsecond is no usage: the prototype refused zero too.
fn vcpu_hours(fields: &Fields<'_>) -> Result<VcpuMicros, Refused> {
    let used = match fields.sent("vcpu_hours") {
        Sent::Text(text) => VcpuMicros::parse_text(&text).ok(),
        Sent::Number(raw) => VcpuMicros::parse_number(raw).ok(),
        Sent::Missing | Sent::True | Sent::Array(_) | Sent::Object(_) | Sent::Broken => None,
    };
    let used = used.filter(|used| *used > VcpuMicros::ZERO);
    used.ok_or_else(|| fields.refused(ProblemCode::InvalidVcpuHours, "vcpu_hours", "no amount"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(hours: &str, more: &str) -> Result<UsageRequest, String> {
        let body = format!(
            r#"{{"account_id":"a","node_id":"n","period_start":"2026-11-22T13:00:00Z",
            "period_end":"2026-11-22T14:00:00Z","vcpu_hours":{hours}{more}}}"#
        );
        UsageRequest::parse(body.as_bytes()).map_err(|problem| problem.code)
    }

    #[test]
    fn hours_are_floored_to_whole_microseconds() {
        let micros = |hours: &str| read(hours, "").map(|report| report.used.micros());
        assert_eq!(micros("0.016666666666666666"), Ok(59_999_999));
        assert_eq!(micros("\"1\""), Ok(3_600_000_000));
        assert_eq!(micros("1e-3"), Ok(3_600_000));
        for bad in [
            "-1",
            "1e30",
            "true",
            "[1]",
            "\"1e3\"",
            "\"NaN\"",
            "\"0\"",
            "1e-300",
            "\"١\"",
            "\"-1\"",
            "0.00000000000000000000000000000000000000001",
        ] {
            assert_eq!(micros(bad), Err("invalid_vcpu_hours".into()), "{bad}");
        }
        for missing in ["0", "null", "\"\"", "0.0"] {
            assert_eq!(micros(missing), Err("missing_fields".into()), "{missing}");
        }
    }

    #[test]
    fn a_source_comes_with_its_id() {
        let source = read("1", r#","source":"probe-1","id":7"#)
            .expect("sound")
            .source;
        let (source, id) = source.expect("both");
        assert_eq!((source.as_str(), id.as_str()), ("probe-1", "7"));
        assert_eq!(read("1", r#","source":"s""#), Err("invalid_field".into()));
        assert_eq!(read("1", r#","id":"s""#), Err("invalid_field".into()));
    }

    #[test]
    fn a_report_as_the_seed_answers_it_is_golden() {
        let reported = UsageReported {
            usage_id: "u".into(),
            lock_id: Some("l".into()),
            amount_cents: 4,
            amount_micro_usd: "40000".into(),
            period: "20261122T130000Z--20261122T140000Z".into(),
            seq: 9,
        };
        insta::assert_snapshot!(serde_json::to_string(&reported).expect("plain data"), @r#"{"usage_id":"u","lock_id":"l","amount_cents":4,"amount_micro_usd":"40000","period":"20261122T130000Z--20261122T140000Z","seq":9}"#);
    }
}
