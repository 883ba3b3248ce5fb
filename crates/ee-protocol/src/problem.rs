//! Problems: every refusal of the HTTP API (RFC 9457, EXPERIENCE 5).
//!
//! `code` is a closed enum; each has one status, one title and one hint, and a page at
//! `/errors/{code}`. `error` repeats the code for clients of the prototype.

use serde::{Deserialize, Serialize};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! problems {
    ($($(#[$doc:meta])* $variant:ident = $status:literal $code:literal, $title:literal, $hint:literal;)*) => {
        /// A problem's code: stable, for programs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ProblemCode {
            $(
                #[doc = concat!("`", $code, "` (", stringify!($status), "): ", $title, ".")]
                $variant,
            )*
        }

        impl ProblemCode {
            /// Every code, by status.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The HTTP status, always the same for a code.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// What happened, the same sentence for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What the reader can do about it.
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint,)* }
            }
        }
    };
}

problems! {
    InvalidJson = 400 "invalid_json", "The body is not the JSON that this route reads",
        "send one JSON object, at most 32 levels deep";
    MissingFields = 400 "missing_fields", "A required field is missing",
        "add the fields that errors[] names";
    InvalidField = 400 "invalid_field", "A field has a value that cannot be accepted",
        "correct the fields that errors[] names";
    InvalidAppName = 400 "invalid_app_name", "That is no name of an app",
        "an app's name is 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-'";
    InvalidProxyPayload = 400 "invalid_proxy_payload", "The proxy payload cannot be forwarded",
        "send {\"method\",\"path\",\"headers\",\"body_b64\"}; path begins with '/'";
    InvalidRequest = 400 "invalid_request", "The request is not well-formed HTTP for this route",
        "correct what detail names";
    MissingApp = 400 "missing_app", "No app could be read from the Host",
        "call http://<app>.<domain>/; the first label of the host is the app's name";
    UpgradeRequired = 400 "upgrade_required", "This route speaks WebSocket",
        "connect with an agent, or with a WebSocket client, protocol version 13";
    UnknownField = 400 "unknown_field", "The body has a member that this route does not know",
        "remove the members that errors[] names; /openapi.json shows the known ones";
    IdempotencyKeyRequired = 400 "idempotency_key_required",
        "A request that moves money must be safe to repeat",
        "send an Idempotency-Key header, or a client-made id in the body";
    MissingAccountId = 400 "missing_account_id", "The account is missing",
        "add account_id";
    MissingAccount = 400 "missing_account", "An account is missing",
        "add from_account and to_account";
    MissingAmount = 400 "missing_amount", "The amount is missing or zero",
        "add amount_usd, more than zero";
    InvalidAmount = 400 "invalid_amount", "That is no amount of money",
        "send dollars as a number or \"12.345678\": above zero, at most 6 decimals";
    InvalidVcpuHours = 400 "invalid_vcpu_hours", "That is no amount of compute",
        "send vCPU-hours as a plain number above zero, at most 40 characters";
    InvalidPeriod = 400 "invalid_period", "That is no period",
        "send period_start < period_end in RFC 3339, whole milliseconds, at most 31 days";
    PeriodMismatch = 400 "period_mismatch", "Path and body name different periods",
        "send one period, or an opaque word in the path";
    MissingNodeId = 400 "missing_node_id", "The node is missing",
        "add node_id";
    InvalidPrice = 400 "invalid_price", "That is no price",
        "send dollars for a vCPU-hour: zero or more, at most 6 decimals";
    InvalidStakeTier = 400 "invalid_stake_tier", "There is no such tier of stake",
        "use premium, standard or economy";
    InvalidAction = 400 "invalid_action", "There is no such decision",
        "use authorize, deny or overturn";
    SameAccount = 400 "same_account", "Both sides of the transfer are the same account",
        "name two different accounts";
    NodeNotFound = 400 "node_not_found", "No node of that id is registered",
        "check the id; easyenclave node register adds a node";
    NodeExists = 400 "node_exists", "A node of that id is registered already",
        "send allow_update: true to change it";
    NodePriceMissing = 400 "node_price_missing", "The node has no price for that period",
        "register the node with price_usd_per_vcpu_hour first";
    PeriodOverlap = 400 "period_overlap",
        "The period overlaps another one of this account and node",
        "use the same period again, or one that does not overlap";
    PeriodFinalized = 400 "period_finalized", "The period was settled and its deadline is over",
        "report usage before the settlement deadline";
    ReportNotFound = 400 "report_not_found", "There is no such abuse report",
        "check the id; easyenclave abuse ls shows the reports";
    SlashNotFound = 400 "slash_not_found", "There is no such slash",
        "check the id that filing it returned";
    InsufficientFunds = 400 "insufficient_funds", "The available balance does not cover this",
        "purchase or transfer credits to the account, then send a new request";
    TokenMissing = 401 "token_missing", "This route needs a token",
        "send Authorization: Bearer <token>, as easyenclave login does; the operator issues \
         tokens: easyenclave token create";
    TokenInvalid = 401 "token_invalid", "The token is not valid here",
        "check the token; the operator issues a new one: easyenclave token create";
    RoleNotConfigured = 403 "role_not_configured", "No token of this role is configured",
        "the operator sets it, for admin EE_ADMIN_TOKEN, or uses the bootstrap token";
    ScopeMissing = 403 "scope_missing", "The token does not reach this far",
        "use a token with the scope that detail names; the operator issues one: easyenclave \
         token create";
    ResourceDenied = 403 "resource_denied", "The token is for another resource",
        "use a token for what detail names; the operator issues one: easyenclave token create \
         --resource";
    NotEligible = 403 "not_eligible", "No node of the app may serve now",
        "easyenclave app explain <app> shows every gate of every node";
    BootstrapClosed = 403 "bootstrap_closed", "The bootstrap token is used up or was never made",
        "use the admin token; to start over, see SECURITY.md";
    ProxyApiOff = 403 "proxy_api_off", "The operator has switched this route off",
        "use the proxy listener with the app's host name";
    StakeAdminOnly = 403 "stake_admin_only", "A node does not set its own stake",
        "leave stake fields out; stake is deposited with POST /v1/nodes/{node}/stake";
    NodeBanned = 403 "node_banned", "The node is banned for ever",
        "a slash for fraud has no appeal here; ask the operator";
    NotFound = 404 "not_found", "There is nothing at this path",
        "see /openapi.json for the routes";
    UnknownApp = 404 "unknown_app", "No app of that name is registered",
        "check the name; easyenclave app ls shows the apps";
    AlarmNotFound = 404 "alarm_not_found", "There is no such alarm about an allowlist",
        "easyenclave allowlist alarms shows what is open, with both digests";
    AccountNotFound = 404 "account_not_found", "There is no such account",
        "check the id; a purchase or open_account: true opens it";
    LockNotFound = 404 "lock_not_found", "There is no such lock",
        "check the id; GET /v1/locks shows yours";
    TransferNotFound = 404 "transfer_not_found", "There is no such transfer",
        "check the id; the entries of an account name its transfers";
    SettlementNotFound = 404 "settlement_not_found", "Nothing is recorded for that period",
        "check the period; it is judged after its end and the grace";
    TokenNotFound = 404 "token_not_found", "There is no such token",
        "easyenclave token ls shows the tokens; a dead one cannot be rotated";
    MethodNotAllowed = 405 "method_not_allowed", "This path does not take that method",
        "use a method that the Allow header names";
    RequestTimeout = 408 "request_timeout", "The request came too slowly",
        "send head within 10 s and body without pauses over 60 s";
    AllowlistUnusable = 409 "allowlist_unusable", "What is published is no allowlist",
        "publish a valid one under a new tag, or acknowledge the pinned digest to end the alarm";
    IdReused = 409 "id_reused", "The id was used for a request with other fields",
        "make a new id for a new request";
    AccountKindConflict = 409 "account_kind_conflict",
        "The id belongs to an account of the other kind",
        "use another id: users and nodes share one namespace";
    SupplyCap = 409 "supply_cap", "That much money cannot exist here",
        "use a smaller amount";
    PriceAboveMax = 409 "price_above_max", "The node asks more than the payer allows",
        "raise max_price_usd, or choose a cheaper node";
    CapacityExceeded = 409 "capacity_exceeded", "The node has not so many vCPUs free",
        "lock fewer vCPUs, another node or another period";
    PeriodOpen = 409 "period_open", "The period is not over yet, or not all facts are in",
        "try again after its end";
    StakeInUse = 409 "stake_in_use", "Open locks need this stake",
        "withdraw after the locks are settled, or leave the minimum";
    LockStarted = 409 "lock_started", "The lock has begun",
        "it is settled after its period";
    LockResolved = 409 "lock_resolved", "The lock is settled or released already",
        "GET /v1/locks/{id} shows how";
    ReportAlreadyDecided = 409 "report_already_decided", "The report has another decision",
        "a decision stands; overturn records a later insight";
    SlashAlreadyDecided = 409 "slash_already_decided", "The slash has another decision",
        "a decision stands";
    TooManyTokens = 409 "too_many_tokens", "No more tokens can be made",
        "revoke tokens that nobody uses; they are forgotten after 30 days";
    BodyTooLarge = 413 "body_too_large", "The body is larger than this route takes",
        "send less, or use the proxy listener, which streams";
    UriTooLong = 414 "uri_too_long", "The request target is longer than 16 KiB",
        "move the data into the body";
    UnsupportedMediaType = 415 "unsupported_media_type", "This route reads application/json",
        "send Content-Type: application/json";
    HostUnknown = 421 "host_unknown", "The Host is not one label below the app domain",
        "call <app>.<EE_APP_DOMAIN>";
    AppHostMismatch = 421 "app_host_mismatch", "X-EE-App contradicts the Host",
        "let the proxy in front send one of the two, or both alike";
    IdempotencyKeyReused = 422 "idempotency_key_reused",
        "The Idempotency-Key was used for another request",
        "make a new key for a new request";
    RateLimited = 429 "rate_limited", "Too many requests",
        "wait for the seconds that Retry-After names";
    HeaderTooLarge = 431 "header_too_large", "The header block exceeds 64 KiB or 128 fields",
        "send fewer or smaller header fields";
    Internal = 500 "internal", "Something broke on our side",
        "try again; if it persists, report the request_id to the operator";
    UpgradeUnsupported = 501 "upgrade_unsupported", "This upgrade is not carried",
        "use plain requests";
    AgentDisconnected = 502 "agent_disconnected", "The agent's tunnel closed during the request",
        "repeat the request if it is safe to";
    BadAgentResponse = 502 "bad_agent_response", "The agent's answer is not valid HTTP",
        "report it to the app's developer; X-EE-Node names the node";
    ResponseTooLarge = 502 "response_too_large", "The answer does not fit in one message",
        "this app's agent sends answers whole, up to 8 MiB: use an agent that offers h2";
    NoTunnel = 503 "no_tunnel", "No node of the app is connected",
        "try again after Retry-After; agents reconnect by themselves";
    OverCapacity = 503 "over_capacity", "Every node of the app is busy",
        "try again after Retry-After";
    Overloaded = 503 "overloaded", "The control plane is short of memory",
        "try again after Retry-After";
    TooManyPending = 503 "too_many_pending", "Too many agents wait to be attested",
        "connect again after Retry-After";
    Draining = 503 "draining", "The control plane is shutting down",
        "try again; another instance takes over";
    StoreUnavailable = 503 "store_unavailable", "The store does not answer",
        "try again after Retry-After";
    Busy = 503 "busy", "Too many requests about money wait",
        "try again after Retry-After, with the same Idempotency-Key";
    OutcomeUnknown = 503 "outcome_unknown", "It is not known whether the request took effect",
        "repeat it with the same Idempotency-Key or id: it takes effect once";
    ProxyTimeout = 504 "proxy_timeout", "The app sent no response headers in time",
        "try again, or look at the app's own logs";
    DiskFull = 507 "disk_full", "The disk is full: nothing was written",
        "the operator frees space; then repeat with the same Idempotency-Key";
}

