//! Deploy files load in the real programs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::{Outcome, works};

/// The template, and values for its placeholders that need no right beyond a user's.
const NGINX_TEMPLATE: &str = "deploy/proxies/nginx/nginx.conf.template";

pub fn check(root: &Path) -> Result<Outcome> {
    let Some(nginx) = nginx() else {
        return Ok(Outcome::Skipped(
            "nginx is missing: apt-get install nginx".to_owned(),
        ));
    };
    let template = std::fs::read_to_string(root.join(NGINX_TEMPLATE)).context(NGINX_TEMPLATE)?;
    let folder = std::env::temp_dir().join(format!("ee-xtask-nginx-{}", std::process::id()));
    std::fs::create_dir_all(&folder).context("a temporary folder")?;
    let outcome = load(nginx, &template, &folder);
    std::fs::remove_dir_all(&folder).context("removing the temporary folder")?;
    outcome
}

/// Debian keeps it in `sbin`, which is not on everybody's path.
fn nginx() -> Option<&'static str> {
    ["nginx", "/usr/sbin/nginx"]
        .into_iter()
        .find(|name| works(Command::new(name).arg("-v")))
}

fn load(nginx: &str, template: &str, folder: &Path) -> Result<Outcome> {
    let filled = fill(template, folder);
    if let Some(at) = filled.find("@@") {
        let rest: String = filled[at..].chars().take(40).collect();
        return Ok(Outcome::Failed(format!(
            "a placeholder has no value: {rest}"
        )));
    }
    let configuration = folder.join("nginx.conf");
    std::fs::write(&configuration, filled).context("nginx.conf")?;
    let output = Command::new(nginx)
        .args(["-t", "-q", "-e", "stderr", "-p"])
        .arg(folder)
        .arg("-c")
        .arg(&configuration)
        .output()
        .context("nginx -t")?;
    Ok(if output.status.success() {
        Outcome::Passed
    } else {
        Outcome::Failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    })
}

fn fill(template: &str, folder: &Path) -> String {
    template
        .replace("@@RUN_DIR@@", &folder.display().to_string())
        .replace("@@LISTEN@@", "127.0.0.1:18080")
        .replace("@@CONTROL_HOST@@", "control.example.com")
        .replace("@@APP_DOMAIN@@", "app.example.com")
        .replace("@@CONTROL@@", "127.0.0.1:8088")
        .replace("@@PROXY@@", "127.0.0.1:9090")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_example_loads() {
        let root = crate::root();
        match check(root).expect("the check runs") {
            Outcome::Passed | Outcome::Skipped(_) => {}
            Outcome::Failed(why) => panic!("{why}"),
        }
    }

    #[test]
    fn broken_configuration_is_found() {
        let Some(nginx) = nginx() else { return };
        let folder = std::env::temp_dir().join(format!("ee-xtask-broken-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let outcome = load(
            nginx,
            "events {}\nhttp { server { listen nowhere; } }\n",
            &folder,
        );
        let forgotten = load(nginx, "events {}\n# @@NEW@@\n", &folder);
        std::fs::remove_dir_all(&folder).expect("the folder is ours");
        assert!(matches!(outcome, Ok(Outcome::Failed(_))));
        assert!(matches!(forgotten, Ok(Outcome::Failed(_))));
    }
}
