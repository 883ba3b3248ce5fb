//! `easyenclave token ls|create|rotate|revoke`, `easyenclave whoami`.

use std::process::ExitCode;

use ee_protocol::{
    access::{Resource, Role, Scope},
    http::{
        accounts::AccountView,
        tokens::{RotateRequest, TokenIssued, TokenList, TokenRequest, TokenView, WhoAmI},
    },
};

use crate::{
    client::Client,
    output::{self, Format},
    path::segment,
};

/// Seconds in a day.
const DAY_S: u64 = 24 * 60 * 60;
/// Seconds in an hour.
const HOUR_S: u64 = 60 * 60;

/// What to do with tokens.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// Managed tokens by id
    Ls {
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Make a token; it is shown this once
    Create {
        /// Whose it is: admin, operator, launcher, uptime, auditor, viewer, node or account
        #[arg(long)]
        role: Role,
        /// What it is bound to: account=alice, node=n1, app=hello; may be repeated
        #[arg(long = "resource")]
        resources: Vec<Resource>,
        /// Fewer scopes than the role has; may be repeated
        #[arg(long = "scope")]
        scopes: Vec<Scope>,
        /// What it is for
        #[arg(long, default_value = "")]
        name: String,
        /// Its life in days
        #[arg(long, default_value_t = 90)]
        days: u64,
    },
    /// Give a token a new secret; the old one stays good for a grace
    Rotate {
        /// The token's id
        id: String,
        /// Hours for which the old secret stays good
        #[arg(long, default_value_t = 24)]
        grace_hours: u64,
    },
    /// End a token now
    Revoke {
        /// The token's id
        id: String,
    },
}

/// Does it and prints.
pub async fn run(task: Task, client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    match task {
        Task::Ls { limit } => {
            let (tokens, next_cursor) = client
                .pages("/v1/tokens", limit, |page: TokenList| {
                    (page.tokens, page.next_cursor)
                })
                .await?;
            let list = TokenList {
                tokens,
                next_cursor,
            };
            output::print_list(format, &list, &list.tokens, table);
        }
        Task::Create {
            role,
            resources,
            scopes,
            name,
            days,
        } => {
            let request = TokenRequest {
                role: role.to_string(),
                name,
                resources: resources.iter().map(ToString::to_string).collect(),
                scopes: scopes.iter().map(ToString::to_string).collect(),
                expires_in_s: Some(days.saturating_mul(DAY_S)),
            };
            let made: TokenIssued = client.post("/v1/tokens", &request).await?;
            output::print(format, &made, issued);
            warn_of_unknown(client, &resources).await;
        }
        Task::Rotate { id, grace_hours } => {
            let request = RotateRequest {
                grace_s: Some(grace_hours.saturating_mul(HOUR_S)),
            };
            let path = format!("/v1/tokens/{}/rotate", segment(&id));
            let made: TokenIssued = client.post(&path, &request).await?;
            output::print(format, &made, issued);
        }
        Task::Revoke { id } => {
            let path = format!("/v1/tokens/{}", segment(&id));
            let gone: TokenView = client.delete(&path).await?;
            output::print(format, &gone, |gone| format!("{}  {}", gone.id, gone.state));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A token for an account that is not there yet is allowed, for it may come; more often its name
/// was mistyped.
async fn warn_of_unknown(client: &Client, resources: &[Resource]) {
    for resource in resources {
        let Resource::Account(account) = resource else {
            continue;
        };
        let path = format!("/v1/accounts/{}", segment(account.as_str()));
        if let Ok(None) = client.get_if_found::<AccountView>(&path).await {
            output::note(&format!(
                "warning: there is no account {account} yet; credits purchase opens it"
            ));
        }
    }
}

/// Who the token in use is.
pub async fn whoami(client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    let who: WhoAmI = client.get("/v1/whoami").await?;
    output::print(format, &who, |who| {
        output::fields(&[
            ("name", who.name.clone()),
            ("role", who.role.clone()),
            ("scopes", who.scopes.join(" ")),
            ("bound to", bound(&who.resources)),
            ("expires", ends(who.expires_at.as_deref())),
        ])
    });
    Ok(ExitCode::SUCCESS)
}

fn issued(made: &TokenIssued) -> String {
    let view = &made.view;
    let fields = output::fields(&[
        ("id", view.id.clone()),
        ("role", view.role.clone()),
        ("scopes", view.scopes.join(" ")),
        ("bound to", bound(&view.resources)),
        ("expires", ends(view.expires_at.as_deref())),
    ]);
    format!(
        "{fields}\n\n# shown this once; use it as EE_TOKEN\n{}",
        made.token
    )
}

fn table(list: &TokenList) -> String {
    let head = [
        "ID",
        "ROLE",
        "STATE",
        "BOUND TO",
        "EXPIRES",
        "LAST USED",
        "NAME",
    ];
    let rows: Vec<Vec<String>> = list
        .tokens
        .iter()
        .map(|token| {
            let used = token.last_used_at.as_deref().map(output::time);
            vec![
                token.id.clone(),
                token.role.clone(),
                token.state.clone(),
                bound(&token.resources),
                ends(token.expires_at.as_deref()),
                used.unwrap_or_else(|| "never".to_owned()),
                token.name.clone(),
            ]
        })
        .collect();
    output::columns(&head, &rows)
}

fn bound(resources: &[String]) -> String {
    match resources {
        [] => "nothing".to_owned(),
        resources => resources.join(" "),
    }
}

fn ends(at: Option<&str>) -> String {
    at.map_or_else(|| "not by itself".to_owned(), output::time)
}
