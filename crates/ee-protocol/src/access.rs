//! The words of access: scopes, roles, and the resources a token may be bound to (EXPERIENCE 7).
//!
//! All three are closed: a word that is not here is refused wherever it is read, so that no token
//! ever means more than this table says.

use std::{collections::BTreeSet, fmt, str::FromStr};

use crate::{
    account::AccountId,
    names::{AppName, NameError, NodeId},
};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $expected:literal,
     $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every one, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in tokens, answers and refusals.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let found = Self::ALL.iter().copied().find(|known| known.as_str() == text);
                found.ok_or(NameError { kind: $kind, expected: $expected })
            }
        }
    };
}

words! {
    /// What a token may do.
    Scope, "scope", "a scope such as apps:read or ledger:transfer",
    /// Read apps and why they are or are not served.
    AppsRead = "apps:read",
    /// Change apps: settle alarms about their allowlists, bind who pays for them.
    AppsWrite = "apps:write",
    /// Read nodes: prices, stake, health.
    NodesRead = "nodes:read",
    /// Register nodes and change their prices.
    NodesWrite = "nodes:write",
    /// Use `POST /v1/proxy/{app}` where it asks for a token, and choose the app by `X-EE-App`.
    ProxyUse = "proxy:use",
    /// Read balances, entries, locks.
    LedgerRead = "ledger:read",
    /// Create credits: purchases, payouts.
    LedgerMint = "ledger:mint",
    /// Move credits: transfers, locks, stake.
    LedgerTransfer = "ledger:transfer",
    /// Report usage and what was observed of nodes.
    UsageReport = "usage:report",
    /// Settle a period before its time.
    SettleFinalize = "settle:finalize",
    /// File abuse reports.
    AbuseFile = "abuse:file",
    /// Decide abuse reports and slashes.
    AbuseAuthorize = "abuse:authorize",
    /// Make and revoke tokens.
    TokensAdmin = "tokens:admin",
    /// Read the audit log.
    AuditRead = "audit:read",
    /// Read the settings.
    ConfigRead = "config:read",
    /// Have the settings read again.
    ConfigReload = "config:reload",
    /// Look inside a running system.
    SystemDebug = "system:debug",
}

words! {
    /// Whose token it is; also its kind in `ee_<kind>_…`.
    Role, "role", "admin, operator, launcher, uptime, auditor, viewer, node or account",
    /// May do everything.
    Admin = "admin",
    /// Runs the network, but makes no money, moves none, and makes no tokens.
    Operator = "operator",
    /// Starts workloads, files abuse.
    Launcher = "launcher",
    /// Reports usage.
    Uptime = "uptime",
    /// Reads everything.
    Auditor = "auditor",
    /// Reads apps and nodes.
    Viewer = "viewer",
    /// A node, on its own id: it lies in a VM beside the app and so moves no money.
    Node = "node",
    /// An account, on its own id.
    Account = "account",
}

impl Scope {
    /// The role whose token a newcomer would use for it: its absence is reported first.
    pub const fn home(self) -> Role {
        match self {
            Self::AbuseFile => Role::Launcher,
            Self::UsageReport => Role::Uptime,
            Self::AppsRead
            | Self::AppsWrite
            | Self::NodesRead
            | Self::NodesWrite
            | Self::ProxyUse
            | Self::LedgerRead
            | Self::LedgerMint
            | Self::LedgerTransfer
            | Self::SettleFinalize
            | Self::AbuseAuthorize
            | Self::TokensAdmin
            | Self::AuditRead
            | Self::ConfigRead
            | Self::ConfigReload
            | Self::SystemDebug => Role::Admin,
        }
    }
}

impl Role {
    /// The scopes a token of the role has unless it was made with fewer.
    pub fn scopes(self) -> BTreeSet<Scope> {
        use Scope as S;
        let chosen: &[Scope] = match self {
            Self::Admin => S::ALL,
            Self::Operator => &[
                S::AppsRead,
                S::AppsWrite,
                S::NodesRead,
                S::NodesWrite,
                S::ProxyUse,
                S::LedgerRead,
                S::UsageReport,
                S::SettleFinalize,
                S::AbuseFile,
                S::AuditRead,
                S::ConfigRead,
                S::ConfigReload,
                S::SystemDebug,
            ],
            Self::Launcher => &[S::AppsRead, S::AbuseFile],
            Self::Uptime => &[S::UsageReport, S::NodesRead],
            Self::Auditor => &[
                S::AppsRead,
                S::NodesRead,
                S::LedgerRead,
                S::AuditRead,
                S::ConfigRead,
            ],
            Self::Viewer => &[S::AppsRead, S::NodesRead],
            Self::Node => &[S::NodesRead, S::NodesWrite, S::LedgerRead],
            Self::Account => &[S::LedgerRead, S::LedgerTransfer],
        };
        chosen.iter().copied().collect()
    }

