//! On whose behalf a command comes: the resource of the token, else its role (LEDGER 11).
//!
//! Rotating a token keeps the principal, and with it the idempotency keys.

use ee_protocol::{account::AccountId, names::NodeId};

/// Who asks. Cheap to clone: each transfer keeps it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// The books themselves: settlement, expiry, holds.
    System,
    /// A token without resource.
    Role(Role),
    /// A user's own token, or a node's that has an account.
    Account(AccountId),
    /// A node's own token.
    Node(AccountId),
}

/// The roles of EXPERIENCE 7 that speak to the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// Everything.
    Admin = 1,
    /// Uptime server: usage, facts.
    Uptime = 2,
    /// Launcher: abuse reports.
    Launcher = 3,
    /// Any other token, by its scopes alone.
    Scoped = 4,
}

impl Role {
    /// Every role, in the order of its number in the journal.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Uptime, Self::Launcher, Self::Scoped];

    /// The role of this number in the journal.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| *role as u8 == number)
    }
}

impl Principal {
    /// The principal of a node's token.
    pub fn node(node: &NodeId) -> Self {
        Self::Node(node.into())
    }

    /// The account whose money it may move, if it is bound to one.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Account(id) => Some(id),
            Self::System | Self::Role(_) | Self::Node(_) => None,
        }
    }
}
