//! Accounts: opening, kinds, balances.

use ee_protocol::{
    account::{AccountId, AccountName},
    money::MicroUsd,
    names::NodeId,
};

use super::{
    AccountNo, Books,
    outcome::Balance,
    rows::{AccountKind, AccountRow},
};

/// The accounts that every ledger begins with, in order of their numbers from 1.
const GENESIS: [(&str, AccountKind); 4] = [
    ("sys:mint", AccountKind::Contra),
    ("sys:external_stake", AccountKind::Contra),
    ("sys:payout", AccountKind::Contra),
    ("sys:slash_pool", AccountKind::Pool),
];

impl AccountNo {
    /// Where credits come from.
    pub const MINT: Self = Self(1);
    /// Where stake comes from that an admin grants.
    pub const EXTERNAL_STAKE: Self = Self(2);
    /// Where credits go that leave.
    pub const PAYOUT: Self = Self(3);
    /// Where slashed stake goes.
    pub const SLASH_POOL: Self = Self(4);
}

/// A part of a node's money that is an account of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Pay that rests.
    Held,
    /// Stake.
    Stake,
    /// Stake on its way out.
    Unbonding,
}

impl Part {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Stake => "stake",
            Self::Unbonding => "unbonding",
        }
    }

    const fn kind(self) -> AccountKind {
        match self {
            Self::Held => AccountKind::Held,
            Self::Stake => AccountKind::Stake,
            Self::Unbonding => AccountKind::Unbonding,
        }
    }
}

impl Books {
    pub(super) fn open_genesis(&mut self) {
        for (name, kind) in GENESIS {
            let name = AccountName::parse(name).expect("genesis names are well formed");
            self.open(name, kind);
        }
    }

    pub(super) fn open(&mut self, name: AccountName, kind: AccountKind) -> AccountNo {
        let no = self.accounts.next();
        let row = AccountRow {
            no,
            name: name.clone(),
            kind,
            posted: MicroUsd::ZERO,
            debits_pending: MicroUsd::ZERO,
            credits_pending: MicroUsd::ZERO,
            last: None,
        };
        self.accounts.push(row);
        let twin = self.names.insert(name, no);
        assert!(twin.is_none(), "an account name is opened once");
        no
    }

    /// The number of an account.
    pub fn account_no(&self, id: &AccountId) -> Option<AccountNo> {
        self.names.get(id.as_str()).copied()
    }

    /// The number of a node's earnings account, which is the node's number.
    pub fn node_no(&self, node: &NodeId) -> Option<AccountNo> {
        self.names.get(node.as_str()).copied()
    }

    /// The number of an account of this kind, opened if need be. Kind rules are the caller's.
    pub(super) fn account_or_open(&mut self, id: &AccountId, kind: AccountKind) -> AccountNo {
        self.account_no(id)
            .unwrap_or_else(|| self.open(id.into(), kind))
    }

    /// A part of a node's money, opened if need be.
    pub(super) fn part(&mut self, node: AccountNo, part: Part) -> AccountNo {
        let id = self
            .account(node)
            .name
            .id()
            .expect("a node's account has a plain name");
        let name = AccountName::part(&id, part.suffix());
        match self.names.get(&name) {
            Some(no) => *no,
            None => self.open(name, part.kind()),
        }
    }

    /// A part of a node's money, if it was ever opened.
    pub fn part_no(&self, node: AccountNo, part: Part) -> Option<AccountNo> {
        let id = self.account(node).name.id()?;
        self.names
            .get(&AccountName::part(&id, part.suffix()))
            .copied()
    }

    /// The row of an account.
    pub fn account(&self, no: AccountNo) -> &AccountRow {
        self.accounts
            .get(no)
            .expect("account numbers come from the books")
    }

    pub(super) fn account_mut(&mut self, no: AccountNo) -> &mut AccountRow {
        self.accounts
            .get_mut(no)
            .expect("account numbers come from the books")
    }

    /// Takes the opening of the last account back.
    pub(super) fn close_last_account(&mut self) {
        let row = self.accounts.pop().expect("an account was opened");
        self.names.remove(&row.name);
    }

    /// What a person may see of an account; none if it does not exist.
    pub fn balance(&self, id: &AccountId) -> Option<Balance> {
        self.account_no(id)
            .map(|no| self.balance_of(no, id.clone()))
    }

    /// Every account, in order of opening.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = &AccountRow> {
        self.accounts.iter()
    }

    fn balance_of(&self, no: AccountNo, account: AccountId) -> Balance {
        let row = self.account(no);
        let held = match row.kind {
            AccountKind::Node => self.part_no(no, Part::Held),
            AccountKind::Unfixed
            | AccountKind::User
            | AccountKind::Held
            | AccountKind::Stake
            | AccountKind::Unbonding
            | AccountKind::Pool
            | AccountKind::Contra => None,
        };
        Balance {
            account,
            available: row.available(),
            posted: row.posted,
            locked: row.debits_pending,
            held: held.map_or(MicroUsd::ZERO, |held| self.account(held).posted),
        }
    }

    pub(super) fn balances(&self, numbers: &[AccountNo]) -> Vec<Balance> {
        let with_id = |no: &AccountNo| Some((*no, self.account(*no).name.id()?));
        numbers
            .iter()
            .filter_map(with_id)
            .map(|(no, id)| self.balance_of(no, id))
            .collect()
    }
}

impl AccountRow {
    /// `posted` less what is locked.
    pub fn available(&self) -> MicroUsd {
        self.posted
            .checked_sub(self.debits_pending)
            .expect("both lie below the supply cap")
    }
}
