//! Calls that belong in few places: the clock, spawning, the environment, printing.
//!
//! clippy bans the same calls by their resolved paths; this rule lists the places where an
//! `#[expect]` may lift that ban, and what the pure crates may not even name.

use super::lexer::{Keep, blank};
use super::{Finding, is_test_file, production_lines, rust_files};
use crate::tree::Tree;

/// Text that production code may hold only below the allowed paths.
struct Ban {
    /// Below which paths the ban holds.
    scope: &'static [&'static str],
    /// Banned words: matched as whole paths, so that `spawn` does not find `respawned`.
    words: &'static [&'static str],
    allowed: &'static [&'static str],
    reason: &'static str,
}

const EVERYWHERE: &[&str] = &["crates/", "xtask/"];

const BANS: &[Ban] = &[
    Ban {
        scope: EVERYWHERE,
        words: &["SystemTime::now", "std::time::Instant::now"],
        allowed: &[
            "crates/ee-server/src/clock.rs",
            "crates/ee-agent/src/clock.rs",
            "crates/ee-bench/",
        ],
        reason: "time enters through clock.rs",
    },
    Ban {
        scope: &[
            "crates/ee-server/",
            "crates/ee-control/",
            "crates/ee-tunnel/",
            "crates/ee-store/",
        ],
        words: &["tokio::spawn", "tokio::task::spawn", "task::spawn"],
        allowed: &["crates/ee-server/src/tasks.rs"],
        reason: "tasks start through tasks.rs, with a name and an owner",
    },
    Ban {
        scope: EVERYWHERE,
        words: &["env::var", "env::var_os", "env::vars", "env::vars_os"],
        allowed: &[
            "crates/ee-server/src/config/",
            "crates/ee-protocol/src/settings/",
            "crates/ee-agent/src/settings.rs",
            "crates/ee-agent/src/main.rs",
            "crates/ee-cli/src/",
        ],
        reason: "settings are read once, through the settings table",
    },
    Ban {
        scope: EVERYWHERE,
        words: &["println!", "print!"],
        allowed: &[
            "crates/ee-cli/",
            "crates/ee-bench/",
            "xtask/",
            "/src/main.rs",
        ],
        reason: "a library does not print",
    },
    Ban {
        scope: EVERYWHERE,
        words: &["rusqlite"],
        // The yardsticks of `ee-bench ledger`: a ledger of its own, a scan of the tables.
        allowed: &[
            "crates/ee-store/",
            "crates/ee-bench/src/ledger/naive.rs",
            "crates/ee-bench/src/ledger/restart.rs",
        ],
        reason: "all SQL lives in ee-store",
    },
    Ban {
        scope: EVERYWHERE,
        words: &["TrustRoot::new"],
        allowed: &[
            "crates/ee-attest/",
            "crates/ee-testbed/",
            "crates/ee-cli/src/",
            "crates/ee-bench/",
            "crates/ee-fuzz/",
        ],
        reason: "production knows one trust root, Intel's",
    },
    Ban {
        scope: EVERYWHERE,
        words: &["ee_testbed"],
        allowed: &[
            "crates/ee-testbed/",
            "crates/ee-cli/src/",
            "crates/ee-bench/",
            "crates/ee-fuzz/",
            "xtask/",
        ],
        reason: "the simulator is for dev, tests and benchmarks",
    },
    Ban {
        scope: &["crates/ee-core/"],
        words: &[
            "HashMap",
            "HashSet",
            "SystemTime",
            "Instant",
            "std::fs",
            "std::env",
            "std::thread",
            "f64",
            "f32",
        ],
        // A map that cannot be walked has no order to leak.
        allowed: &["crates/ee-core/src/books/lookup.rs"],
        reason: "ee-core decides only: no I/O, clock, floats or unordered maps",
    },
    Ban {
        scope: &["crates/ee-attest/", "crates/ee-protocol/"],
        words: &[
            "std::fs",
            "std::env",
            "std::thread",
            "std::net",
            "SystemRandom",
        ],
        allowed: &["crates/ee-protocol/src/settings/"],
        reason: "pure: everything it needs is an argument",
    },
    Ban {
        scope: &["crates/ee-control/"],
        words: &[
            "tokio::time",
            "std::thread",
            "std::fs",
            "std::env",
            "SystemRandom",
        ],
        allowed: &[],
        reason: "use-cases await, they do not sleep, read the clock or do I/O of their own",
    },
];

