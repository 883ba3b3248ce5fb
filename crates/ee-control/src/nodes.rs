//! Nodes as the books know them: price, capacity, stake.

use std::collections::{BTreeMap, BTreeSet};

use ee_core::{
    books::{
        AccountNo, Command,
        command::{Deposit, RegisterNode, Withdraw},
        rows::StakeTier,
        views::NodeShown,
    },
    eligibility::assess,
};
use ee_protocol::{
    account::AccountId,
    http::{
        credits::Transferred,
        nodes::{NodeRequest, NodeView, PriceView, StakeRequest, StakeWord, TierWord},
    },
    names::NodeId,
    problem::ProblemCode,
    time::Timestamp,
};

use crate::{
    answers::{Answered, Caller, Failure, Listed, Mark, submit},
    apps::{attestation_status, health_status},
    books::BooksHandle,
    credits::{moved, transferred},
    routes::{Funds, NodeEntry, Routes},
};

/// Registers a node, or changes what the request names.
///
/// # Errors
/// As the books say: `node_exists`, `account_kind_conflict`.
pub async fn register(
    books: &BooksHandle,
    caller: &Caller,
    request: NodeRequest,
) -> Result<Mark, Failure> {
    let NodeRequest {
        node,
        price,
        stake,
        tier,
        vcpus,
        effective_from,
        allow_update,
        rotate_token: _,
    } = request;
    let command = Command::RegisterNode(RegisterNode {
        node,
        price,
        effective_from,
        vcpus,
        stake,
        tier: tier.map(|tier| match tier {
            TierWord::Premium => StakeTier::Premium,
            TierWord::Standard => StakeTier::Standard,
            TierWord::Economy => StakeTier::Economy,
        }),
        allow_update,
    });
    let (_, mark) = submit(books, caller, command).await?;
    Ok(mark)
}

/// Moves stake in or out.
///
/// # Errors
/// As the books say: `insufficient_funds`, `stake_in_use`.
pub async fn stake(
    books: &BooksHandle,
    caller: &Caller,
    node: NodeId,
    request: StakeRequest,
) -> Result<Answered<Transferred>, Failure> {
    let StakeRequest {
        id,
        action,
        amount,
        account,
    } = request;
    let account = account.unwrap_or_else(|| AccountId::from(&node));
    let command = match action {
        StakeWord::Deposit => Command::Deposit(Deposit {
            id,
            node,
            account,
            amount,
        }),
        StakeWord::Withdraw => Command::Withdraw(Withdraw { id, node, amount }),
    };
    let moved = moved(books, caller, command).await?;
    Ok(transferred(caller, moved))
}

/// What the live half knows of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveState {
    attestation: &'static str,
    health: &'static str,
    last_attested_at: Option<Timestamp>,
    last_health_at: Option<Timestamp>,
    /// Why no request comes to it; none: requests do.
    not_routed: Option<String>,
}

/// What the live half knows of nodes, by id. Nodes that never connected are not among them.
pub fn live_states<L>(routes: &Routes<L>, now: Timestamp) -> BTreeMap<String, LiveState> {
    let apps = routes.apps();
    let entries = apps
        .iter()
        .flat_map(|app| app.nodes.iter().map(|node| (app.funds, node)));
    entries
        .map(|(funds, node)| (node.id().to_string(), live_state(routes, funds, node, now)))
        .collect()
}

fn live_state<L>(routes: &Routes<L>, funds: Funds, entry: &NodeEntry, now: Timestamp) -> LiveState {
    let node = &entry.current();
    let assessment = assess(node, routes.policy(), now);
    let not_routed = match (assessment.reason(), entry.tunnel_count(), funds) {
        (Some(code), _, _) => Some(code.to_string()),
        (None, 0, _) => Some("no_tunnel".to_owned()),
        (None, _, Funds::Exhausted) => Some("insufficient_credits".to_owned()),
        (None, _, Funds::Enough) => None,
    };
    LiveState {
        attestation: attestation_status(node, &assessment),
        health: health_status(node, &assessment),
        last_attested_at: node.attestation.passed().map(|passed| passed.at),
        last_health_at: node.last_health_at,
        not_routed,
    }
}

