//! Allowlists of releases, down the line to a selected entry.

use std::sync::LazyLock;

use ee_attest::{Allowlist, DebugTds, ParsedQuote};
use ee_core::attestation::Provenance;
use ee_protocol::time::Timestamp;
use serde_json::json;

use crate::{Target, seeds};

pub const TARGET: Target = Target {
    name: "allowlists",
    about: "allowlists of releases",
    run,
    seeds: allowlists,
    longest: 8 * 1024,
    floor: 2100,
};

static QUOTE: LazyLock<ParsedQuote> = LazyLock::new(|| {
    ParsedQuote::parse(&seeds::simulated_quotes()[0], DebugTds::Refused).expect("a quote")
});

fn allowlists() -> Vec<Vec<u8>> {
    let image = seeds::image();
    let mut rich = image.allowlist_with_events();
    rich["entries"] = json!([{
        "id": "other", "sealed": true, "not_after": "2027-01-01T00:00:00Z",
        "measurements": image.allowlist()["measurements"],
    }]);
    rich["tcb_policy"] = json!({
        "statuses": ["UpToDate"], "min_tcb_date": "2025-01-01T00:00:00Z",
        "reject_advisories": ["INTEL-SA-00001"],
    });
    let all = [rich, image.allowlist_1_0(), image.allowlist()];
    all.map(|list| list.to_string().into_bytes()).into()
}

fn run(bytes: &[u8]) {
    let Ok(allowlist) = Allowlist::parse(bytes) else {
        return;
    };
    let release = Provenance::Release;
    let tag = allowlist.release_tag().to_owned();
    let in_force = allowlist.check_release(&tag, release, release).is_ok();
    assert_eq!(in_force, !allowlist.revoked());
    let now = Timestamp::from_unix_seconds(i64::try_from(seeds::NOW_S).expect("small"));
    let selection = allowlist.select(QUOTE.registers(), now);
    if let Some(entry) = selection.entry() {
        let found = allowlist
            .entries()
            .iter()
            .any(|other| std::ptr::eq(other, entry));
        assert!(found, "what is selected is in the list");
    }
    for entry in allowlist.entries() {
        let _ = entry.pinning(allowlist.rtmr3_events().is_some());
    }
}