/// Attributes that must not appear anywhere, tests included.
const BANNED_ATTRIBUTES: &[(&str, &str)] = &[
    ("#[allow(", "use #[expect(.., reason = \"..\")]"),
    ("#![allow(", "use #![expect(..)]"),
];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in rust_files(tree) {
        let code = blank(text, Keep::Code);
        findings.extend(attributes(path, &code));
        if !is_test_file(path) {
            findings.extend(banned(path, &code, production_lines(path, text)));
        }
    }
    findings
}

fn attributes(path: &str, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in code.lines().enumerate() {
        for (attribute, advice) in BANNED_ATTRIBUTES {
            if line.contains(attribute) {
                findings.push(Finding::new(path, at + 1, *advice));
            }
        }
    }
    findings
}

fn banned(path: &str, code: &str, lines: usize) -> Vec<Finding> {
    let in_force = |ban: &&Ban| {
        ban.scope.iter().any(|scope| path.starts_with(scope))
            && !ban
                .allowed
                .iter()
                .any(|place| path.starts_with(place) || path.ends_with(place))
    };
    let mut findings = Vec::new();
    for ban in BANS.iter().filter(in_force) {
        for (at, line) in code.lines().take(lines).enumerate() {
            for word in ban.words.iter().filter(|word| holds(line, word)) {
                findings.push(Finding::new(
                    path,
                    at + 1,
                    format!("{word}: {}", ban.reason),
                ));
            }
        }
    }
    findings
}

/// Whether the line holds the word with no identifier character on either side.
fn holds(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(inside) && !after.is_some_and(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{messages, tree};
    use super::*;

    #[track_caller]
    fn finds(path: &str, text: &str, expect: &[&str]) {
        assert_eq!(messages(&check(&tree(&[(path, text)]))), expect);
    }

    #[test]
    fn clock_outside_its_file_is_found() {
        let text = "fn f() { std::time::SystemTime::now(); }";
        let expect = ["SystemTime::now: time enters through clock.rs"];
        finds("crates/ee-server/src/http.rs", text, &expect);
        finds("crates/ee-server/src/clock.rs", text, &[]);
    }

    #[test]
    fn prose_and_tests_may_name_a_banned_call() {
        finds(
            "crates/ee-server/src/a.rs",
            "// SystemTime::now\nfn f() { \"tokio::spawn\"; }",
            &[],
        );
        let tested = "#[cfg(test)]\nmod tests {\n fn f() { tokio::spawn(g()); }\n}\n";
        finds("crates/ee-server/src/a.rs", tested, &[]);
        finds(
            "crates/ee-server/tests/a.rs",
            "fn f() { tokio::spawn(g()); }",
            &[],
        );
    }

    #[test]
    fn spawn_outside_tasks_is_found() {
        let expect = ["tokio::spawn: tasks start through tasks.rs, with a name and an owner"];
        finds(
            "crates/ee-server/src/a.rs",
            "fn f() { tokio::spawn(g()); }",
            &expect,
        );
        finds(
            "crates/ee-server/src/tasks.rs",
            "fn f() { tokio::spawn(g()); }",
            &[],
        );
    }

    #[test]
    fn environment_and_printing_are_found() {
        let expect = ["env::var: settings are read once, through the settings table"];
        finds(
            "crates/ee-store/src/a.rs",
            "fn f() { std::env::var(\"X\"); }",
            &expect,
        );
        let expect = ["println!: a library does not print"];
        finds(
            "crates/ee-store/src/a.rs",
            "fn f() { println!(\"x\"); }",
            &expect,
        );
        finds(
            "crates/ee-store/src/a.rs",
            "fn f() { eprintln!(\"x\"); }",
            &[],
        );
    }

    #[test]
    fn unordered_map_in_core_is_found() {
        let expect = ["HashMap: ee-core decides only: no I/O, clock, floats or unordered maps"];
        finds(
            "crates/ee-core/src/a.rs",
            "use std::collections::HashMap;",
            &expect,
        );
        finds(
            "crates/ee-server/src/a.rs",
            "use std::collections::HashMap;",
            &[],
        );
    }

    #[test]
    fn second_trust_root_in_the_server_is_found() {
        let expect = ["TrustRoot::new: production knows one trust root, Intel's"];
        finds(
            "crates/ee-server/src/a.rs",
            "fn f() { TrustRoot::new(a, b); }",
            &expect,
        );
    }

    #[test]
    fn allow_is_found_even_in_tests() {
        let expect = ["use #[expect(.., reason = \"..\")]"];
        finds(
            "crates/a/tests/a.rs",
            "#[allow(dead_code)]\nfn f() {}",
            &expect,
        );
    }
}
