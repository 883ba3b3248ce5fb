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
    TokenMissing = 401 "token_missing", "This route needs a token",
        "send Authorization: Bearer <token>";
    TokenInvalid = 401 "token_invalid", "The token is not valid here",
        "check the token; ask the operator for a new one";
    RoleNotConfigured = 403 "role_not_configured", "No token of this role is configured",
        "the operator sets it, for admin EE_ADMIN_TOKEN, or uses the bootstrap token";
    ScopeMissing = 403 "scope_missing", "The token does not reach this far",
        "use a token whose scopes include the one that detail names";
    ResourceDenied = 403 "resource_denied", "The token is for another resource",
        "use a token for this resource";
    NotEligible = 403 "not_eligible", "No node of the app may serve now",
        "easyenclave app explain <app> shows every gate of every node";
    BootstrapClosed = 403 "bootstrap_closed", "The bootstrap token is used up or was never made",
        "use the admin token; to start over, see SECURITY.md";
    ProxyApiOff = 403 "proxy_api_off", "The operator has switched this route off",
        "use the proxy listener with the app's host name";
    NotFound = 404 "not_found", "There is nothing at this path",
        "see /openapi.json for the routes";
    UnknownApp = 404 "unknown_app", "No app of that name is registered",
        "check the name; easyenclave app ls shows the apps";
    AlarmNotFound = 404 "alarm_not_found", "There is no such alarm about an allowlist",
        "easyenclave allowlist alarms shows what is open, with both digests";
    MethodNotAllowed = 405 "method_not_allowed", "This path does not take that method",
        "use a method that the Allow header names";
    RequestTimeout = 408 "request_timeout", "The request came too slowly",
        "send head within 10 s and body without pauses over 60 s";
    AllowlistUnusable = 409 "allowlist_unusable", "What is published is no allowlist",
        "publish a valid one under a new tag, or acknowledge the pinned digest to end the alarm";
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
    ProxyTimeout = 504 "proxy_timeout", "The app sent no response headers in time",
        "try again, or look at the app's own logs";
}

impl ProblemCode {
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
