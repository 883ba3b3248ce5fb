//! `easyenclave abuse ls|file|authorize|deny|overturn`.

use std::process::ExitCode;

use ee_protocol::http::abuse::{ReportList, ReportStatus};
use serde_json::json;

use crate::{
    client::Client,
    output::{self, Format},
    path::{segment, with_query},
    period::Named,
};

/// What to do with abuse reports.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// Reports, newest first
    Ls {
        /// About this node
        #[arg(long)]
        node: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// File a report about a node
    File {
        /// The node
        node: String,
        /// What happened
        #[arg(long)]
        reason: Option<String>,
        /// The period it is about; from this one to the decision if it is left out
        #[arg(long)]
        period: Option<Named>,
        /// Who says so; a note
        #[arg(long)]
        reported_by: Option<String>,
    },
    /// The report holds: the node's period fails, its users are refunded
    Authorize(Decision),
    /// The report does not hold
    Deny(Decision),
    /// Record that an authorized report was wrong; moves no money
    Overturn(Decision),
}

/// What is decided.
#[derive(Debug, clap::Args)]
pub struct Decision {
    /// The report
    report: String,
    /// Who decided; a note
    #[arg(long)]
    by: Option<String>,
}

/// Does it and prints.
pub async fn run(task: Task, client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    match task {
        Task::Ls { node, limit } => {
            let path = with_query("/v1/abuse/reports", &[("node", node)]);
            let (reports, next_cursor) = client
                .pages(&path, limit, |page: ReportList| {
                    (page.reports, page.next_cursor)
                })
                .await?;
            let list = ReportList {
                reports,
                next_cursor,
            };
            output::print_list(format, &list, &list.reports, table);
        }
        Task::File {
            node,
            reason,
            period,
            reported_by,
        } => {
            let mut body = json!({"node_id": node});
            if let Some(reason) = reason {
                body["reason"] = json!(reason);
            }
            if let Some(reported_by) = reported_by {
                body["reported_by"] = json!(reported_by);
            }
            if let Some(period) = period {
                let (start, end) = period.bounds();
                body["period_start"] = json!(start);
                body["period_end"] = json!(end);
            }
            let done: ReportStatus = client.post("/v1/abuse/reports", &body).await?;
            output::print(format, &done, status);
        }
        Task::Authorize(decision) => decide(&decision, "authorize", client, format).await?,
        Task::Deny(decision) => decide(&decision, "deny", client, format).await?,
        Task::Overturn(decision) => decide(&decision, "overturn", client, format).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn decide(
    decision: &Decision,
    action: &str,
    client: &Client,
    format: Format,
) -> anyhow::Result<()> {
    let mut body = json!({"action": action});
    if let Some(by) = &decision.by {
        body["authorized_by"] = json!(by);
    }
    let path = format!("/v1/abuse/reports/{}/authorize", segment(&decision.report));
    let done: ReportStatus = client.post(&path, &body).await?;
    output::print(format, &done, status);
    Ok(())
}

fn status(done: &ReportStatus) -> String {
    format!(
        "report {}  {}  seq {}",
        done.report_id, done.status, done.seq
    )
}

fn table(list: &ReportList) -> String {
    let head = [
        "REPORT", "NODE", "STATUS", "FROM", "UNTIL", "FILED", "REASON",
    ];
    let dash = || "-".to_owned();
    let rows: Vec<Vec<String>> = list
        .reports
        .iter()
        .map(|report| {
            vec![
                report.report_id.clone(),
                report.node_id.clone(),
                report.status.clone(),
                output::time(&report.from),
                report.until.as_deref().map_or_else(dash, output::time),
                output::time(&report.filed_at),
                report.reason.clone().unwrap_or_else(dash),
            ]
        })
        .collect();
    output::columns(&head, &rows)
}
