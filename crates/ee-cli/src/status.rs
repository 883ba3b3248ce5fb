//! `easyenclave status`: the control plane and its apps at a glance.

use std::process::ExitCode;

use ee_protocol::http::{
    apps::{AppList, AppStatus},
    health::HealthReport,
};
use serde::Serialize;

use crate::{
    app,
    client::Client,
    output::{self, Format},
};

/// What `status -o json` prints: two answers of the API, unchanged.
#[derive(Debug, Serialize)]
struct Status {
    control_plane: HealthReport,
    apps: Vec<AppStatus>,
}

/// Asks and prints.
pub async fn run(client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    let control_plane: HealthReport = client.get("/health").await?;
    let list: AppList = client.get("/v1/apps").await?;
    let status = Status {
        control_plane,
        apps: list.apps,
    };
    output::print(format, &status, |status| text(client.url(), status));
    Ok(ExitCode::SUCCESS)
}

fn text(url: &str, status: &Status) -> String {
    let HealthReport {
        status: state,
        version,
        trust_root,
        loosened,
        tunnels,
        ..
    } = &status.control_plane;
    let mut lines = vec![format!(
        "control plane {url}  {state}  version {version}  trust root {}  tunnels {tunnels}",
        trust_root.name
    )];
    if !loosened.is_empty() {
        lines.push(format!("loosened networks: {}", loosened.join(", ")));
    }
    lines.push(match status.apps.is_empty() {
        true => "no app is bound yet".to_owned(),
        false => app::table(&status.apps),
    });
    lines.join("\n")
}
