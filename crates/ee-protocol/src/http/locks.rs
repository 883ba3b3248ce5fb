//! `/v1/locks*`, `/v1/apps/{app}/payer`: credits set aside before compute runs.

use serde::{Deserialize, Serialize};

use super::fields::{Fields, Refused, Sent};
use crate::{
    account::{AccountId, ClientId},
    money::MicroUsd,
    names::NodeId,
    period::Period,
    problem::ProblemCode,
};

use super::credits::Balances;

/// `POST /v1/locks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locked {
    /// The lock.
    pub lock_id: String,
    /// What it sets aside.
    pub amount_micro_usd: String,
    /// The price for a vCPU-hour that it froze.
    pub price_micro_usd: String,
    /// When it is returned at the latest, RFC 3339.
    pub expires_at: String,
    /// The period, canonically.
    pub period: String,
    /// The record in the journal.
    pub seq: u64,
    /// Holdings now.
    pub balances: Balances,
}

/// `DELETE /v1/locks/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The lock.
    pub lock_id: String,
    /// What came back.
    pub returned_micro_usd: String,
    /// The record in the journal.
    pub seq: u64,
    /// Holdings now.
    pub balances: Balances,
}

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockView {
    /// The lock.
    pub lock_id: String,
    /// Who pays.
    pub account_id: String,
    /// Who works.
    pub node_id: String,
    /// The period, canonically.
    pub period: String,
    /// From when on it pays, RFC 3339.
    pub from: String,
    /// How many vCPUs; null for the locks that usage reports make, which hold none.
    pub vcpus: Option<u32>,
    /// `metered` or `reserved`.
    pub mode: String,
    /// What it set aside.
    pub amount_micro_usd: String,
    /// What of that went to the node.
    pub posted_micro_usd: String,
    /// `open`, `settled`, `released` or `expired`.
    pub state: String,
    /// When it is returned at the latest, RFC 3339.
    pub expires_at: String,
    /// The app it keeps running.
    pub app: Option<String>,
}

/// `GET /v1/locks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockList {
    /// The locks.
    pub locks: Vec<LockView>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// `PUT`, `DELETE /v1/apps/{app}/payer`: who pays for an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayerView {
    /// The app.
    pub app: String,
    /// Who pays; null: nobody, and the app runs without locks.
    pub account_id: Option<String>,
    /// vCPUs for each node.
    pub vcpus: Option<u32>,
    /// The highest price for a vCPU-hour.
    pub max_price_micro_usd: Option<String>,
    /// How many nodes at most.
    pub nodes_max: Option<u32>,
    /// The record in the journal.
    pub seq: u64,
}

/// `GET /v1/apps/{app}/payer`: who pays for an app, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayerStanding {
    /// Who pays.
    #[serde(flatten)]
    pub payer: PayerView,
    /// `ok`; `low`: fewer than six periods are left; `exhausted`: the app is not routed; null:
    /// nobody pays.
    pub funds: Option<String>,
    /// How many periods more the account can pay at the cost of the last; null: none was locked.
    pub runway_periods: Option<u32>,
}

/// How a lock is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockWord {
    /// For what was used; the rest returns.
    Metered,
    /// For all of it.
    Reserved,
}

/// A lock as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRequest {
    /// The client's id of it.
    pub id: Option<ClientId>,
    /// Who pays.
    pub account: AccountId,
    /// Who works.
    pub node: NodeId,
    /// How many vCPUs.
    pub vcpus: u32,
    /// When.
    pub period: Period,
    /// How it is paid.
    pub mode: LockWord,
}

/// Who is to pay for an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayerRequest {
    /// The account.
    pub account: AccountId,
    /// vCPUs for each node.
    pub vcpus: u32,
    /// The highest price for a vCPU-hour; none: any.
    pub max_price: Option<MicroUsd>,
    /// How many nodes at most.
    pub nodes_max: u32,
}

