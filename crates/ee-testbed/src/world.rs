//! The outside world of a control plane that runs over a simulation: collateral and allowlist.

use std::{fs, io, path::Path};

use ee_protocol::settings::Sources;

use crate::{image::DemoImage, mock_pcs::MockPcs, platform::SimPlatform};

/// What stands in for Intel's service and for releases on GitHub; it ends when this is dropped.
pub struct World {
    pcs: MockPcs,
}

impl World {
    /// Starts the mock PCS and writes the allowlist of `image` below `dir`, as `asset`; `now` gives
    /// Unix seconds.
    pub async fn start(
        platform: SimPlatform,
        image: &DemoImage,
        dir: &Path,
        asset: &str,
        now: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let pcs = MockPcs::start(platform, now).await?;
        let release = dir
            .join("allowlist")
            .join(DemoImage::REPO)
            .join(image.tag());
        fs::create_dir_all(&release)?;
        fs::write(release.join(asset), image.allowlist_json())?;
        Ok(Self { pcs })
    }

    /// Fills in what the simulation provides where `sources` leave it open.
    pub fn provide(&self, sources: &mut Sources, dir: &Path) {
        default(sources, "EE_PCCS_URL", self.pcs.url());
        if !sources.env.contains_key("EE_GITHUB_API_URL") {
            let allowlists = dir.join("allowlist");
            default(
                sources,
                "EE_ALLOWLIST_DIR",
                allowlists.display().to_string(),
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
