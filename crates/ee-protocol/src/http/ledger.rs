//! `/v1/ledger/*`: the books as a whole.

use serde::{Deserialize, Serialize};

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
