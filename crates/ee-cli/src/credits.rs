//! `easyenclave credits purchase|transfer`.

use std::process::ExitCode;

use ee_protocol::http::credits::{Balances, Purchased, Transferred};
use serde_json::json;

use crate::{
    client::Client,
    money::dollars,
    output::{self, Format},
};

/// What to do with credits.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// Mint credits for a user who paid for them elsewhere
    Purchase {
        /// Who receives them
        account: String,
        /// Dollars: 25 or 0.000667
        amount: String,
        /// The payment's id elsewhere: it buys once, however often it is sent
        #[arg(long)]
        external_ref: Option<String>,
    },
    /// Move credits from one account to another
    Transfer {
        /// Who pays
        from: String,
        /// Who receives
        to: String,
        /// Dollars: 25 or 0.000667
        amount: String,
    },
}

/// Does it and prints what came of it.
pub async fn run(task: Task, client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    match task {
        Task::Purchase {
            account,
            amount,
            external_ref,
        } => {
            let mut body = json!({"account_id": account, "amount_usd": amount});
            if let Some(external_ref) = external_ref {
                body["external_ref"] = json!(external_ref);
            }
            let done: Purchased = client.post("/v1/credits/purchase", &body).await?;
            output::print(format, &done, |done| {
                moved(&done.transfer_id, done.seq, &done.balances)
            });
        }
        Task::Transfer { from, to, amount } => {
            let body = json!({"from_account": from, "to_account": to, "amount_usd": amount});
            let done: Transferred = client.post("/v1/credits/transfer", &body).await?;
            output::print(format, &done, |done| {
                moved(&done.transfer_id, done.seq, &done.balances)
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The transfer, then what its accounts hold now.
pub fn moved(transfer: &str, seq: u64, balances: &Balances) -> String {
    let first = format!("transfer {transfer}  seq {seq}");
    std::iter::once(first)
        .chain(holdings(balances))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A line an account that the caller may read.
pub fn holdings(balances: &Balances) -> impl Iterator<Item = String> {
    balances.iter().map(|(account, holdings)| {
        format!(
            "  {account}  available {}  posted {}  locked {}",
            dollars(&holdings.available_micro_usd),
            dollars(&holdings.posted_micro_usd),
            dollars(&holdings.locked_micro_usd)
        )
    })
}
