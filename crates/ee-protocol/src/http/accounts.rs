//! `/v1/accounts*`: an account, its entries, its usage.

use serde::{Deserialize, Serialize};

use super::credits::Holdings;

/// `GET /v1/accounts/{a}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    /// The account.
    pub account_id: String,
    /// `user` or `node`; null as long as nothing fixed it.
    pub kind: Option<String>,
    /// What it holds.
    #[serde(flatten)]
    pub holdings: Holdings,
    /// A node's stake.
    pub stake_micro_usd: String,
    /// Stake on its way out, still slashable.
    pub unbonding_micro_usd: String,
}

/// `GET /v1/accounts`: by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountList {
    /// The accounts.
    pub accounts: Vec<AccountView>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// One line of an account: a transfer as the account sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The record in the journal.
    pub seq: u64,
    /// When, RFC 3339.
    pub at: String,
    /// `purchase`, `transfer`, `settle`, …
    pub kind: String,
    /// The transfer.
    pub transfer_id: String,
    /// Signed: money that came is positive, money that went negative.
    pub amount_micro_usd: String,
    /// `posted` if it moved money, `pending` for what only sets aside or gives back.
    pub effect: String,
    /// The account's own part that moved: the wallet, or `#held`, `#stake`, `#unbonding`.
    pub account: String,
    /// The other side.
    pub counterparty: String,
    /// The lock, report or period behind it.
    pub reference: Option<String>,
}

/// `GET /v1/accounts/{a}/entries`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryList {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}
