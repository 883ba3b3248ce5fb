//! What stands in for hardware: platform, image, and the root they end at.
//!
//! Everything derives from one seed, so a control plane and agents that were started apart agree
//! without talking to each other. The verifier above is the production code; only the root it is
//! given differs (ATTESTATION 8).

use std::path::Path;

use anyhow::Context;
use ee_attest::TrustRoot;
use ee_control::ports::Clock;
use ee_server::clock::SystemClock;
use ee_testbed::{
    DemoImage, SimPlatform,
    platform::{DEFAULT_SEED, SimOptions},
};
pub use ee_testbed::{World, world::default};

/// The seed of the simulated platform, image and allowlist.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Seed {
    /// Seed of the simulated platform; processes started apart agree if their seeds do
    #[arg(long, default_value_t = DEFAULT_SEED)]
    pub seed: u64,
}

impl Seed {
    /// The platform that every simulated machine belongs to.
    pub fn platform(self) -> SimPlatform {
        SimPlatform::new(self.seed, SimOptions::default())
    }

    /// The image that the allowlist allows.
    pub fn image(self) -> DemoImage {
        DemoImage::new(self.seed)
    }

    /// The root that the simulated platform's collateral ends at.
    pub fn trust_root(self) -> TrustRoot {
        TrustRoot::new("simulated", self.platform().root_der())
            .expect("the simulated root is a well-formed certificate")
    }

    /// What stands in for the internet: collateral, and the image's allowlist below `dir`.
    pub async fn world(self, dir: &Path, asset: &str) -> anyhow::Result<World> {
        let now = || SystemClock.now().unix_seconds().unsigned_abs();
        World::start(self.platform(), &self.image(), dir, asset, now)
            .await
            .context("starting the simulated world")
    }
}
