//! Network policies: the defaults of ATTESTATION 4 with what `[networks.<name>]` changes.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use ee_attest::{DebugTds, NetworkPolicy, SealedRule, TdAttributes};
use ee_core::{
    attestation::{BindingStrength, Provenance, TcbStatus},
    policy::{NetworkRules, Sealed},
};
use ee_protocol::{
    names::Network,
    settings::{Problem, boolean, comma_list, integer},
    tunnel::InnerTlsMode,
};

use super::networks::{NetworkTable, NetworkTables};

const DAY_SECS: u64 = 24 * 60 * 60;
/// A century of days.
const DAYS_MAX: u64 = 36_500;

/// Keys of a network's table, with what they decide.
const KEYS: [(&str, &str); 16] = [
    ("statuses", "TCB statuses admitted"),
    ("flagged_statuses", "TCB statuses admitted and flagged"),
    (
        "out_of_date_grace_days",
        "days an out-of-date platform stays admitted after we first saw it",
    ),
    (
        "tcb_age_max_days",
        "no grace helps a TCB level older than this",
    ),
    (
        "evaluation_lag_max",
        "how far the evaluation number may lie behind the newest, or `any`",
    ),
    ("denied_advisories", "advisories that are refused"),
    (
        "td_attributes",
        "TD attributes that need no pin, 16 hexadecimal digits",
    ),
    ("allow_debug", "admit debuggable TDs (sandbox-1 only)"),
    (
        "mr_seam_allowed",
        "TDX modules admitted, each 96 hexadecimal digits; absent: every one that Intel signed",
    ),
    (
        "mr_seam_denied",
        "TDX modules refused, each 96 hexadecimal digits",
    ),
    (
        "platforms_allowed",
        "machines admitted, each 64 hexadecimal digits: `platform` of the log's \
         `platform_verified`; absent: all",
    ),
    ("platforms_denied", "machines refused, likewise"),
    (
        "binding",
        "weakest binding admitted: `channel`, `nonce` or `none`",
    ),
    (
        "provenance",
        "weakest provenance of allowlists: `release` or `release-immutable`",
    ),
    ("sealed", "`required` or `optional`"),
    ("inner_tls", "`required` or `off` (sandbox-1 only)"),
];

/// The policies of both networks.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkPolicies {
    forge_1: Rules,
    sandbox_1: Rules,
}

/// One network: how evidence is appraised, and how its tunnels are made.
#[derive(Debug, Clone, PartialEq)]
struct Rules {
    appraisal: NetworkPolicy,
    inner_tls: InnerTlsMode,
}

impl Default for NetworkPolicies {
    fn default() -> Self {
        Self {
            forge_1: Rules::of(Network::Forge1),
            sandbox_1: Rules::of(Network::Sandbox1),
        }
    }
}

impl NetworkPolicies {
    /// The defaults with the file's changes; every mistake at once.
    pub fn from_tables(tables: &NetworkTables) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut read = |network| {
            let empty = NetworkTable::new();
            let table = tables.tables.get(&network).unwrap_or(&empty);
            let mut reader = TableReader {
                tables,
                network,
                table,
                problems: &mut problems,
            };
            let mut rules = Rules::of(network);
            rules.change(&mut reader);
            rules.check(&mut reader);
            rules
        };
        let policies = Self {
            forge_1: read(Network::Forge1),
            sandbox_1: read(Network::Sandbox1),
        };
        if problems.is_empty() {
            Ok(policies)
        } else {
            Err(problems)
        }
    }

    /// What the verifier goes by.
    pub fn attestation(&self) -> ee_control::attestation::NetworkPolicies {
        ee_control::attestation::NetworkPolicies {
            forge_1: self.forge_1.appraisal.clone(),
            sandbox_1: self.sandbox_1.appraisal.clone(),
        }
    }

    /// What sessions and eligibility go by.
    pub fn rules(&self, network: Network) -> NetworkRules {
        let rules = self.of(network);
        NetworkRules {
            sealed: match rules.appraisal.sealed {
                SealedRule::Required => Sealed::Required,
                SealedRule::Optional => Sealed::Optional,
            },
            least_binding: rules.appraisal.binding_at_least,
            inner_tls: rules.inner_tls,
        }
    }

    /// Networks that are looser than their default: `/health` names them.
    pub fn loosened(&self) -> Vec<String> {
        let looser = |network: &Network| self.of(*network).is_looser_than(&Rules::of(*network));
        Network::ALL
            .into_iter()
            .filter(looser)
            .map(|network| network.to_string())
            .collect()
    }

    fn of(&self, network: Network) -> &Rules {
        match network {
            Network::Forge1 => &self.forge_1,
            Network::Sandbox1 => &self.sandbox_1,
        }
    }
}

