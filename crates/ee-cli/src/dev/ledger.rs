//! Money of the development network: a user with credits who pays for the app, nodes with prices.
//!
//! All of it goes through the API, as an operator would do it.

use std::collections::BTreeMap;

use anyhow::Context;
use ee_protocol::{
    http::{credits::Purchased, locks::PayerView, nodes::NodeRegistered},
    money::{MicroUsd, Price, VcpuMicros},
};
use serde_json::json;

use crate::{
    client::Client,
    money::{dollars, price},
    path::segment,
};

/// Who pays for the app.
const USER: &str = "alice";
/// What the user begins with: enough for months of this network.
const CREDITS_USD: &str = "25.00";
/// vCPUs that the app pays for on its node.
const VCPUS: u32 = 2;
/// Length of a billing period: a verdict while you watch. `EE_PERIOD_SEC` overrides it.
pub const PERIOD_SEC: u32 = 30;
/// Wait from a period's end to its verdict: two beats of the observer.
pub const GRACE_SEC: u32 = 5;
/// What becomes of an undecided period after this many seconds; a network lives for minutes.
pub const DEADLINE_SEC: u32 = 300;

/// What a node asks for a vCPU-hour.
#[derive(Debug, Clone)]
pub struct Posted {
    /// The node.
    pub node: String,
    /// Dollars for a vCPU-hour.
    pub usd: &'static str,
}

/// The network's money, as it was set up.
#[derive(Debug, Clone)]
pub struct Money {
    /// Each node's token: its id needs a proof from now on.
    pub node_tokens: BTreeMap<String, String>,
    /// Each node's price as it is shown.
    pub prices: BTreeMap<String, String>,
    /// The line of the introduction.
    pub summary: String,
}

/// Buys credits, posts prices, binds the payer.
pub async fn seed(
    client: &Client,
    app: &str,
    posted: &[Posted],
    period_sec: u32,
) -> anyhow::Result<Money> {
    let body = json!({"account_id": USER, "amount_usd": CREDITS_USD});
    let bought: Purchased = client.post("/v1/credits/purchase", &body).await?;
    let mut node_tokens = BTreeMap::new();
    let mut prices = BTreeMap::new();
    for Posted { node, usd } in posted {
        let body = json!({
            "node_id": node,
            "price_usd_per_vcpu_hour": usd,
            "vcpus": VCPUS,
        });
        let done: NodeRegistered = client.post("/v1/nodes/register", &body).await?;
        let token = done.node_token.context("a new node is given its token")?;
        node_tokens.insert(node.clone(), token);
        let shown = done.node.price_micro_usd_per_vcpu_hour.as_deref();
        prices.insert(node.clone(), shown.map(price).unwrap_or_default());
    }
    let payer = json!({"account_id": USER, "vcpus": VCPUS});
    let path = format!("/v1/apps/{}/payer", segment(app));
    let _: PayerView = client.put(&path, &payer).await?;
    let cheapest = posted.first().map_or("0", |posted| posted.usd);
    let holdings = bought.balances.get(USER);
    let credits = holdings.map_or("", |holdings| &holdings.available_micro_usd);
    Ok(Money {
        node_tokens,
        prices,
        summary: format!(
            "{USER} {}; locks {} per period of {period_sec} s",
            dollars(credits),
            dollars(&lock_of(cheapest, period_sec)?)
        ),
    })
}

/// What a whole period on a node of this price locks, in millionths.
fn lock_of(usd: &str, period_sec: u32) -> anyhow::Result<String> {
    let price = MicroUsd::parse_text(usd).context("a price of the demo")?;
    let price = Price::new(price).context("a price of the demo")?;
    let used = u64::from(VCPUS) * u64::from(period_sec) * 1_000_000;
    Ok(price.need(VcpuMicros::from_micros(used)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_vcpus_for_thirty_seconds_lock_667_millionths() {
        assert_eq!(lock_of("0.040", 30).expect("price"), "667");
    }
}
