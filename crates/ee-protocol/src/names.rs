//! The names of the network: apps, repositories, release tags, agents, nodes, networks.
//!
//! Each is parsed once at the edge and is valid from then on. The shapes are those of
//! TUNNEL 2.1 (status reasons) and of GitHub's own rules (ATTESTATION 5, "Fetching").

use std::fmt;

use serde::{Deserialize, Serialize};

/// A name that does not have the shape its kind demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be {expected}")]
pub struct NameError {
    /// What was being parsed: `app_name`, `repo`, …
    pub kind: &'static str,
    /// The shape that would have been accepted, for a person to read.
    pub expected: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses the name, or says what shape it should have.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if $check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { kind: $kind, expected: $expected })
                }
            }

            /// The name as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }
    };
}

name_type!(
    /// An app: one lower-case DNS label, because it is the first label of the app's host name.
    AppName,
    "app_name",
    "1 to 63 of [a-z0-9-], not beginning or ending with '-'",
    is_dns_label
);

name_type!(
    /// A GitHub repository, `owner/name`. Compare identities with [`Repo::key`], for GitHub
    /// ignores case.
    Repo,
    "repo",
    "owner/name as on GitHub",
    is_repo
);

name_type!(
    /// A release tag, 1 to 128 bytes by git's reference rules (git-check-ref-format).
    ReleaseTag,
    "release_tag",
    "a git tag of 1 to 128 bytes",
    is_release_tag
);

name_type!(
    /// An agent: the program in one VM that holds tunnels.
    AgentId,
    "agent_id",
    "1 to 128 of [A-Za-z0-9._:@-], not beginning with 'sys:'",
    is_id
);

name_type!(
    /// A node: one agent serving one app; health, attestation and money are counted by node.
    NodeId,
    "node_id",
    "1 to 128 of [A-Za-z0-9._:@-], not beginning with 'sys:'",
    is_id
);

impl Repo {
    /// The identity of the repository: GitHub compares owner and name without case.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// Owner and name.
    pub fn parts(&self) -> (&str, &str) {
        self.0
            .split_once('/')
            .expect("a repo holds one slash since it was parsed")
    }
}

impl From<AgentId> for NodeId {
    /// A node id defaults to the id of its agent.
    fn from(agent: AgentId) -> Self {
        Self(agent.0)
    }
}

/// A network and with it the policy that judges its agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Network {
    /// Production: sealed workloads only.
    #[serde(rename = "forge-1")]
    Forge1,
    /// Development: unsealed workloads are allowed.
    #[serde(rename = "sandbox-1")]
    Sandbox1,
}

impl Network {
    /// Every network, production first.
    pub const ALL: [Self; 2] = [Self::Forge1, Self::Sandbox1];

    /// Parses the name of a network.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .into_iter()
            .find(|network| network.as_str() == text)
            .ok_or(NameError {
                kind: "network",
                expected: "forge-1 or sandbox-1",
            })
    }

    /// The name as messages and settings write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forge1 => "forge-1",
            Self::Sandbox1 => "sandbox-1",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Network {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Owner `[A-Za-z0-9](-?[A-Za-z0-9]){0,38}`, name `[A-Za-z0-9._-]{1,100}` and not `.` or `..`.
fn is_repo(text: &str) -> bool {
    let Some((owner, name)) = text.split_once('/') else {
        return false;
    };
    is_owner(owner) && is_repo_name(name)
}

fn is_owner(owner: &str) -> bool {
    (1..=39).contains(&owner.len())
        && owner
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !owner.starts_with('-')
        && !owner.ends_with('-')
        && !owner.contains("--")
}

fn is_repo_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && name != "."
        && name != ".."
}

fn is_release_tag(tag: &str) -> bool {
    let forbidden = |c: char| {
        c.is_ascii_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')
    };
    (1..=128).contains(&tag.len())
        && !tag.contains(forbidden)
        && !tag.contains("..")
        && !tag.contains("@{")
        && tag != "@"
        && !tag.ends_with('.')
        && tag
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'@' | b'-'))
        && !text.starts_with("sys:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_names_are_lower_case_dns_labels() {
        for good in ["a", "hello", "my-app-2", &"x".repeat(63)] {
            assert!(AppName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "Hello", "-a", "a-", "a.b", "ä", "a b", &"x".repeat(64)] {
            assert!(AppName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn repos_follow_githubs_rules_and_compare_without_case() {
        for good in ["org/repo", "a/b", "Org-1/re.po_x"] {
            assert!(Repo::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "org",
            "org/",
            "/repo",
            "o--g/r",
            "org/..",
            "org/a/b",
            "org/re po",
        ] {
            assert!(Repo::parse(bad).is_err(), "{bad}");
        }
        let (upper, lower) = (Repo::parse("Org/Repo"), Repo::parse("org/repo"));
        assert_eq!(upper.map(|r| r.key()), lower.map(|r| r.key()));
    }

    #[test]
    fn tags_follow_gits_reference_rules() {
        for good in ["v0.1.3", "release/2026", "a"] {
            assert!(ReleaseTag::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "", "a..b", "a b", "a~1", ".a", "a/", "a.lock", "x@{y", "@", "a\u{7f}", "a.",
        ] {
            assert!(ReleaseTag::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_never_look_like_system_accounts() {
        assert!(NodeId::parse("uuid").is_ok());
        assert!(NodeId::parse("sys:mint").is_err());
        assert!(AgentId::parse("a/b").is_err());
    }

    #[test]
    fn networks_have_exactly_two_names() {
        assert_eq!(Network::parse("forge-1"), Ok(Network::Forge1));
        assert_eq!(Network::parse("sandbox-1"), Ok(Network::Sandbox1));
        assert!(Network::parse("forge-2").is_err());
    }
}
