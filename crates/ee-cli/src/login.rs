//! `easyenclave login|logout|context`: remember control planes and the tokens for them.
//!
//! A token comes from a file, standard input or a prompt that does not show it: arguments are
//! public on every machine with more than one user.

use std::{
    io::{IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::Context as _;
use ee_protocol::http::apps::AppList;
use serde::Serialize;

use crate::{
    client::Client,
    context::{Context, Contexts},
    evidence,
    failure::{Exit, Failure},
    output::{self, Format},
};

/// No token is longer.
const TOKEN_MAX_BYTES: u64 = 4 * 1024;

/// Arguments of `login`.
#[derive(Debug, clap::Args)]
pub struct Login {
    /// The control plane's URL
    url: String,
    /// Name to remember it by; its host if absent
    #[arg(long)]
    name: Option<String>,
    /// File that holds the token; a prompt or standard input if absent
    #[arg(long)]
    token_file: Option<PathBuf>,
}

/// What to do with remembered control planes.
#[derive(Debug, clap::Subcommand)]
pub enum Remembered {
    /// List them; the current one is marked
    Ls,
    /// Make one the current one
    Use {
        /// Its name
        name: String,
    },
    /// Forget one and its token
    Rm {
        /// Its name
        name: String,
    },
}

/// One row of `context ls`; tokens are never shown.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    url: String,
    current: bool,
    token: bool,
}

/// Tries the token, then saves it as the current context.
pub async fn login(args: Login) -> anyhow::Result<ExitCode> {
    let Login {
        url,
        name,
        token_file,
    } = args;
    let token = token(token_file.as_deref())?;
    let client = Client::new(&url, Some(&token))?;
    let _apps: AppList = client.get("/v1/apps").await?;
    let name = match name {
        Some(name) => name,
        None => host(&url)?,
    };
    let mut contexts = Contexts::load()?;
    let context = Context {
        url: client.url().to_owned(),
        token: Some(token),
    };
    contexts.contexts.insert(name.clone(), context);
    contexts.current = Some(name.clone());
    contexts.save()?;
    output::line(&format!("logged in to {} as context {name}", client.url()));
    Ok(ExitCode::SUCCESS)
}

/// Forgets the current context, or the named one.
pub fn logout(named: Option<&str>) -> anyhow::Result<ExitCode> {
    let contexts = Contexts::load()?;
    let name = named
        .map(str::to_owned)
        .or_else(|| contexts.current.clone());
    let Some(name) = name else {
        return Err(missing("no context is current").into());
    };
    forget(contexts, &name)
}

/// Lists, selects or forgets.
pub fn context(task: Remembered, format: Format) -> anyhow::Result<ExitCode> {
    let mut contexts = Contexts::load()?;
    match task {
        Remembered::Ls => {
            let rows: Vec<Row> = rows(&contexts);
            output::print(format, &rows, |rows| table(rows));
            Ok(ExitCode::SUCCESS)
        }
        Remembered::Use { name } => {
            if !contexts.contexts.contains_key(&name) {
                return Err(missing(&format!("there is no context {name}")).into());
            }
            contexts.current = Some(name);
            contexts.save()?;
            Ok(ExitCode::SUCCESS)
        }
        Remembered::Rm { name } => forget(contexts, &name),
    }
}

fn forget(mut contexts: Contexts, name: &str) -> anyhow::Result<ExitCode> {
    if contexts.contexts.remove(name).is_none() {
        return Err(missing(&format!("there is no context {name}")).into());
    }
    contexts.current = contexts.current.filter(|current| current != name);
    contexts.save()?;
    Ok(ExitCode::SUCCESS)
}

fn missing(what: &str) -> Failure {
    Failure::new(Exit::NotFound, "no_context", what, "easyenclave context ls")
}

fn rows(contexts: &Contexts) -> Vec<Row> {
    let row = |(name, context): (&String, &Context)| Row {
        name: name.clone(),
        url: context.url.clone(),
        current: contexts.current.as_ref() == Some(name),
        token: context.token.is_some(),
    };
    contexts.contexts.iter().map(row).collect()
}

fn table(rows: &[Row]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let mark = if row.current { "*" } else { "" }.to_owned();
            let token = if row.token { "yes" } else { "no" }.to_owned();
            vec![mark, row.name.clone(), row.url.clone(), token]
        })
        .collect();
    output::columns(&["", "CONTEXT", "URL", "TOKEN"], &cells)
}

/// The host of a URL is the name that people know it by.
fn host(url: &str) -> anyhow::Result<String> {
    let uri: http::Uri = url.parse().context("the URL")?;
    uri.host()
        .map(str::to_owned)
        .context("the URL names no host")
}

fn token(file: Option<&Path>) -> anyhow::Result<String> {
    let text = match file {
        Some(path) => String::from_utf8(evidence::bytes(path)?).context("the token")?,
        None if std::io::stdin().is_terminal() => prompted()?,
        None => {
            let mut text = String::new();
            let mut input = std::io::stdin().lock().take(TOKEN_MAX_BYTES);
            input
                .read_to_string(&mut text)
                .context("reading the token")?;
            text
        }
    };
    match text.trim() {
        "" => Err(Failure::new(
            Exit::Usage,
            "token_missing",
            "the token is empty",
            "easyenclave login URL --token-file FILE",
        )
        .into()),
        token => Ok(token.to_owned()),
    }
}

/// Reads a line from the terminal without showing it.
fn prompted() -> anyhow::Result<String> {
    let mut terminal = std::io::stderr().lock();
    write!(terminal, "Token: ")
        .and_then(|()| terminal.flush())
        .context("asking for the token")?;
    let hidden = echo("-echo");
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    if hidden {
        echo("echo");
        let _ = writeln!(terminal);
    }
    read.context("reading the token")?;
    Ok(line)
}

/// Whether the terminal did as it was told; one that cannot be told shows the token.
fn echo(mode: &str) -> bool {
    let status = Command::new("stty")
        .arg(mode)
        .stdin(Stdio::inherit())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_never_listed() {
        let mut contexts = Contexts::default();
        let url = "https://control.example".to_owned();
        let secret = Context {
            url,
            token: Some("do-not-show-this".to_owned()),
        };
        contexts.contexts.insert("work".to_owned(), secret);
        contexts.current = Some("work".to_owned());
        let rows = rows(&contexts);
        let shown = format!("{} {}", table(&rows), serde_json::to_string(&rows).unwrap());
        assert!(
            shown.contains("work") && shown.contains("https://control.example"),
            "{shown}"
        );
        assert!(!shown.contains("do-not-show"), "{shown}");
    }

    #[test]
    fn a_context_is_named_by_its_host() {
        assert_eq!(
            host("https://control.example:8443/").unwrap(),
            "control.example"
        );
        assert!(host("/v1").is_err());
    }
}
