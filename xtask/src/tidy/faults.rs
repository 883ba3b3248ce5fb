//! `docs/faults.md` names a test for every fault of the books; every name must exist, and every
//! test that the books were promised must be there.

use super::Finding;
use crate::tree::Tree;

const DOCUMENT: &str = "docs/faults.md";

/// What LEDGER 13 lists: one test for each hole of the prototype.
const PROMISED: &[&str] = &[
    "sub_cent_price_is_charged",
    "odd_numbers_and_bodies_are_400",
    "locked_money_has_an_account",
    "self_transfer_is_refused",
    "user_cannot_be_a_node",
    "repeated_purchase_mints_once",
    "duplicate_usage_locks_once",
    "second_process_is_refused",
    "compute_is_locked_ahead",
    "unpaid_usage_is_remembered",
    "z_and_offset_are_one_period",
    "reversed_period_is_refused",
    "half_second_is_in_its_period",
    "price_is_that_of_the_period",
    "second_finalize_repeats_the_verdict",
    "future_cannot_be_settled",
    "today_does_not_fail_last_month",
    "no_evidence_is_not_a_pass",
    "agent_fail_at_noon_fails",
    "our_stop_fails_nobody",
    "our_crash_pays_nothing_unseen",
    "pccs_outage_is_no_miss",
    "blip_is_no_miss",
    "stranger_cannot_fail_a_node",
    "failed_register_leaves_no_row",
    "one_failure_is_one_breach",
    "node_cannot_set_its_stake",
    "absent_fields_stay",
    "late_abuse_claws_back",
    "decided_stays_decided",
    "open_report_ends",
    "heartbeats_flow_during_settlement",
    "user_sees_own_balance",
    "actor_is_authenticated",
];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(document) = tree.text(DOCUMENT) else {
        return vec![Finding::new(DOCUMENT, 1, "there is no such document")];
    };
    let mut findings = Vec::new();
    for (at, line) in document.lines().enumerate() {
        if line.starts_with("| ") {
            let wrong = named(line).filter(|(file, test)| !is_test(tree, file, test));
            findings.extend(wrong.map(|(file, test)| {
                Finding::new(
                    DOCUMENT,
                    at + 1,
                    format!("crates/{file} has no test {test}"),
                )
            }));
        }
    }
    let names: Vec<&str> = document
        .lines()
        .flat_map(named)
        .map(|(_, test)| test)
        .collect();
    for promised in PROMISED.iter().filter(|name| !names.contains(name)) {
        findings.push(Finding::new(
            DOCUMENT,
            1,
            format!("{promised} is promised and not there"),
        ));
    }
    findings
}

/// The tests of a row, each with its file: a name in backticks belongs to the file before it.
fn named(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = line.split('`').skip(1).step_by(2);
    let with_file = quoted.scan(None, |file, word| {
        let is_file = word.ends_with(".rs");
        if is_file {
            *file = Some(word);
        }
        Some(file.filter(|_| !is_file).map(|file| (file, word)))
    });
    with_file.flatten()
}

fn is_test(tree: &Tree, file: &str, test: &str) -> bool {
    let text = tree.text(&format!("crates/{file}"));
    text.is_some_and(|text| text.contains(&format!("fn {test}(")))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{messages, tree};
    use super::*;

    fn row(tests: &str) -> String {
        format!("| a fault | `a/tests/a.rs` {tests} |\n")
    }

    fn all() -> String {
        let names: Vec<String> = PROMISED.iter().map(|name| format!("`{name}`")).collect();
        row(&names.join(", "))
    }

    fn code() -> String {
        let functions: Vec<String> = PROMISED
            .iter()
            .map(|name| format!("fn {name}() {{}}"))
            .collect();
        functions.join("\n")
    }

    #[test]
    fn a_name_that_no_test_has_is_found() {
        let code = code();
        let check = |document: &str| {
            let tree = tree(&[(DOCUMENT, document), ("crates/a/tests/a.rs", &code)]);
            messages(&check(&tree))
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(check(&all()), [""; 0]);
        let wrong = format!("{}{}", all(), row("`no_such_test`"));
        assert_eq!(
            check(&wrong),
            ["crates/a/tests/a.rs has no test no_such_test"]
        );
    }

    #[test]
    fn a_promised_test_that_is_not_there_is_found() {
        let code = code();
        let less = all().replace("`blip_is_no_miss`, ", "");
        let tree = tree(&[(DOCUMENT, &less), ("crates/a/tests/a.rs", &code)]);
        let expected = ["blip_is_no_miss is promised and not there"];
        assert_eq!(messages(&check(&tree)), expected);
    }
}
