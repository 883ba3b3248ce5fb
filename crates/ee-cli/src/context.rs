//! Which control plane a command talks to, and with which token.
//!
//! `--url` and `EE_URL`, `EE_TOKEN` come first, then the named or current context of
//! `contexts.toml` (mode 0600) in the person's configuration folder. A token never stands on a
//! command line.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{
    client::Client,
    failure::{Exit, Failure},
};

/// The context that `easyenclave dev` writes while it runs.
const DEV: &str = "dev";

/// How to reach one control plane.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Context {
    /// The API's URL.
    pub url: String,
    /// The token, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// The file of contexts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Contexts {
    /// The one that is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// What the command line says about the control plane.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// URL of the control plane's API
    #[arg(long, global = true, env = "EE_URL")]
    pub url: Option<String>,
    /// Name of a saved context
    #[arg(long, global = true, env = "EE_CONTEXT")]
    pub context: Option<String>,
    /// The token; only from the environment, for arguments are public
    #[arg(skip)]
    pub token: Option<String>,
}

impl Target {
    /// The client for it.
    pub fn client(&self) -> anyhow::Result<Client> {
        if let Some(url) = &self.url {
            return Client::new(url, self.token.as_deref());
        }
        let contexts = Contexts::load()?;
        let named = self.context.as_ref().or(contexts.current.as_ref());
        let context = named
            .and_then(|name| contexts.contexts.get(name))
            .ok_or_else(|| {
                Failure::new(
                    Exit::Usage,
                    "no_context",
                    match named {
                        Some(name) => format!("there is no context {name}"),
                        None => "no control plane is named".to_owned(),
                    },
                    "easyenclave dev, or --url URL with EE_TOKEN, or easyenclave login URL",
                )
            })?;
        Client::new(
            &context.url,
            self.token.as_deref().or(context.token.as_deref()),
        )
    }
}

impl Contexts {
    /// Reads the file; a missing one is empty.
    pub fn load() -> anyhow::Result<Self> {
        let path = path()?;
        match fs::read_to_string(&path) {
            Ok(text) => {
                toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Replaces the file, readable by its owner alone; an empty one is removed.
    pub fn save(&self) -> anyhow::Result<()> {
        let path = path()?;
        if self.contexts.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("removing {}", path.display()))
                }
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let text = toml::to_string(self).context("writing contexts")?;
        let written = path.with_extension(format!("toml.{}", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&written)
            .with_context(|| format!("creating {}", written.display()))?;
        file.write_all(text.as_bytes())
            .context("writing contexts")?;
        fs::rename(&written, &path).with_context(|| format!("replacing {}", path.display()))
    }
}

/// Saves the running development network as the current context.
pub fn save_dev(url: &str, token: &str) -> anyhow::Result<()> {
    let mut contexts = Contexts::load()?;
    let dev = Context {
        url: url.to_owned(),
        token: Some(token.to_owned()),
    };
    contexts.contexts.insert(DEV.to_owned(), dev);
    contexts.current = Some(DEV.to_owned());
    contexts.save()
}

/// Removes the development network at `url`; another one that has taken its place stays.
pub fn remove_dev(url: &str) -> anyhow::Result<()> {
    let mut contexts = Contexts::load()?;
    if contexts.contexts.get(DEV).is_some_and(|dev| dev.url == url) {
        contexts.contexts.remove(DEV);
        contexts.current = contexts.current.filter(|name| name != DEV);
        contexts.save()?;
    }
    Ok(())
}

/// The person's configuration folder for this program, created if it is missing.
pub fn folder() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|dir| !dir.is_empty())
        .map_or_else(
            || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")),
            |dir| Some(PathBuf::from(dir)),
        );
    let folder = base
        .context("neither XDG_CONFIG_HOME nor HOME is set")?
        .join("easyenclave");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

fn path() -> anyhow::Result<PathBuf> {
    Ok(folder()?.join("contexts.toml"))
}