impl Rules {
    fn of(network: Network) -> Self {
        Self {
            appraisal: NetworkPolicy::of(network),
            inner_tls: InnerTlsMode::Required,
        }
    }

    fn change(&mut self, table: &mut TableReader<'_>) {
        table.check_keys();
        let policy = &mut self.appraisal;
        table.set("statuses", &mut policy.statuses, |text| set(text, status));
        table.set("flagged_statuses", &mut policy.flagged_statuses, |text| {
            set(text, status)
        });
        if let Some(grace) = &mut policy.out_of_date_grace {
            table.set("out_of_date_grace_days", &mut grace.after_first_seen, days);
            table.set("tcb_age_max_days", &mut grace.tcb_age_max, days);
        }
        table.set("evaluation_lag_max", &mut policy.evaluation_lag_max, lag);
        let text = |text: &str| Ok(text.to_owned());
        table.set("denied_advisories", &mut policy.denied_advisories, |list| {
            set(list, text)
        });
        table.set("td_attributes", &mut policy.td_attributes, |text| {
            hex_array::<8>(text).map(TdAttributes::from_bytes)
        });
        table.set("allow_debug", &mut policy.debug_tds, debug_tds);
        let register = |text: &str| hex_array::<48>(text);
        table.set("mr_seam_denied", &mut policy.mr_seam_denied, |list| {
            set(list, register)
        });
        table.set("mr_seam_allowed", &mut policy.mr_seam_allowed, |list| {
            set(list, register).map(Some)
        });
        let platform = |text: &str| hex_array::<32>(text);
        table.set("platforms_allowed", &mut policy.platforms_allowed, |list| {
            set(list, platform).map(Some)
        });
        table.set("platforms_denied", &mut policy.platforms_denied, |list| {
            set(list, platform)
        });
        table.set("binding", &mut policy.binding_at_least, binding);
        table.set("provenance", &mut policy.provenance_at_least, provenance);
        table.set("sealed", &mut policy.sealed, sealed);
        table.set("inner_tls", &mut self.inner_tls, inner_tls);
    }

    /// Combinations that cannot work, or that production must not have.
    fn check(&self, table: &mut TableReader<'_>) {
        let policy = &self.appraisal;
        if table.network == Network::Forge1 && policy.debug_tds == DebugTds::Allowed {
            table.refuse("allow_debug", "forge-1 never admits debuggable TDs");
        }
        if self.inner_tls == InnerTlsMode::Required {
            return;
        }
        if table.network == Network::Forge1 {
            table.refuse("inner_tls", "forge-1 always has it");
        } else if policy.binding_at_least == BindingStrength::Channel {
            table.refuse("inner_tls", "binding = \"channel\" needs it");
        }
    }

    fn is_looser_than(&self, default: &Self) -> bool {
        let (ours, theirs) = (&self.appraisal, &default.appraisal);
        let admitted = |policy: &NetworkPolicy| -> BTreeSet<TcbStatus> {
            policy
                .statuses
                .union(&policy.flagged_statuses)
                .copied()
                .collect()
        };
        let grace = |policy: &NetworkPolicy| {
            let grace = policy.out_of_date_grace.as_ref();
            grace.map_or((Duration::ZERO, Duration::ZERO), |grace| {
                (grace.after_first_seen, grace.tcb_age_max)
            })
        };
        let lag = |policy: &NetworkPolicy| policy.evaluation_lag_max.unwrap_or(u32::MAX);
        !admitted(ours).is_subset(&admitted(theirs))
            || !ours.statuses.is_subset(&theirs.statuses)
            || grace(ours).0 > grace(theirs).0
            || grace(ours).1 > grace(theirs).1
            || lag(ours) > lag(theirs)
            || !ours.td_attributes.within(theirs.td_attributes)
            || (ours.debug_tds == DebugTds::Allowed && theirs.debug_tds == DebugTds::Refused)
            || ours.binding_at_least < theirs.binding_at_least
            || ours.provenance_at_least < theirs.provenance_at_least
            || (ours.sealed == SealedRule::Optional && theirs.sealed == SealedRule::Required)
            || (self.inner_tls == InnerTlsMode::Off && default.inner_tls == InnerTlsMode::Required)
    }
}