impl ProblemCode {
    /// Whether the same request may succeed later, as it is: nothing about it was stored, and the
    /// fault was not the sender's.
    pub const fn is_retryable(self) -> bool {
        matches!(self.status(), 408 | 429 | 502 | 503 | 504 | 507)
    }

    /// Reads a stable word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl std::fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One wrong member of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the member.
    pub pointer: String,
    /// What is wrong with it.
    pub code: String,
}

/// The body of a refusal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// `/errors/<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's title.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This occurrence, in a sentence; empty if the title says it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The code.
    pub code: String,
    /// The code again, under the prototype's name.
    pub error: String,
    /// What to do next.
    pub hint: String,
    /// The request's id, to quote in a report.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// The wrong members, if the request's body was at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Further members: the prototype's `allowed` and `reason`, the status payload.
    #[serde(flatten)]
    pub extensions: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// A problem as its code alone tells it.
    pub fn new(code: ProblemCode) -> Self {
        Self {
            kind: format!("/errors/{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            detail: String::new(),
            code: code.to_string(),
            error: code.to_string(),
            hint: code.hint().to_owned(),
            request_id: String::new(),
            errors: Vec::new(),
            extensions: serde_json::Map::new(),
        }
    }

    /// Answers with another status than the code's own: `node_not_found` is 400 where the
    /// prototype said so of a body, and 404 where the path names the node.
    #[must_use]
    pub fn at_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Says what happened this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Names a wrong member of the request's body.
    #[must_use]
    pub fn field(mut self, pointer: impl Into<String>, code: impl Into<String>) -> Self {
        self.errors.push(FieldError {
            pointer: pointer.into(),
            code: code.into(),
        });
        self
    }

    /// Adds a member beside the standard ones; those cannot be overwritten.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        const STANDARD: [&str; 9] = [
            "type",
            "title",
            "status",
            "detail",
            "code",
            "error",
            "hint",
            "request_id",
            "errors",
        ];
        if !STANDARD.contains(&name) {
            self.extensions.insert(name.to_owned(), value.into());
        }
        self
    }

    /// What refusals about an app carried in the prototype: `allowed: false` and `reason`.
    #[must_use]
    pub fn not_allowed(self, reason: &str) -> Self {
        self.with("allowed", false).with("reason", reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_ordered_by_status() {
        let words: std::collections::BTreeSet<_> =
            ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), ProblemCode::ALL.len());
        let statuses: Vec<u16> = ProblemCode::ALL.iter().map(|code| code.status()).collect();
        assert!(statuses.is_sorted());
    }

    #[test]
    fn every_problem_says_what_to_do_next() {
        for code in ProblemCode::ALL {
            assert!(
                !code.hint().is_empty() && !code.title().is_empty(),
                "{code}"
            );
            assert_eq!(ProblemCode::parse(code.as_str()), Some(*code));
        }
    }

    #[test]
    fn shape_of_a_problem_is_golden() {
        let problem = Problem::new(ProblemCode::UnknownApp).not_allowed("unknown_app");
        insta::assert_json_snapshot!(problem, @r#"
        {
          "type": "/errors/unknown_app",
          "title": "No app of that name is registered",
          "status": 404,
          "code": "unknown_app",
          "error": "unknown_app",
          "hint": "check the name; easyenclave app ls shows the apps",
          "allowed": false,
          "reason": "unknown_app"
        }
        "#);
    }

    #[test]
    fn extensions_never_replace_standard_members() {
        let problem = Problem::new(ProblemCode::NotEligible).with("status", "active");
        assert!(problem.extensions.is_empty());
    }
}
