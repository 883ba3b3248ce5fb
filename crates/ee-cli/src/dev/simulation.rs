//! What stands in for hardware and for the internet: platform, image, collateral, allowlist.
//!
//! Everything derives from one seed, so a control plane and agents that were started apart agree
//! without talking to each other. The verifier above is the production code; only the root it is
//! given differs (ATTESTATION 8).

use std::{fs, path::Path};

use anyhow::Context;
use ee_attest::TrustRoot;
use ee_control::ports::Clock;
use ee_protocol::settings::Sources;
use ee_server::clock::SystemClock;
use ee_testbed::{
    DemoImage, MockPcs, SimPlatform,
    platform::{DEFAULT_SEED, SimOptions},
};

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
}

/// The outside world of a simulated control plane; it ends when this is dropped.
pub struct World {
    pcs: MockPcs,
}

impl World {
    /// Starts the mock PCS and writes the demo image's allowlist below `dir`.
    pub async fn start(seed: Seed, dir: &Path, asset: &str) -> anyhow::Result<Self> {
        let clock = SystemClock;
        let now = move || clock.now().unix_seconds().unsigned_abs();
        let pcs = MockPcs::start(seed.platform(), now)
            .await
            .context("starting the mock PCS")?;
        write_allowlist(seed, dir, asset)?;
        Ok(Self { pcs })
    }

    /// Fills in what the simulation provides where `sources` leave it open.
    pub fn provide(&self, sources: &mut Sources, dir: &Path) {
        default(sources, "EE_PCCS_URL", self.pcs.url());
        if !sources.env.contains_key("EE_GITHUB_API_URL") {
            default(
                sources,
                "EE_ALLOWLIST_DIR",
                dir.join("allowlist").display().to_string(),
            );
        }
    }
}

/// Sets a variable that nobody has set.
pub fn default(sources: &mut Sources, name: &str, value: impl Into<String>) {
    let unset = sources.env.get(name).is_none_or(String::is_empty);
    if unset {
        sources.env.insert(name.to_owned(), value.into());
    }
}

fn write_allowlist(seed: Seed, dir: &Path, asset: &str) -> anyhow::Result<()> {
    let image = seed.image();
    let folder = dir
        .join("allowlist")
        .join(DemoImage::REPO)
        .join(image.tag());
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let file = folder.join(asset);
    fs::write(&file, image.allowlist_json()).with_context(|| format!("writing {}", file.display()))
}