/// A node.
///
/// # Errors
/// `node_not_found`.
pub async fn show(
    books: &BooksHandle,
    node: &NodeId,
    live: &BTreeMap<String, LiveState>,
    now: Timestamp,
) -> Result<NodeView, Failure> {
    let id = AccountId::from(node);
    let shown = books.read(move |books| books.node_shown(&id, now)).await?;
    let shown = shown.ok_or(Failure::Absent(ProblemCode::NodeNotFound))?;
    Ok(view(&shown, live.get(node.as_str())))
}

/// Nodes in the order in which they came to the books: all, or some of these.
///
/// # Errors
/// When the books do not answer.
pub async fn list(
    books: &BooksHandle,
    only: Option<BTreeSet<String>>,
    live: &BTreeMap<String, LiveState>,
    after: Option<&str>,
    limit: u32,
    now: Timestamp,
) -> Result<Listed<NodeView>, Failure> {
    let after = AccountNo(after.and_then(|after| after.parse().ok()).unwrap_or(0));
    let most = limit as usize;
    let rows = books.read(move |books| match only {
        None => books.nodes_shown(after, now, most),
        Some(ids) => {
            let ids = ids.iter().filter_map(|id| AccountId::parse(id).ok());
            let shown = ids.filter_map(|id| books.node_shown(&id, now));
            let mut later: Vec<_> = shown.filter(|node| node.row.node > after).collect();
            later.sort_by_key(|node| node.row.node);
            later.truncate(most);
            later
        }
    });
    let listed = Listed::of(rows.await?, limit, |shown| shown.row.node.0.to_string());
    Ok(listed.map(|shown| view(&shown, live.get(shown.id.as_str()))))
}

/// Posted prices: those that hold, and those that will.
///
/// # Errors
/// When the books do not answer.
pub async fn prices(
    books: &BooksHandle,
    after: Option<&str>,
    limit: u32,
    now: Timestamp,
) -> Result<Listed<PriceView>, Failure> {
    let after = after.and_then(price_position);
    let after = after.unwrap_or((AccountNo(0), Timestamp::EPOCH));
    let rows = books.read(move |books| books.prices_shown(after, now, limit as usize));
    let listed = Listed::of(rows.await?, limit, |(_, row)| {
        format!("{}.{}", row.node.0, row.from.unix_micros())
    });
    Ok(listed.map(|(id, row)| PriceView {
        node_id: id.to_string(),
        price_micro_usd_per_vcpu_hour: row.price.money().to_string(),
        effective_from: row.from.rfc3339_micros(),
    }))
}

fn price_position(text: &str) -> Option<(AccountNo, Timestamp)> {
    let (node, from) = text.split_once('.')?;
    let from = Timestamp::from_unix_micros(from.parse().ok()?);
    Some((AccountNo(node.parse().ok()?), from))
}

fn view(shown: &NodeShown, live: Option<&LiveState>) -> NodeView {
    let word = if shown.row.banned { "banned" } else { "active" };
    let price = shown.price.map(|price| price.money());
    NodeView {
        node_id: shown.id.to_string(),
        status: word.to_owned(),
        price_cents_per_vcpu_hour: price.map(|price| price.cents_floor()),
        stake_tier: shown.tier().word().to_owned(),
        stake_amount_cents: shown.stake.cents_floor(),
        attestation_status: live.map_or("unknown", |live| live.attestation).to_owned(),
        health_status: live.map_or("unknown", |live| live.health).to_owned(),
        last_attested_at: live
            .and_then(|live| live.last_attested_at)
            .map(Timestamp::rfc3339_micros),
        last_health_at: live
            .and_then(|live| live.last_health_at)
            .map(Timestamp::rfc3339_micros),
        created_at: Some(shown.row.created_at.rfc3339_micros()),
        updated_at: Some(shown.row.updated_at.rfc3339_micros()),
        price_micro_usd_per_vcpu_hour: price.map(|price| price.to_string()),
        stake_micro_usd: shown.stake.to_string(),
        vcpus: shown.vcpus(),
        not_routed: live.map_or_else(
            || Some("not_registered".to_owned()),
            |live| live.not_routed.clone(),
        ),
    }
}