impl LockRequest {
    /// Reads the body of `POST /v1/locks`: `missing_fields`, `invalid_period`, `period_mismatch`.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        fields.only(&[
            "id",
            "account_id",
            "node_id",
            "vcpus",
            "period",
            "period_start",
            "period_end",
            "mode",
        ])?;
        fields.demand(&["account_id", "node_id", "vcpus"])?;
        let missing = |name| fields.refused(ProblemCode::MissingFields, name, "missing");
        let modes = [
            ("metered", LockWord::Metered),
            ("reserved", LockWord::Reserved),
        ];
        let mode = fields.choice("mode", &modes, ProblemCode::InvalidField)?;
        Ok(Self {
            period: lock_period(&fields)?,
            account: fields
                .account("account_id")?
                .ok_or_else(|| missing("account_id"))?,
            node: fields.node("node_id")?.ok_or_else(|| missing("node_id"))?,
            vcpus: fields.count("vcpus")?.ok_or_else(|| missing("vcpus"))?,
            mode: mode.unwrap_or(LockWord::Metered),
            id: fields.client_id("id")?,
        })
    }
}

/// `period` as in a path, or its bounds, or both alike.
fn lock_period(fields: &Fields<'_>) -> Result<Period, Refused> {
    let bounds = fields.period()?.map(|sent| sent.period);
    let refused = |code| fields.refused(code, "period", "no period");
    let named = match fields.sent("period") {
        Sent::Missing => None,
        Sent::Text(text) => {
            Some(Period::parse(&text).map_err(|_| refused(ProblemCode::InvalidPeriod))?)
        }
        Sent::Number(_) | Sent::True | Sent::Array(_) | Sent::Object(_) | Sent::Broken => {
            return Err(refused(ProblemCode::InvalidPeriod));
        }
    };
    match (named, bounds) {
        (Some(named), Some(bounds)) if named != bounds => Err(refused(ProblemCode::PeriodMismatch)),
        (Some(period), _) | (None, Some(period)) => Ok(period),
        (None, None) => Err(refused(ProblemCode::MissingFields)),
    }
}

impl PayerRequest {
    /// Reads the body of `PUT /v1/apps/{app}/payer`.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        fields.only(&["account_id", "vcpus", "max_price_usd", "nodes_max"])?;
        fields.demand(&["account_id", "vcpus"])?;
        let missing = |name| fields.refused(ProblemCode::MissingFields, name, "missing");
        Ok(Self {
            account: fields
                .account("account_id")?
                .ok_or_else(|| missing("account_id"))?,
            vcpus: fields.count("vcpus")?.ok_or_else(|| missing("vcpus"))?,
            max_price: fields.money("max_price_usd", ProblemCode::InvalidPrice)?,
            nodes_max: fields.count("nodes_max")?.unwrap_or(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_names_its_period_either_way() {
        let read = |period: &str| {
            let body = format!(r#"{{"account_id":"a","node_id":"n","vcpus":2{period}}}"#);
            let parsed = LockRequest::parse(body.as_bytes());
            parsed
                .map(|lock| lock.period.to_string())
                .map_err(|problem| problem.code)
        };
        let hour = Ok("20261122T130000Z--20261122T140000Z".to_owned());
        let bounds =
            r#","period_start":"2026-11-22T13:00:00Z","period_end":"2026-11-22T14:00:00Z""#;
        assert_eq!(read(bounds), hour);
        assert_eq!(read(r#","period":"2026-11-22T13Z""#), hour);
        assert_eq!(
            read(&format!(r#","period":"2026-11-22T13Z"{bounds}"#)),
            hour
        );
        let other = read(&format!(r#","period":"2026-11-22T12Z"{bounds}"#));
        assert_eq!(other, Err("period_mismatch".into()));
        assert_eq!(read(""), Err("missing_fields".into()));
        assert_eq!(read(r#","period":"soon""#), Err("invalid_period".into()));
        assert_eq!(read(r#","period":[1]"#), Err("invalid_period".into()));
    }

    #[test]
    fn a_payer_names_account_and_vcpus() {
        let read = |body: &str| {
            let parsed = PayerRequest::parse(body.as_bytes());
            parsed
                .map(|payer| (payer.nodes_max, payer.max_price.map(MicroUsd::micros)))
                .map_err(|problem| problem.code)
        };
        assert_eq!(read(r#"{"account_id":"a","vcpus":1}"#), Ok((1, None)));
        let full = r#"{"account_id":"a","vcpus":"1","max_price_usd":0.05,"nodes_max":3}"#;
        assert_eq!(read(full), Ok((3, Some(50_000))));
        assert_eq!(read("{}"), Err("missing_fields".into()));
        let negative = r#"{"account_id":"a","vcpus":1,"max_price_usd":-1}"#;
        assert_eq!(read(negative), Err("invalid_price".into()));
        let half = r#"{"account_id":"a","vcpus":0.5}"#;
        assert_eq!(read(half), Err("invalid_field".into()));
    }
}
