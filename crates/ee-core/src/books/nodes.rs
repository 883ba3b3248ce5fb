//! Nodes: who they are, what they cost, whether they are in good standing.
//!
//! A node exists once it proved itself to us or was registered by an API call; its number is that
//! of its earnings account. A price holds from an instant on and never changes the past.

use ee_protocol::{
    account::AccountId,
    money::{MicroUsd, Price},
    names::{Network, NodeId},
    time::Timestamp,
};

use super::{
    Books, NodeNo, Outcome, Principal, Refusal,
    accounts::Part,
    command::{NodeSeen, RegisterNode},
    dispatch::Step,
    facts::Standing,
    outcome::NodeRegistered,
    principal::Role,
    rows::{AccountKind, Lack, NodePriceRow, NodeRow, StakeTier},
};
use crate::facts::spans::Span;

impl Books {
    /// A node proved who it is. It fixes no kind of account: connecting squats nobody's id.
    pub(super) fn node_seen(&mut self, step: &Step<'_>, command: &NodeSeen) -> Outcome {
        let NodeSeen {
            node,
            network,
            vcpus,
            platform,
            expires_at,
        } = command;
        let no = self.account_or_open(&AccountId::from(node), AccountKind::Unfixed);
        let was_until = self.node_row(step, no).expires_at;
        let banned = platform.is_some_and(|platform| self.is_platform_banned(&platform));
        self.change_node(step, no, |row| {
            row.network = Some(*network);
            row.agent_vcpus = *vcpus;
            row.platform = platform.or(row.platform);
            row.expires_at = Some(*expires_at);
            row.banned |= banned;
        });
        if let Some(gap) = was_until.and_then(|until| Span::new(until, step.at)) {
            let mark = self.mark(step);
            self.facts.unregistered(mark, no, gap);
        }
        self.refresh_standing(step, no);
        Outcome::Recorded
    }

    /// Price, capacity and stake of a node. Absent fields stay as they are.
    pub(super) fn register_node(
        &mut self,
        step: &Step<'_>,
        command: &RegisterNode,
    ) -> Result<Outcome, Refusal> {
        let id = AccountId::from(&command.node);
        let existing = self.as_node(&id)?;
        // Only an admin says what a node's stake is worth: its own token may not.
        let by_admin = matches!(step.actor, Principal::Role(Role::Admin) | Principal::System);
        let target = command.stake.filter(|_| by_admin);
        if let Some(target) = target {
            self.stake_target_fits(existing, target)?;
        }
        let old = existing.and_then(|no| self.nodes.get(&no));
        if old.is_some_and(|row| row.registered) && !command.allow_update {
            return Err(Refusal::NodeExists);
        }
        if old.is_some_and(|row| row.banned) {
            return Err(Refusal::NodeBanned);
        }
        let is_new = !old.is_some_and(|row| row.registered);
        let no = self.make_node(&id);
        self.node_row(step, no);
        self.change_node(step, no, |row| {
            row.registered = true;
            row.vcpus = command.vcpus.or(row.vcpus);
            row.tier = command.tier.filter(|_| by_admin).unwrap_or(row.tier);
        });
        if let Some(price) = command.price {
            self.set_price(step, no, price, command.effective_from);
        }
        if let Some(target) = target {
            self.meet_stake_target(step, no, target);
        }
        self.refresh_standing(step, no);
        Ok(Outcome::NodeRegistered(NodeRegistered {
            is_new,
            stake: self.stake_of(no),
        }))
    }

    /// A node by its id.
    pub(super) fn node_or_refuse(&self, node: &NodeId) -> Result<NodeNo, Refusal> {
        self.node_no(node)
            .filter(|no| self.nodes.contains(no))
            .ok_or(Refusal::NodeNotFound)
    }

    /// What one vCPU of a node costs for an hour, at an instant.
    pub fn price_at(&self, node: NodeNo, at: Timestamp) -> Option<Price> {
        let held = self.prices.range((node, Timestamp::EPOCH)..=(node, at));
        held.map(|(_, row)| row.price).next_back()
    }

    /// Whether a node is banned.
    pub fn is_banned(&self, node: NodeNo) -> bool {
        self.nodes.get(&node).is_some_and(|row| row.banned)
    }

    /// What a node has at stake.
    pub fn stake_of(&self, node: NodeNo) -> MicroUsd {
        let stake = self.part_no(node, Part::Stake);
        stake.map_or(MicroUsd::ZERO, |no| self.account(no).posted)
    }

    /// The least stake of a node: by its tier on forge-1, none elsewhere.
    pub fn stake_demanded(&self, node: NodeNo) -> MicroUsd {
        let Some(row) = self.nodes.get(&node) else {
            return MicroUsd::ZERO;
        };
        match row.network {
            Some(Network::Forge1) => self.policy().stake_min(row.tier),
            Some(Network::Sandbox1) | None => MicroUsd::ZERO,
        }
    }

    /// Says in the facts what a node lacks from now on.
    pub(super) fn refresh_standing(&mut self, step: &Step<'_>, node: NodeNo) {
        let too_little = self.stake_of(node) < self.stake_demanded(node);
        for (lack, lacks) in [
            (Lack::Stake, too_little),
            (Lack::Inactive, self.is_banned(node)),
        ] {
            let standing = if lacks {
                Standing::Lacking
            } else {
                Standing::Good
            };
            let mark = self.mark(step);
            self.facts.standing(mark, node, lack, standing);
        }
    }

    /// Bans a node and its platform for ever.
    pub(super) fn ban(&mut self, step: &Step<'_>, node: NodeNo) {
        self.change_node(step, node, |row| row.banned = true);
        self.refresh_standing(step, node);
    }

    /// The row of a node, made if need be.
    fn node_row(&mut self, step: &Step<'_>, no: NodeNo) -> &NodeRow {
        if !self.nodes.contains(&no) {
            let row = NodeRow {
                node: no,
                network: None,
                vcpus: None,
                agent_vcpus: None,
                tier: StakeTier::Economy,
                registered: false,
                banned: false,
                platform: None,
                expires_at: None,
                revenue: Vec::new(),
                created_at: step.at,
                updated_at: step.at,
            };
            self.nodes.insert(no, row);
        }
        self.nodes.get(&no).expect("it was just made")
    }

    pub(super) fn change_node(
        &mut self,
        step: &Step<'_>,
        no: NodeNo,
        change: impl FnOnce(&mut NodeRow),
    ) {
        let row = self.nodes.get_mut(&no).expect("the caller knows the node");
        change(row);
        row.updated_at = step.at;
    }

    /// A price holds from now on at the earliest: what was agreed to before stays.
    fn set_price(&mut self, step: &Step<'_>, node: NodeNo, price: Price, from: Option<Timestamp>) {
        let from = from.map_or(step.at, |from| from.max(step.at));
        if self.price_at(node, from) != Some(price) {
            self.prices
                .insert((node, from), NodePriceRow { node, from, price });
        }
    }

    /// Bans are few and last; each join with a platform looks through them.
    fn is_platform_banned(&self, platform: &[u8; 32]) -> bool {
        let banned = self.nodes.iter().filter(|(_, row)| row.banned);
        banned
            .into_iter()
            .any(|(_, row)| row.platform.as_ref() == Some(platform))
    }
}
