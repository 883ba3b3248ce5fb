//! `/v1/ledger/*`: the books as a whole.

use serde::{Deserialize, Serialize};

use super::fields::{Fields, Refused};
use crate::{problem::ProblemCode, time::Timestamp};

/// `GET /v1/ledger/trial-balance`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialBalance {
    /// The sum over all accounts: "0", or the books are broken.
    pub sum_micro_usd: String,
    /// Credits that purchases minted.
    pub minted_micro_usd: String,
    /// Stake that came from outside.
    pub external_stake_micro_usd: String,
    /// Credits that left by payouts.
    pub paid_out_micro_usd: String,
    /// What is in the hands of users and nodes: minted + external stake - paid out.
    pub circulation_micro_usd: String,
    /// What open locks set aside.
    pub locked_micro_usd: String,
    /// How many accounts there are.
    pub accounts: u64,
    /// The record of the journal up to which this counts.
    pub seq: u64,
}

/// `GET /v1/ledger/head`: how far the journal goes, for whoever compares it with a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHead {
    /// The last record.
    pub seq: u64,
    /// The leader's epoch.
    pub epoch: u64,
    /// The root of the hash chain, hexadecimal.
    pub root: String,
    /// The time of the last record, RFC 3339.
    pub at: String,
}

/// An admin's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockRequest {
    /// What it shows.
    pub now: Timestamp,
}

impl ClockRequest {
    /// Reads the body of `POST /v1/ledger/clock`.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        fields.only(&["now"])?;
        fields.demand(&["now"])?;
        let text = fields.id_text("now")?;
        let now = text.as_deref().and_then(Timestamp::parse_rfc3339);
        let wrong = || fields.refused(ProblemCode::InvalidField, "now", "not RFC 3339");
        Ok(Self {
            now: now.ok_or_else(wrong)?,
        })
    }
}

/// `POST /v1/ledger/clock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockView {
    /// What our clock shows, RFC 3339.
    pub now: String,
    /// Whether it is trusted: if not, nothing is settled.
    pub trusted: bool,
}
