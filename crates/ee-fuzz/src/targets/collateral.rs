//! Bundles of collateral out of an agent's hand: JSON, PEM, DER, signatures.

use std::sync::LazyLock;

use ee_attest::{CollateralBundle, TrustRoot};
use ee_protocol::time::Timestamp;

use crate::{Target, seeds};

pub const TARGET: Target = Target {
    name: "collateral",
    about: "bundles of collateral that an agent hands in",
    run,
    seeds: bundles,
    longest: 32 * 1024,
    floor: 3000,
};

static ROOT: LazyLock<TrustRoot> =
    LazyLock::new(|| TrustRoot::new("simulated", seeds::platform().root_der()).expect("a root"));

fn bundles() -> Vec<Vec<u8>> {
    let simulated = seeds::platform().collateral(seeds::NOW_S).to_json();
    vec![simulated.into_bytes(), seeds::real_collateral()]
}

fn run(bytes: &[u8]) {
    let Ok(bundle) = CollateralBundle::from_json(bytes) else {
        return;
    };
    let now = Timestamp::from_unix_seconds(i64::try_from(seeds::NOW_S).expect("small"));
    let ours = bundle.verify(&ROOT, now).is_ok();
    let intels = bundle.verify(&TrustRoot::intel(), now).is_ok();
    assert!(!(ours && intels), "one bundle ends at one root");
}
