//! `easyenclave usage report|ls`.

use std::process::ExitCode;

use ee_protocol::http::usage::{UsageList, UsageReported};
use serde_json::json;

use crate::{
    client::Client,
    money::dollars,
    output::{self, Format},
    path::segment,
    period::Named,
};

/// What to do with usage.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// Report compute that an account used on a node
    Report(Report),
    /// What was reported of an account, newest first
    Ls {
        /// The account
        account: String,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

/// A report.
#[derive(Debug, clap::Args)]
pub struct Report {
    /// Who pays
    #[arg(long)]
    account: String,
    /// Who worked
    #[arg(long)]
    node: String,
    /// When: 2026-11-22T13Z, 2026-11-22, or START--END
    #[arg(long)]
    period: Named,
    /// How much, in vCPU-hours
    #[arg(long)]
    vcpu_hours: String,
    /// The amount is the total of the period so far, not what it adds
    #[arg(long)]
    cumulative: bool,
    /// Your own id of the report: it counts once, however often it is sent
    #[arg(long)]
    usage_id: Option<String>,
}

/// Does it and prints.
pub async fn run(task: Task, client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    match task {
        Task::Report(report) => {
            let (start, end) = report.period.bounds();
            let mut body = json!({
                "account_id": report.account,
                "node_id": report.node,
                "period_start": start,
                "period_end": end,
                "vcpu_hours": report.vcpu_hours,
                "cumulative": report.cumulative,
            });
            if let Some(id) = report.usage_id {
                body["usage_id"] = json!(id);
            }
            let done: UsageReported = client.post("/v1/usage/report", &body).await?;
            output::print(format, &done, reported);
        }
        Task::Ls { account, limit } => {
            let path = format!("/v1/accounts/{}/usage", segment(&account));
            let (usage, next_cursor) = client
                .pages(&path, limit, |page: UsageList| {
                    (page.usage, page.next_cursor)
                })
                .await?;
            let list = UsageList { usage, next_cursor };
            output::print_list(format, &list, &list.usage, table);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn reported(done: &UsageReported) -> String {
    let lock = done
        .lock_id
        .as_deref()
        .unwrap_or("none, earlier ones cover it");
    output::fields(&[
        ("usage", done.usage_id.clone()),
        ("period", done.period.clone()),
        ("adds", dollars(&done.amount_micro_usd)),
        ("lock", lock.to_owned()),
    ])
}

fn table(list: &UsageList) -> String {
    let head = ["AT", "PERIOD", "NODE", "CHARGE", "STATE", "USAGE"];
    let rows: Vec<Vec<String>> = list
        .usage
        .iter()
        .map(|usage| {
            vec![
                output::time(&usage.at),
                usage.period.clone(),
                usage.node_id.clone(),
                dollars(&usage.amount_micro_usd),
                usage.state.clone(),
                usage.usage_id.clone(),
            ]
        })
        .collect();
    output::columns(&head, &rows)
}
