//! Roles of the settings' tokens and the scopes they hold (EXPERIENCE 7).

use std::fmt;

/// What a token may do. Scopes of later routes join when those routes exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Read apps and why they are or are not served.
    AppsRead,
    /// Change what apps are judged by: settle alarms about their allowlists.
    AppsWrite,
    /// Use `POST /v1/proxy/{app}` where it asks for a token, and choose the app by `X-EE-App`.
    ProxyUse,
}

impl Scope {
    /// The word in tokens and refusals.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AppsRead => "apps:read",
            Self::AppsWrite => "apps:write",
            Self::ProxyUse => "proxy:use",
        }
    }

    /// The role whose token a newcomer would use for it.
    pub const fn home(self) -> Role {
        match self {
            Self::AppsRead | Self::AppsWrite | Self::ProxyUse => Role::Admin,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// May do everything.
    Admin,
    /// Starts workloads, files abuse.
    Launcher,
    /// Reports usage.
    Uptime,
}

impl Role {
    /// The word in refusals and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Launcher => "launcher",
            Self::Uptime => "uptime",
        }
    }

    /// Whether the role holds the scope.
    pub const fn has(self, scope: Scope) -> bool {
        match (self, scope) {
            (Self::Admin, Scope::AppsRead | Scope::AppsWrite | Scope::ProxyUse)
            | (Self::Launcher, Scope::AppsRead) => true,
            (Self::Launcher, Scope::AppsWrite | Scope::ProxyUse)
            | (Self::Uptime, Scope::AppsRead | Scope::AppsWrite | Scope::ProxyUse) => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
