//! `easyenclave payer show|bind|unbind`: who pays for an app, period by period.

use std::process::ExitCode;

use ee_protocol::http::locks::{PayerStanding, PayerView};
use serde_json::json;

use crate::{
    client::Client,
    money::price,
    output::{self, Format},
    path::segment,
};

/// What to do with an app's payer.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// Who pays for an app, and for how many periods more
    Show {
        /// The app
        app: String,
    },
    /// Have an account pay for an app: its locks renew period by period while there are credits
    Bind {
        /// The app
        app: String,
        /// Who pays
        #[arg(long)]
        account: String,
        /// vCPUs to lock on each node
        #[arg(long)]
        vcpus: u32,
        /// The highest price of a vCPU-hour in dollars; any if it is left out
        #[arg(long)]
        max_price: Option<String>,
        /// How many nodes at once
        #[arg(long, default_value_t = 1)]
        nodes_max: u32,
    },
    /// Leave an app without payer: it is then routed without locks
    Unbind {
        /// The app
        app: String,
    },
}

/// Does it and prints.
pub async fn run(task: Task, client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    let path = |app: &str| format!("/v1/apps/{}/payer", segment(app));
    let payer: PayerView = match task {
        Task::Show { app } => {
            let standing: PayerStanding = client.get(&path(&app)).await?;
            output::print(format, &standing, stands);
            return Ok(ExitCode::SUCCESS);
        }
        Task::Bind {
            app,
            account,
            vcpus,
            max_price,
            nodes_max,
        } => {
            let mut body = json!({
                "account_id": account,
                "vcpus": vcpus,
                "nodes_max": nodes_max,
            });
            if let Some(usd) = max_price {
                body["max_price_usd"] = usd.into();
            }
            client.put(&path(&app), &body).await?
        }
        Task::Unbind { app } => client.delete(&path(&app)).await?,
    };
    output::print(format, &payer, show);
    Ok(ExitCode::SUCCESS)
}

fn stands(standing: &PayerStanding) -> String {
    let funds = match standing.funds.as_deref() {
        None => "nobody pays: routed without locks",
        Some("exhausted") => "exhausted: not routed; next: easyenclave credits purchase",
        Some("low") => "low; next: easyenclave credits purchase",
        Some(word) => word,
    };
    let runway = standing.runway_periods;
    let runway = runway.map_or_else(|| "-".to_owned(), |periods| format!("{periods} periods"));
    let more = output::fields(&[("funds", funds.to_owned()), ("runway", runway)]);
    format!("{}\n{more}", show(&standing.payer))
}

fn show(payer: &PayerView) -> String {
    let dash = || "-".to_owned();
    let number = |number: Option<u32>| number.map_or_else(dash, |number| number.to_string());
    let most = payer.max_price_micro_usd.as_deref();
    output::fields(&[
        ("app", payer.app.clone()),
        (
            "account",
            payer
                .account_id
                .clone()
                .unwrap_or_else(|| "nobody".to_owned()),
        ),
        ("vcpus", number(payer.vcpus)),
        (
            "at most",
            most.map_or_else(
                || "any price".to_owned(),
                |most| format!("{}/vCPU-h", price(most)),
            ),
        ),
        ("nodes", number(payer.nodes_max)),
    ])
}
