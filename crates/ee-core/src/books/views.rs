//! Questions about nodes, payers and sums, for those who look at the books without changing them.

use std::collections::BTreeMap;

use ee_protocol::{
    account::AccountId,
    money::{MicroUsd, Price},
    names::AppName,
    time::Timestamp,
};

use super::{
    AccountNo, Books, EntryNo, NodeNo,
    accounts::Part,
    outcome::Balance,
    rows::{AccountKind, NodePriceRow, NodeRow, PayerRow, StakeTier},
};

/// A node as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeShown {
    /// Its id.
    pub id: AccountId,
    /// What is recorded about it.
    pub row: NodeRow,
    /// The price that holds now.
    pub price: Option<Price>,
    /// Its stake.
    pub stake: MicroUsd,
}

/// Sums over all accounts, in µ$.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Of all accounts: zero, or the books are broken.
    pub all: i128,
    /// What purchases minted.
    pub minted: i128,
    /// Stake that came from outside.
    pub external_stake: i128,
    /// What payouts took out.
    pub paid_out: i128,
    /// What open locks set aside.
    pub locked: i128,
    /// How many accounts people can name.
    pub accounts: u64,
}

/// An account as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountShown {
    /// Its number, by which accounts are listed.
    pub no: AccountNo,
    /// User, node, or neither so far.
    pub kind: AccountKind,
    /// What it holds.
    pub balance: Balance,
    /// A node's stake.
    pub stake: MicroUsd,
    /// Stake on its way out.
    pub unbonding: MicroUsd,
}

impl Books {
    /// An account that people can name; parts and the books' own accounts are none.
    pub fn account_shown(&self, no: AccountNo) -> Option<AccountShown> {
        let row = self.account(no);
        let part = |part| {
            let part = self.part_no(no, part);
            part.map_or(MicroUsd::ZERO, |no| self.account(no).posted)
        };
        Some(AccountShown {
            no,
            kind: row.kind,
            balance: self.balance(&row.name.id()?)?,
            stake: part(Part::Stake),
            unbonding: part(Part::Unbonding),
        })
    }

    /// Accounts that people can name, after one of them, in the order of their opening.
    pub fn accounts_shown(&self, after: AccountNo) -> impl Iterator<Item = AccountShown> {
        let rows = self.accounts.after(after).iter();
        rows.filter_map(|row| self.account_shown(row.no))
    }

    /// An account and the parts of it that are accounts of their own, each with its newest
    /// transfer.
    pub fn account_and_parts(&self, no: AccountNo) -> BTreeMap<AccountNo, Option<EntryNo>> {
        let parts = [Part::Held, Part::Stake, Part::Unbonding];
        let parts = parts.into_iter().filter_map(|part| self.part_no(no, part));
        let all = std::iter::once(no).chain(parts);
        all.map(|no| (no, self.account(no).last)).collect()
    }

    /// Who pays for an app.
    pub fn payer(&self, app: &AppName) -> Option<&PayerRow> {
        self.payers.get(app)
    }

    /// A node by its id, as it is at an instant.
    pub fn node_shown(&self, id: &AccountId, at: Timestamp) -> Option<NodeShown> {
        let row = self.nodes.get(&self.account_no(id)?)?;
        Some(self.shown(row, at))
    }

    /// Nodes after one of them, in the order of their numbers.
    pub fn nodes_shown(&self, after: NodeNo, at: Timestamp, limit: usize) -> Vec<NodeShown> {
        let beyond = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let rows = self.nodes.range(beyond).take(limit);
        rows.map(|(_, row)| self.shown(row, at)).collect()
    }

    /// Prices after one of them: by node, then by the instant from which they hold. Only those
    /// that hold at `at` or will later.
    pub fn prices_shown(
        &self,
        after: (NodeNo, Timestamp),
        at: Timestamp,
        limit: usize,
    ) -> Vec<(AccountId, NodePriceRow)> {
        let beyond = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let rows = self.prices.range(beyond).map(|(_, row)| row);
        rows.filter(|row| {
            self.price_from(row.node, at)
                .is_none_or(|from| row.from >= from)
        })
        .take(limit)
        .map(|row| (self.id_of(row.node), row.clone()))
        .collect()
    }

    /// The sums over all accounts.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for row in self.accounts() {
            let posted = i128::from(row.posted.micros());
            sums.all += posted;
            sums.locked += i128::from(row.debits_pending.micros());
            sums.accounts += u64::from(matches!(
                row.kind,
                AccountKind::Unfixed | AccountKind::User | AccountKind::Node
            ));
            match row.no {
                AccountNo::MINT => sums.minted = -posted,
                AccountNo::EXTERNAL_STAKE => sums.external_stake = -posted,
                AccountNo::PAYOUT => sums.paid_out = posted,
                _ => {}
            }
        }
        sums
    }

    fn shown(&self, row: &NodeRow, at: Timestamp) -> NodeShown {
        let stake = self.part_no(row.node, Part::Stake);
        let held = self
            .prices
            .range((row.node, Timestamp::EPOCH)..=(row.node, at));
        NodeShown {
            id: self.id_of(row.node),
            row: row.clone(),
            price: held.map(|(_, price)| price.price).next_back(),
            stake: stake.map_or(MicroUsd::ZERO, |no| self.account(no).posted),
        }
    }

    /// From when on the price holds that holds at `at`.
    fn price_from(&self, node: NodeNo, at: Timestamp) -> Option<Timestamp> {
        let held = self.prices.range((node, Timestamp::EPOCH)..=(node, at));
        held.map(|(_, price)| price.from).next_back()
    }

    pub(super) fn id_of(&self, node: NodeNo) -> AccountId {
        let name = &self.account(node).name;
        name.id().expect("a node's account has a plain name")
    }
}

impl NodeShown {
    /// The promise that its stake backs.
    pub const fn tier(&self) -> StakeTier {
        self.row.tier
    }

    /// How many vCPUs may be locked: its record's, else its agent's.
    pub fn vcpus(&self) -> Option<u32> {
        self.row.vcpus.or(self.row.agent_vcpus)
    }
}