    /// Whether a token of the role may be made with the scope. An account's may also be given
    /// apps, for whoever pays for an app has to bind it (LEDGER 5).
    pub fn may_hold(self, scope: Scope) -> bool {
        let for_apps = matches!(scope, Scope::AppsRead | Scope::AppsWrite);
        self.scopes().contains(&scope) || (self == Self::Account && for_apps)
    }
}

/// What a token is bound to: `account=alice`, `node=n1`, `app=hello`. A token with any binding
/// reaches nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// An account of the ledger; a node's earnings are the account of the node's id.
    Account(AccountId),
    /// A node.
    Node(NodeId),
    /// An app.
    App(AppName),
}

impl Resource {
    /// The kind: `account`, `node` or `app`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Account(_) => "account",
            Self::Node(_) => "node",
            Self::App(_) => "app",
        }
    }

    /// The id within its kind.
    pub fn id(&self) -> &str {
        match self {
            Self::Account(id) => id.as_str(),
            Self::Node(id) => id.as_str(),
            Self::App(id) => id.as_str(),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind(), self.id())
    }
}

impl FromStr for Resource {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('=') {
            Some(("account", id)) => AccountId::parse(id).map(Self::Account),
            Some(("node", id)) => NodeId::parse(id).map(Self::Node),
            Some(("app", id)) => AppName::parse(id).map(Self::App),
            Some(_) | None => Err(NameError {
                kind: "resource",
                expected: "account=<id>, node=<id> or app=<name>",
            }),
        }
    }
}

/// The id of a managed token: public, in logs and lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; 6]);

impl TokenId {
    /// From six random bytes.
    pub const fn from_bytes(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for TokenId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = NameError {
            kind: "token id",
            expected: "12 of 0-9 and a-f",
        };
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(wrong);
        }
        let mut bytes = [0; 6];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_it_is_written() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(*scope));
        }
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(*role));
        }
        assert!("apps:*".parse::<Scope>().is_err());
        assert!("root".parse::<Role>().is_err());
    }

    #[test]
    fn roles_hold_what_the_table_gives_them() {
        let words = |role: Role| {
            let scopes = role.scopes();
            let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            words.join(" ")
        };
        assert_eq!(Role::Admin.scopes().len(), Scope::ALL.len());
        assert_eq!(
            words(Role::Node),
            "nodes:read nodes:write ledger:read",
            "a node moves no money"
        );
        assert_eq!(words(Role::Account), "ledger:read ledger:transfer");
        assert_eq!(words(Role::Launcher), "apps:read abuse:file");
        assert_eq!(words(Role::Uptime), "nodes:read usage:report");
        for scope in Scope::ALL {
            let reads = scope.as_str().ends_with(":read");
            assert_eq!(Role::Auditor.scopes().contains(scope), reads, "{scope}");
        }
        for kept in [
            "ledger:mint",
            "ledger:transfer",
            "abuse:authorize",
            "tokens:admin",
        ] {
            let scope = kept.parse().expect("scope");
            assert!(!Role::Operator.scopes().contains(&scope), "{kept}");
        }
        assert_eq!(Role::Operator.scopes().len(), Scope::ALL.len() - 4);
    }

    #[test]
    fn resources_are_parsed_strictly() {
        for good in [
            "account=alice",
            "account=Zoë 1",
            "node=n1",
            "app=hello",
            "account=a=b",
        ] {
            let resource: Resource = good.parse().expect(good);
            assert_eq!(resource.to_string(), good);
        }
        for bad in [
            "",
            "alice",
            "account=",
            "account=a#held",
            "account=sys:mint",
            "account=a\nb",
            "node=",
            "node=a b",
            "app=Hello",
            "apps=hello",
            "account",
            "=x",
        ] {
            assert!(bad.parse::<Resource>().is_err(), "{bad:?}");
        }
        let longest = "x".repeat(128);
        assert!(format!("account={longest}").parse::<Resource>().is_ok());
        assert!(format!("account={longest}x").parse::<Resource>().is_err());
    }

    #[test]
    fn token_ids_have_one_spelling() {
        let id: TokenId = "0123456789ab".parse().expect("id");
        assert_eq!(id.to_string(), "0123456789ab");
        for bad in [
            "",
            "0123456789a",
            "0123456789AB",
            "0123456789abc",
            "0123456789ag",
        ] {
            assert!(bad.parse::<TokenId>().is_err(), "{bad}");
        }
    }
}
