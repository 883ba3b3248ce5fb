//! `easyenclave node ls|show|register|price|stake`.

use std::process::ExitCode;

use ee_protocol::http::{
    credits::Transferred,
    nodes::{NodeList, NodeRegistered, NodeView},
};
use serde_json::{Value, json};

use crate::{
    client::Client,
    credits,
    money::{dollars, price},
    output::{self, Format},
    path::segment,
};

/// What to ask of nodes or do with them.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// Nodes: price, stake, health
    Ls {
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// A node: price, stake, health, attestation
    Show {
        /// The node
        node: String,
    },
    /// Register a node and print the environment that its agent needs
    Register(Registration),
    /// Post another price; it counts for meters that start later
    Price {
        /// The node
        node: String,
        /// Dollars for a vCPU-hour
        usd: String,
        /// From when on, RFC 3339; now if it is left out
        #[arg(long)]
        effective_from: Option<String>,
    },
    /// Put stake behind a node, or take it back
    Stake {
        /// The node
        node: String,
        /// Which way
        #[arg(value_enum)]
        action: StakeAction,
        /// Dollars
        amount: String,
        /// Whose wallet pays a deposit; the node's earnings if it is left out
        #[arg(long)]
        account: Option<String>,
    },
}

/// A node as it is to be.
#[derive(Debug, clap::Args)]
pub struct Registration {
    /// The node's id
    node: String,
    /// Dollars for a vCPU-hour
    #[arg(long)]
    price: Option<String>,
    /// How many vCPUs may be locked
    #[arg(long)]
    vcpus: Option<u32>,
    /// Stake from outside in dollars; for admins
    #[arg(long)]
    stake: Option<String>,
    /// What the stake promises: premium, standard or economy
    #[arg(long)]
    tier: Option<String>,
    /// Change a node that exists
    #[arg(long)]
    update: bool,
    /// Give the node a new token; the old one stays good for a day
    #[arg(long)]
    rotate_token: bool,
}

/// Which way stake moves.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum StakeAction {
    /// To the stake.
    Deposit,
    /// Back to the earnings, after the unbonding time.
    Withdraw,
}

/// Asks or does it, and prints.
pub async fn run(task: Task, client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    match task {
        Task::Ls { limit } => {
            let (nodes, next_cursor) = client
                .pages("/v1/nodes", limit, |page: NodeList| {
                    (page.nodes, page.next_cursor)
                })
                .await?;
            let list = NodeList { nodes, next_cursor };
            output::print_list(format, &list, &list.nodes, |list| {
                table(list, format.is_wide())
            });
        }
        Task::Show { node } => {
            let path = format!("/v1/nodes/{}", segment(&node));
            let node: NodeView = client.get(&path).await?;
            output::print(format, &node, show);
        }
        Task::Register(registration) => register(&registration.body(), client, format).await?,
        Task::Price {
            node,
            usd,
            effective_from,
        } => {
            let mut body = json!({
                "node_id": node,
                "price_usd_per_vcpu_hour": usd,
                "allow_update": true,
            });
            set(&mut body, "effective_from", effective_from);
            register(&body, client, format).await?;
        }
        Task::Stake {
            node,
            action,
            amount,
            account,
        } => {
            let action = match action {
                StakeAction::Deposit => "deposit",
                StakeAction::Withdraw => "withdraw",
            };
            let mut body = json!({"action": action, "amount_usd": amount});
            set(&mut body, "account_id", account);
            let path = format!("/v1/nodes/{}/stake", segment(&node));
            let done: Transferred = client.post(&path, &body).await?;
            output::print(format, &done, |done| {
                credits::moved(&done.transfer_id, done.seq, &done.balances)
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Registration {
    fn body(&self) -> Value {
        let mut body = json!({"node_id": self.node});
        set(&mut body, "price_usd_per_vcpu_hour", self.price.as_deref());
        set(&mut body, "vcpus", self.vcpus);
        set(&mut body, "stake_amount_usd", self.stake.as_deref());
        set(&mut body, "stake_tier", self.tier.as_deref());
        set(&mut body, "allow_update", self.update.then_some(true));
        set(&mut body, "rotate_token", self.rotate_token.then_some(true));
        body
    }
}

fn set<T: Into<Value>>(body: &mut Value, name: &str, value: Option<T>) {
    if let Some(value) = value {
        body[name] = value.into();
    }
}

async fn register(body: &Value, client: &Client, format: Format) -> anyhow::Result<()> {
    let done: NodeRegistered = client.post("/v1/nodes/register", body).await?;
    output::print(format, &done, registered);
    Ok(())
}

fn registered(done: &NodeRegistered) -> String {
    let node = show(&done.node);
    match &done.node_token {
        Some(token) => format!(
            "{node}\n\n# for the agent; the token is shown this once\n\
             EE_NODE_ID={}\nEE_NODE_TOKEN={token}",
            done.node.node_id
        ),
        None => node,
    }
}

fn table(list: &NodeList, wide: bool) -> String {
    let mut head = vec![
        "NODE",
        "STATUS",
        "PRICE",
        "STAKE",
        "TIER",
        "ATTESTED",
        "HEALTH",
        "NOT ROUTED",
    ];
    if wide {
        head.extend(["VCPUS", "LAST ATTESTED", "LAST HEALTHY", "CREATED"]);
    }
    let at = |at: &Option<String>| at.as_deref().map(output::time).unwrap_or_default();
    let rows: Vec<Vec<String>> = list
        .nodes
        .iter()
        .map(|node| {
            let posted = node.price_micro_usd_per_vcpu_hour.as_deref();
            let mut row = vec![
                node.node_id.clone(),
                node.status.clone(),
                posted.map_or_else(|| "none".to_owned(), price),
                dollars(&node.stake_micro_usd),
                node.stake_tier.clone(),
                node.attestation_status.clone(),
                node.health_status.clone(),
                node.not_routed.clone().unwrap_or_default(),
            ];
            if wide {
                row.extend([
                    node.vcpus
                        .map(|vcpus| vcpus.to_string())
                        .unwrap_or_default(),
                    at(&node.last_attested_at),
                    at(&node.last_health_at),
                    at(&node.created_at),
                ]);
            }
            row
        })
        .collect();
    output::columns(&head, &rows)
}

fn show(node: &NodeView) -> String {
    let none = || "none".to_owned();
    let never = || "never".to_owned();
    let posted = node.price_micro_usd_per_vcpu_hour.as_deref();
    let rows = [
        ("node", node.node_id.clone()),
        ("status", node.status.clone()),
        (
            "routed",
            match &node.not_routed {
                None => "yes".to_owned(),
                Some(why) => format!("no: {why}"),
            },
        ),
        (
            "price",
            posted.map_or_else(none, |posted| format!("{}/vCPU-h", price(posted))),
        ),
        (
            "vcpus",
            node.vcpus
                .map_or_else(|| "no limit known".to_owned(), |vcpus| vcpus.to_string()),
        ),
        (
            "stake",
            format!("{} ({})", dollars(&node.stake_micro_usd), node.stake_tier),
        ),
        (
            "attested",
            format!(
                "{} ({})",
                node.attestation_status,
                node.last_attested_at
                    .as_deref()
                    .map_or_else(never, output::time)
            ),
        ),
        (
            "health",
            format!(
                "{} ({})",
                node.health_status,
                node.last_health_at
                    .as_deref()
                    .map_or_else(never, output::time)
            ),
        ),
    ];
    output::fields(&rows)
}
