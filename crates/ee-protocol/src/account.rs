//! Names of accounts (LEDGER 3) and ids that clients choose.
//!
//! Cheap to clone: the books keep them in many rows.

use std::{borrow::Borrow, fmt, sync::Arc};

use crate::names::{NameError, NodeId};

/// Longest id of an account, and longest client id, in characters (LEDGER 3).
const ID_CHARS_MAX: usize = 128;
/// Longest idempotency key (draft-ietf-httpapi-idempotency-key-header, our limit).
const KEY_BYTES_MAX: usize = 255;
/// Longest free text of a person, in bytes: a reason, a note.
const NOTE_BYTES_MAX: usize = 1024;

macro_rules! shared_text {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses it, or says what shape it should have.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if $check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError { kind: $kind, expected: $expected })
                }
            }

            /// As it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

shared_text!(
    /// A wallet, or the earnings of the node of the same id.
    AccountId,
    "account_id",
    "1 to 128 characters, no controls, no '#', not beginning with 'sys:'",
    |text: &str| is_id(text) && !text.contains('#') && !text.starts_with("sys:")
);

shared_text!(
    /// A row of the books: an [`AccountId`], one of its parts (`n1#held`), or `sys:mint`.
    AccountName,
    "account",
    "1 to 140 characters, no controls",
    is_account_name
);

shared_text!(
    /// An id that a client chose: `id`, `usage_id`, `external_ref`, `source`.
    ClientId,
    "id",
    "1 to 128 characters, no controls",
    is_id
);

shared_text!(
    /// The value of `Idempotency-Key`.
    IdempotencyKey,
    "idempotency_key",
    "1 to 255 printable ASCII characters",
    |text: &str| {
        (1..=KEY_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
    }
);

shared_text!(
    /// A person's free text: the reason of a report, the evidence of a slash.
    Note,
    "note",
    "at most 1024 bytes, none of them zero",
    |text: &str| text.len() <= NOTE_BYTES_MAX && !text.contains('\0')
);

impl From<&NodeId> for AccountId {
    /// A node's earnings lie under its id; every node id is an account id.
    fn from(node: &NodeId) -> Self {
        Self(node.as_str().into())
    }
}

impl Borrow<str> for AccountName {
    /// For look-ups without making a name: both hash and compare as their text.
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&AccountId> for AccountName {
    fn from(id: &AccountId) -> Self {
        Self(Arc::clone(&id.0))
    }
}

impl AccountName {
    /// The id that a person knows, if this is a wallet or a node's earnings.
    pub fn id(&self) -> Option<AccountId> {
        let plain = !self.0.contains('#') && !self.0.starts_with("sys:");
        plain.then(|| AccountId(Arc::clone(&self.0)))
    }

    /// The part of an account, `n1#held`; `suffix` without `#`.
    pub fn part(id: &AccountId, suffix: &'static str) -> Self {
        Self(format!("{id}#{suffix}").into())
    }
}

fn is_id(text: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn is_account_name(text: &str) -> bool {
    (1..=ID_CHARS_MAX + 12).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_ids_never_look_like_parts_or_the_systems() {
        for good in ["u1", "Ünï cödé", &"x".repeat(128), "sys", "a@b:c"] {
            assert!(AccountId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "n1#held", "sys:mint", "a\nb", "a\0b", &"x".repeat(129)] {
            assert!(AccountId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_wallets_and_earnings_have_ids() {
        let id = AccountId::parse("n1").expect("an id");
        assert_eq!(AccountName::from(&id).id(), Some(id.clone()));
        assert_eq!(AccountName::part(&id, "held").as_str(), "n1#held");
        assert_eq!(AccountName::part(&id, "held").id(), None);
    }

    #[test]
    fn keys_are_printable_and_notes_are_short() {
        assert!(IdempotencyKey::parse(&"k".repeat(255)).is_ok());
        assert!(IdempotencyKey::parse(&"k".repeat(256)).is_err());
        assert!(IdempotencyKey::parse("ä").is_err());
        assert!(Note::parse("").is_ok() && Note::parse(&"n".repeat(1025)).is_err());
    }
}
