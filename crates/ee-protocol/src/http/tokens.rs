//! `/v1/tokens`, `/v1/whoami`: managed tokens and who a token is.

use serde::{Deserialize, Serialize};

/// What is asked for of a new token.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenRequest {
    /// A role's word.
    pub role: String,
    /// What it is for, in a few words; for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it is bound to: `account=alice`, `node=n1`, `app=hello`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Fewer scopes than the role's; none named: the role's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Its life in seconds; absent: 90 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// A token as lists show it: never the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// Its id, the third part of the token.
    pub id: String,
    /// Its role.
    pub role: String,
    /// What it is for.
    pub name: String,
    /// `active`, `expired` or `revoked`.
    pub state: String,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// What it is bound to; empty: to nothing.
    pub resources: Vec<String>,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it ends; null: it does not by itself.
    pub expires_at: Option<String>,
    /// When it was last used, kept to the minute.
    pub last_used_at: Option<String>,
    /// Until when the secret before the last rotation is still good.
    pub previous_until: Option<String>,
}

/// A new token, shown once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenIssued {
    /// The token. It is stored as a hash and cannot be shown again.
    pub token: String,
    /// What it is.
    #[serde(flatten)]
    pub view: TokenView,
}

/// A page of tokens by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenList {
    /// The tokens.
    pub tokens: Vec<TokenView>,
    /// Where the next page begins; null: there is none.
    pub next_cursor: Option<String>,
}

/// A rotation's wish.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RotateRequest {
    /// How long the old secret stays good, in seconds; absent: 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_s: Option<u64>,
}

/// Who the presented token is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoAmI {
    /// `env:admin`, `stored:admin`, or `token:<id>`.
    pub name: String,
    /// Whose idempotency keys it shares: its resource, else its role.
    pub principal: String,
    /// Its role.
    pub role: String,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// What it is bound to; empty: to nothing.
    pub resources: Vec<String>,
    /// When it ends; null: not by itself.
    pub expires_at: Option<String>,
}