/// How the reference describes the tables.
pub fn reference() -> String {
    let mut page = String::from(
        "\n## Network policies\n\nOnly in the file, as `[networks.forge-1]` and \
         `[networks.sandbox-1]`; what is absent keeps its default. `/health` names a network that \
         is looser than its default.\n\n| key | meaning |\n|---|---|\n",
    );
    for (key, meaning) in KEYS {
        let _ = writeln!(page, "| `{key}` | {meaning} |");
    }
    page
}

struct TableReader<'a> {
    tables: &'a NetworkTables,
    network: Network,
    table: &'a NetworkTable,
    problems: &'a mut Vec<Problem>,
}

impl TableReader<'_> {
    /// Replaces `place` if the table has the key and its value can be parsed.
    fn set<T>(&mut self, key: &str, place: &mut T, parse: impl Fn(&str) -> Result<T, String>) {
        let Some(value) = self.table.get(key) else {
            return;
        };
        match parse(&value.text) {
            Ok(value) => *place = value,
            Err(message) => self.refuse(key, &message),
        }
    }

    fn refuse(&mut self, key: &str, message: &str) {
        let line = self.table.get(key).map_or(1, |value| value.line);
        let name = format!("networks.{}.{key}", self.network);
        self.problems
            .push(self.tables.problem(&name, line, message));
    }

    fn check_keys(&mut self) {
        let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
        for key in self
            .table
            .keys()
            .filter(|key| !known.contains(&key.as_str()))
        {
            let message = format!("unknown key; known are {}", known.join(", "));
            let line = self.table[key].line;
            let name = format!("networks.{}.{key}", self.network);
            self.problems
                .push(self.tables.problem(&name, line, &message));
        }
    }
}

fn set<T: Ord>(
    text: &str,
    item: impl Fn(&str) -> Result<T, String>,
) -> Result<BTreeSet<T>, String> {
    comma_list(item)(text).map(BTreeSet::from_iter)
}

fn status(text: &str) -> Result<TcbStatus, String> {
    let known = || TcbStatus::ALL.map(TcbStatus::as_str).join(", ");
    match TcbStatus::parse(text) {
        Some(TcbStatus::Revoked) => Err("Revoked is never admitted".to_owned()),
        Some(status) => Ok(status),
        None => Err(format!("'{text}' is none of {}", known())),
    }
}

fn days(text: &str) -> Result<Duration, String> {
    integer(0..=DAYS_MAX)(text).map(|days| Duration::from_secs(days * DAY_SECS))
}

fn lag(text: &str) -> Result<Option<u32>, String> {
    if text == "any" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| format!("'{text}' is neither a number nor any"))
}

fn hex_array<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes)
        .map(|()| bytes)
        .map_err(|_| format!("'{text}' is not {} hexadecimal digits", 2 * N))
}

fn debug_tds(text: &str) -> Result<DebugTds, String> {
    boolean(text).map(|allowed| {
        if allowed {
            DebugTds::Allowed
        } else {
            DebugTds::Refused
        }
    })
}

fn binding(text: &str) -> Result<BindingStrength, String> {
    let all = [
        BindingStrength::None,
        BindingStrength::Nonce,
        BindingStrength::Channel,
    ];
    let found = all.into_iter().find(|strength| strength.as_str() == text);
    found.ok_or_else(|| format!("'{text}' is not channel, nonce or none"))
}

fn provenance(text: &str) -> Result<Provenance, String> {
    let all = [Provenance::Release, Provenance::ReleaseImmutable];
    let found = all
        .into_iter()
        .find(|provenance| provenance.as_str() == text);
    found.ok_or_else(|| format!("'{text}' is not release or release-immutable"))
}

