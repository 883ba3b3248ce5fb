//! `easyenclave lock ls|show|create|release`.

use std::process::ExitCode;

use ee_protocol::http::locks::{LockList, LockView, Locked, Released};
use serde_json::json;

use crate::{
    client::Client,
    credits,
    money::dollars,
    output::{self, Format},
    path::{segment, with_query},
    period::Named,
};

/// What to do with locks.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// Locks, newest first
    Ls {
        /// Of this account
        #[arg(long)]
        account: Option<String>,
        /// On this node
        #[arg(long)]
        node: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// One lock
    Show {
        /// The lock
        lock: String,
    },
    /// Set credits aside for compute on a node
    Create {
        /// Who pays
        #[arg(long)]
        account: String,
        /// Who works
        #[arg(long)]
        node: String,
        /// How many vCPUs
        #[arg(long)]
        vcpus: u32,
        /// When: 2026-11-22T13Z, 2026-11-22, or START--END
        #[arg(long)]
        period: Named,
        /// Pay for all of it, used or not
        #[arg(long)]
        reserved: bool,
    },
    /// Take back a lock that has not begun
    Release {
        /// The lock
        lock: String,
    },
}

/// Does it and prints.
pub async fn run(task: Task, client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    match task {
        Task::Ls {
            account,
            node,
            limit,
        } => {
            let path = with_query("/v1/locks", &[("account", account), ("node", node)]);
            let list = list(client, &path, limit).await?;
            output::print_list(format, &list, &list.locks, table);
        }
        Task::Show { lock } => {
            let path = format!("/v1/locks/{}", segment(&lock));
            let lock: LockView = client.get(&path).await?;
            output::print(format, &lock, show);
        }
        Task::Create {
            account,
            node,
            vcpus,
            period,
            reserved,
        } => {
            let body = json!({
                "account_id": account,
                "node_id": node,
                "vcpus": vcpus,
                "period": period.0.to_string(),
                "mode": if reserved { "reserved" } else { "metered" },
            });
            let done: Locked = client.post("/v1/locks", &body).await?;
            output::print(format, &done, locked);
        }
        Task::Release { lock } => {
            let path = format!("/v1/locks/{}", segment(&lock));
            let done: Released = client.delete(&path).await?;
            output::print(format, &done, released);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Pages of locks up to `limit`.
pub async fn list(client: &Client, path: &str, limit: usize) -> anyhow::Result<LockList> {
    let (locks, next_cursor) = client
        .pages(path, limit, |page: LockList| (page.locks, page.next_cursor))
        .await?;
    Ok(LockList { locks, next_cursor })
}

fn table(list: &LockList) -> String {
    let head = [
        "LOCK", "PERIOD", "ACCOUNT", "NODE", "AMOUNT", "PAID", "STATE",
    ];
    let rows: Vec<Vec<String>> = list
        .locks
        .iter()
        .map(|lock| {
            vec![
                lock.lock_id.clone(),
                lock.period.clone(),
                lock.account_id.clone(),
                lock.node_id.clone(),
                dollars(&lock.amount_micro_usd),
                dollars(&lock.posted_micro_usd),
                lock.state.clone(),
            ]
        })
        .collect();
    output::columns(&head, &rows)
}

fn show(lock: &LockView) -> String {
    let vcpus = lock.vcpus.map(|vcpus| vcpus.to_string());
    output::fields(&[
        ("lock", lock.lock_id.clone()),
        ("account", lock.account_id.clone()),
        ("node", lock.node_id.clone()),
        ("app", lock.app.clone().unwrap_or_else(|| "-".to_owned())),
        ("period", lock.period.clone()),
        ("from", lock.from.clone()),
        ("vcpus", vcpus.unwrap_or_else(|| "-".to_owned())),
        ("mode", lock.mode.clone()),
        ("amount", dollars(&lock.amount_micro_usd)),
        ("paid", dollars(&lock.posted_micro_usd)),
        ("state", lock.state.clone()),
        ("expires", output::time(&lock.expires_at)),
    ])
}

fn locked(done: &Locked) -> String {
    let fields = output::fields(&[
        ("lock", done.lock_id.clone()),
        ("period", done.period.clone()),
        ("amount", dollars(&done.amount_micro_usd)),
        ("expires", output::time(&done.expires_at)),
    ]);
    std::iter::once(fields)
        .chain(credits::holdings(&done.balances))
        .collect::<Vec<_>>()
        .join("\n")
}

fn released(done: &Released) -> String {
    let fields = output::fields(&[
        ("lock", done.lock_id.clone()),
        ("returned", dollars(&done.returned_micro_usd)),
    ]);
    std::iter::once(fields)
        .chain(credits::holdings(&done.balances))
        .collect::<Vec<_>>()
        .join("\n")
}
