//! `/v1/nodes*`, `/v1/prices`: capacity, price and stake.

use serde::{Deserialize, Serialize};

use super::fields::{Fields, Refused};
use crate::{
    account::{AccountId, ClientId},
    money::{Amount, MicroUsd, Price},
    names::NodeId,
    problem::ProblemCode,
    time::Timestamp,
};

/// `GET /v1/nodes/{node}`, in the prototype's order of keys, then what was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// The node.
    pub node_id: String,
    /// `active` or `banned`.
    pub status: String,
    /// The price for a vCPU-hour in whole cents, floored; null: none.
    pub price_cents_per_vcpu_hour: Option<i64>,
    /// `premium`, `standard` or `economy`.
    pub stake_tier: String,
    /// The stake in whole cents, floored.
    pub stake_amount_cents: i64,
    /// `unknown`, `valid` or `invalid`.
    pub attestation_status: String,
    /// `unknown`, `pass` or `fail`.
    pub health_status: String,
    /// Last passed attestation.
    pub last_attested_at: Option<String>,
    /// Last passed health check.
    pub last_health_at: Option<String>,
    /// When it was registered.
    pub created_at: Option<String>,
    /// When it last changed.
    pub updated_at: Option<String>,
    /// The price for a vCPU-hour; null: none.
    pub price_micro_usd_per_vcpu_hour: Option<String>,
    /// The stake.
    pub stake_micro_usd: String,
    /// How many vCPUs may be locked; null: no limit is known.
    pub vcpus: Option<u32>,
    /// Why no request comes to it: the first closed gate, `no_tunnel`, `insufficient_credits`;
    /// null: requests do.
    pub not_routed: Option<String>,
}

/// `GET /v1/nodes`: in the order in which they came to the books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeList {
    /// The nodes.
    pub nodes: Vec<NodeView>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// `POST /v1/nodes/register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRegistered {
    /// The node.
    pub node: NodeView,
    /// Its token, shown once; null afterwards.
    pub node_token: Option<String>,
    /// The record in the journal.
    pub seq: u64,
}

/// One posted price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceView {
    /// The node.
    pub node_id: String,
    /// For a vCPU-hour.
    pub price_micro_usd_per_vcpu_hour: String,
    /// Since when, or from when on, RFC 3339.
    pub effective_from: String,
}

/// `GET /v1/prices`: public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceList {
    /// By node.
    pub prices: Vec<PriceView>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// What a stake promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierWord {
    /// 99.999 %.
    Premium,
    /// 99.99 %.
    Standard,
    /// 99.9 %.
    Economy,
}

/// A node as it is to be; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRequest {
    /// The node.
    pub node: NodeId,
    /// The price for a vCPU-hour.
    pub price: Option<Price>,
    /// The stake it is to have, met from outside.
    pub stake: Option<MicroUsd>,
    /// What the stake promises.
    pub tier: Option<TierWord>,
    /// How many vCPUs may be locked.
    pub vcpus: Option<u32>,
    /// From when on the price counts; never in the past.
    pub effective_from: Option<Timestamp>,
    /// Whether a node that exists is changed instead of refused.
    pub allow_update: bool,
    /// Whether the node gets a new token.
    pub rotate_token: bool,
}

impl NodeRequest {
    /// Reads the body of `POST /v1/nodes/register`: `missing_node_id`, `invalid_price`,
    /// `invalid_amount`, `invalid_stake_tier`.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        let missing = || fields.refused(ProblemCode::MissingNodeId, "node_id", "missing");
        Ok(Self {
            node: fields.node("node_id")?.ok_or_else(missing)?,
            price: price(&fields)?,
            stake: fields.money("stake_amount_usd", ProblemCode::InvalidAmount)?,
            tier: tier(&fields)?,
            vcpus: fields.count("vcpus")?,
            effective_from: instant(&fields, "effective_from")?,
            allow_update: fields.flag("allow_update")?.unwrap_or(false),
            rotate_token: fields.flag("rotate_token")?.unwrap_or(false),
        })
    }

    /// Whether it says anything about the stake, which a node does not set itself.
    pub fn touches_stake(&self) -> bool {
        self.stake.is_some() || self.tier.is_some()
    }
}

fn price(fields: &Fields<'_>) -> Result<Option<Price>, Refused> {
    for name in ["price_usd_per_vcpu_hour", "price_usd"] {
        if let Some(money) = fields.money(name, ProblemCode::InvalidPrice)? {
            let price = Price::new(money);
            let refused = || fields.refused(ProblemCode::InvalidPrice, name, "no price");
            return price.map(Some).ok_or_else(refused);
        }
    }
    Ok(None)
}

fn tier(fields: &Fields<'_>) -> Result<Option<TierWord>, Refused> {
    let tiers = [
        ("premium", TierWord::Premium),
        ("standard", TierWord::Standard),
        ("economy", TierWord::Economy),
    ];
    fields.choice("stake_tier", &tiers, ProblemCode::InvalidStakeTier)
}

fn instant(fields: &Fields<'_>, name: &str) -> Result<Option<Timestamp>, Refused> {
    let Some(text) = fields.id_text(name)? else {
        return Ok(None);
    };
    let parsed = Timestamp::parse_rfc3339(&text);
    parsed
        .map(Some)
        .ok_or_else(|| fields.invalid(name, "not RFC 3339"))
}