fn sealed(text: &str) -> Result<SealedRule, String> {
    match text {
        "required" => Ok(SealedRule::Required),
        "optional" => Ok(SealedRule::Optional),
        _ => Err(format!("'{text}' is not required or optional")),
    }
}

fn inner_tls(text: &str) -> Result<InnerTlsMode, String> {
    match text {
        "required" => Ok(InnerTlsMode::Required),
        "off" => Ok(InnerTlsMode::Off),
        _ => Err(format!("'{text}' is not required or off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;

    fn policies(text: &str) -> Result<NetworkPolicies, Vec<String>> {
        let file = file::parse("ee.toml".as_ref(), text);
        file.and_then(|file| NetworkPolicies::from_tables(&file.networks))
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn without_tables_the_defaults_hold_and_nothing_is_loosened() {
        let policies = policies("").expect("valid");
        assert_eq!(policies.forge_1.appraisal, NetworkPolicy::forge_1());
        assert_eq!(policies.rules(Network::Forge1), NetworkRules::forge1());
        assert_eq!(policies.rules(Network::Sandbox1), NetworkRules::sandbox1());
        assert!(policies.loosened().is_empty());
    }

    #[test]
    fn loosening_production_is_named() {
        for change in [
            "statuses = [\"UpToDate\", \"OutOfDate\"]",
            "out_of_date_grace_days = 15",
            "evaluation_lag_max = \"any\"",
            "td_attributes = \"0000001040000000\"",
            "binding = \"nonce\"",
            "sealed = \"optional\"",
        ] {
            let policies = policies(&format!("[networks.forge-1]\n{change}\n")).expect(change);
            assert_eq!(policies.loosened(), ["forge-1"], "{change}");
        }
        let tightened = "[networks.forge-1]\nstatuses = [\"UpToDate\"]\nevaluation_lag_max = 0\n";
        assert!(policies(tightened).expect("valid").loosened().is_empty());
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let text = "[networks.forge-1]\nstatus = 1\nbinding = \"strong\"\ninner_tls = \"off\"\n\
                    allow_debug = true\n[networks.forge-2]\n";
        let problems = policies(text).expect_err("refused");
        assert!(
            problems[0].starts_with("networks.forge-2 (ee.toml:6)"),
            "{problems:?}"
        );
        let problems =
            policies(text.trim_end_matches("[networks.forge-2]\n")).expect_err("refused");
        let starts = [
            "networks.forge-1.status (ee.toml:2): unknown key",
            "networks.forge-1.binding (ee.toml:3)",
            "networks.forge-1.allow_debug (ee.toml:5)",
            "networks.forge-1.inner_tls (ee.toml:4)",
        ];
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem}");
        }
        assert_eq!(problems.len(), starts.len());
    }

    #[test]
    fn sandbox_may_switch_the_inner_tls_off() {
        let policies = policies("[networks.sandbox-1]\ninner_tls = \"off\"\n").expect("valid");
        assert_eq!(
            policies.rules(Network::Sandbox1).inner_tls,
            InnerTlsMode::Off
        );
        assert_eq!(policies.loosened(), ["sandbox-1"]);
    }

    #[test]
    fn machines_and_modules_can_be_listed() {
        let (machine, module) = ("ab".repeat(32), "cd".repeat(48));
        let text = format!(
            "[networks.forge-1]\nplatforms_allowed = [\"{machine}\"]\n\
             platforms_denied = [\"{machine}\"]\nmr_seam_allowed = [\"{module}\"]\n"
        );
        let policies = policies(&text).expect("valid");
        let appraisal = &policies.forge_1.appraisal;
        let machines = BTreeSet::from([[0xab; 32]]);
        assert_eq!(appraisal.platforms_allowed, Some(machines.clone()));
        assert_eq!(appraisal.platforms_denied, machines);
        let modules = BTreeSet::from([[0xcd; 48]]);
        assert_eq!(appraisal.mr_seam_allowed, Some(modules));
        assert!(policies.loosened().is_empty(), "lists only tighten");
        let short = "[networks.forge-1]\nplatforms_denied = [\"abcd\"]\n";
        let problems = self::policies(short).expect_err("refused");
        assert!(
            problems[0].contains("64 hexadecimal digits"),
            "{problems:?}"
        );
    }
}
