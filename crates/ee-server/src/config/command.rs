//! `easyenclave-server config …`: check, show, explain, example, reference.

use std::fmt::Write as _;

use clap::Subcommand;
use ee_protocol::settings::{
    Problem, SecretRule, Setting, Sources, example_toml, reference_markdown,
};

use super::{AGENT_TABLE, CLIENT_TABLE, TABLE, load};

/// What to do with the settings.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Check every setting; unknown EE_ variables are errors here
    Check,
    /// Print every setting with its value (secrets redacted) and origin
    Show,
    /// Explain one setting
    Explain {
        /// The variable, for example EE_PROXY_API
        name: String,
    },
    /// Print a configuration file with every default
    Example,
    /// Print the settings reference, docs/config.md
    Reference,
}

impl ConfigCommand {
    /// The text for standard output, or every problem.
    pub fn run(&self, sources: &Sources) -> Result<String, Vec<Problem>> {
        match self {
            Self::Check => check(sources),
            Self::Show => show(sources),
            Self::Explain { name } => explain(name),
            Self::Example => Ok(example_toml(TABLE)),
            Self::Reference => Ok(reference()),
        }
    }
}

/// The settings reference of all programs, as `docs/config.md` holds it.
pub fn reference() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         Generated from the settings tables by `easyenclave-server config reference`.\n\n\
         - **Precedence**: flags, environment, file (`EE_CONFIG`), default. Empty counts as unset, \
         except where the row says otherwise.\n\
         - **File keys**: lower case without `EE_`: `control_port = 8088`. Network policies are \
         `[networks.forge-1]` and `[networks.sandbox-1]` tables.\n\
         - **S** marks a secret: it may come from the file that `NAME_FILE` names or from a systemd \
         credential called `NAME` instead. Two sources, an empty file, fewer than 24 characters or \
         a published example are refused.\n\
         - An unknown key of the file is an error; an unknown `EE_` variable is a warning at start \
         and an error in `config check`. Every problem is reported at once; the exit status is \
         78.\n",
    );
    page.push_str(&reference_markdown(&[
        ("Control plane: easyenclave-server", TABLE),
        ("Agent: easyenclave-agent", AGENT_TABLE),
        ("Command line: easyenclave", CLIENT_TABLE),
    ]));
    page.push_str(&super::policy::reference());
    page
}

fn check(sources: &Sources) -> Result<String, Vec<Problem>> {
    let loaded = load(sources, SecretRule::Strong)?;
    let unknown = loaded.reader.unknown_variables();
    if unknown.is_empty() {
        Ok(format!("ok: {} settings\n", TABLE.len()))
    } else {
        Err(unknown.to_vec())
    }
}

fn show(sources: &Sources) -> Result<String, Vec<Problem>> {
    let loaded = load(sources, SecretRule::Strong)?;
    let mut text = String::new();
    for (name, value, origin) in loaded.reader.shown() {
        let _ = writeln!(text, "{name}={value}  # {origin}");
    }
    Ok(text)
}

fn explain(name: &str) -> Result<String, Vec<Problem>> {
    let wanted = name.to_ascii_uppercase();
    let found = TABLE
        .iter()
        .chain(AGENT_TABLE)
        .chain(CLIENT_TABLE)
        .find(|row| row.name == wanted);
    let Some(row) = found else {
        return Err(vec![Problem {
            name: name.to_owned(),
            origin: String::new(),
            message: "no such setting; see: easyenclave-server config show".to_owned(),
        }]);
    };
    Ok(explained(row))
}

fn explained(row: &Setting) -> String {
    let default = if row.default.is_empty() {
        row.unset
    } else {
        row.default
    };
    let mut text = format!("{}\n  {}\n  default: {default}\n", row.name, row.meaning);
    let _ = writeln!(text, "  file key: {}", row.file_key());
    if row.secret {
        let _ = writeln!(
            text,
            "  secret: also from {}_FILE or a systemd credential",
            row.name
        );
    }
    text
}