/// Which way stake moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StakeWord {
    /// From a wallet to the stake.
    Deposit,
    /// From the stake towards the earnings, after the unbonding time.
    Withdraw,
}

/// A movement of stake as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StakeRequest {
    /// The client's id of it.
    pub id: Option<ClientId>,
    /// Which way.
    pub action: StakeWord,
    /// How much.
    pub amount: Amount,
    /// Whose wallet pays a deposit; none: the node's own.
    pub account: Option<AccountId>,
}

impl StakeRequest {
    /// Reads the body of `POST /v1/nodes/{node}/stake`: `invalid_action`, `missing_amount`,
    /// `invalid_amount`.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        fields.only(&["id", "action", "amount_usd", "amount", "account_id"])?;
        let actions = [
            ("deposit", StakeWord::Deposit),
            ("withdraw", StakeWord::Withdraw),
        ];
        let action = fields
            .choice("action", &actions, ProblemCode::InvalidAction)?
            .ok_or_else(|| fields.refused(ProblemCode::InvalidAction, "action", "missing"))?;
        let account = fields.account("account_id")?;
        if action == StakeWord::Withdraw && account.is_some() {
            return Err(fields.invalid("account_id", "withdrawals go to the node's own account"));
        }
        Ok(Self {
            action,
            amount: fields.amount(&["amount_usd", "amount"])?,
            account,
            id: fields.client_id("id")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_refused_in_the_documents_order() {
        let check = |body: &str, expect: &str| {
            let parsed = NodeRequest::parse(body.as_bytes());
            let code = parsed.map_or_else(|problem| problem.code, |_| "ok".to_owned());
            assert_eq!(code, expect, "{body}");
        };
        check("{}", "missing_node_id");
        check(r#"{"node_id":"a b"}"#, "invalid_field");
        check(
            r#"{"node_id":"n","price_usd":"cheap","stake_amount_usd":-1}"#,
            "invalid_price",
        );
        check(r#"{"node_id":"n","price_usd":-1}"#, "invalid_price");
        check(
            r#"{"node_id":"n","stake_amount_usd":-1,"stake_tier":"x"}"#,
            "invalid_amount",
        );
        check(
            r#"{"node_id":"n","stake_tier":"gold"}"#,
            "invalid_stake_tier",
        );
        check(r#"{"node_id":"n","allow_update":"yes"}"#, "invalid_field");
        check(
            r#"{"node_id":"n","effective_from":"soon"}"#,
            "invalid_field",
        );
        check(r#"{"node_id":"n","price_usd":0.0035,"more":1}"#, "ok");
    }

    #[test]
    fn absent_fields_stay() {
        let body = br#"{"node_id":"n1","stake_tier":null,"price_usd":""}"#;
        let node = NodeRequest::parse(body).expect("sound");
        assert!(!node.touches_stake());
        assert_eq!((node.price, node.vcpus), (None, None));
        let body = br#"{"node_id":"n1","stake_amount_usd":0}"#;
        assert!(NodeRequest::parse(body).expect("sound").touches_stake());
    }

    #[test]
    fn a_node_as_the_seed_shows_it_is_golden() {
        let node = NodeView {
            node_id: "n1".into(),
            status: "active".into(),
            price_cents_per_vcpu_hour: Some(4),
            stake_tier: "economy".into(),
            stake_amount_cents: 100_000,
            attestation_status: "valid".into(),
            health_status: "pass".into(),
            last_attested_at: Some("2026-01-02T03:04:05.000006+00:00".into()),
            last_health_at: None,
            created_at: Some("2026-01-02T03:04:05.000006+00:00".into()),
            updated_at: None,
            price_micro_usd_per_vcpu_hour: Some("40000".into()),
            stake_micro_usd: "1000000000".into(),
            vcpus: Some(4),
            not_routed: Some("health_timeout".into()),
        };
        insta::assert_snapshot!(serde_json::to_string(&node).expect("plain data"), @r#"{"node_id":"n1","status":"active","price_cents_per_vcpu_hour":4,"stake_tier":"economy","stake_amount_cents":100000,"attestation_status":"valid","health_status":"pass","last_attested_at":"2026-01-02T03:04:05.000006+00:00","last_health_at":null,"created_at":"2026-01-02T03:04:05.000006+00:00","updated_at":null,"price_micro_usd_per_vcpu_hour":"40000","stake_micro_usd":"1000000000","vcpus":4,"not_routed":"health_timeout"}"#);
    }

    #[test]
    fn stake_moves_in_or_out() {
        let read = |body: &str| {
            let parsed = StakeRequest::parse(body.as_bytes());
            parsed.map_or_else(|problem| problem.code, |_| "ok".to_owned())
        };
        assert_eq!(read(r#"{"action":"deposit","amount_usd":1}"#), "ok");
        assert_eq!(
            read(r#"{"action":"burn","amount_usd":1}"#),
            "invalid_action"
        );
        assert_eq!(read(r#"{"action":"withdraw"}"#), "missing_amount");
        let elsewhere = r#"{"action":"withdraw","amount_usd":1,"account_id":"a"}"#;
        assert_eq!(read(elsewhere), "invalid_field");
    }
}
