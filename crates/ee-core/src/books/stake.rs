//! Stake (LEDGER 10): deposits, the admin's target, unbonding.
//!
//! **Invariants:** what unbonds is the sum of its rows; stake that open locks need stays.

use ee_protocol::{
    account::{AccountId, ClientId},
    money::{Amount, MicroUsd},
};

use super::{
    AccountNo, Books, EntryNo, NodeNo, Outcome, Refusal,
    accounts::Part,
    clients::{Once, debit_key},
    command::{Deposit, Withdraw},
    dispatch::Step,
    ledger::{Posting, less, more},
    rows::{TransferKind, UnbondingRow},
};

impl Books {
    /// Wallet to stake.
    pub(super) fn deposit(
        &mut self,
        step: &Step<'_>,
        command: &Deposit,
        kind: u16,
    ) -> Result<Outcome, Refusal> {
        let key = debit_key(&command.account, command.id.as_ref());
        self.once(step, Once::new(key, kind, command), |books| {
            let Deposit {
                id,
                node,
                account,
                amount,
            } = command;
            let payer = books.account_no(account).ok_or(Refusal::AccountNotFound)?;
            let node = books.node_or_refuse(node)?;
            if books.is_banned(node) {
                return Err(Refusal::NodeBanned);
            }
            books.has_funds(payer, amount.money())?;
            let sides = (payer, books.part(node, Part::Stake));
            let kind = TransferKind::StakeDeposit;
            let posting = Posting {
                client_id: id.clone(),
                ..Posting::of(kind, sides, amount.money())
            };
            let no = books.move_money(step, posting);
            books.refresh_standing(step, node);
            Ok(books.moved(step, no, &[payer, node]))
        })
    }

    /// Stake to unbonding, where it stays slashable for a while.
    pub(super) fn withdraw(
        &mut self,
        step: &Step<'_>,
        command: &Withdraw,
        kind: u16,
    ) -> Result<Outcome, Refusal> {
        let key = debit_key(&AccountId::from(&command.node), command.id.as_ref());
        self.once(step, Once::new(key, kind, command), |books| {
            let Withdraw { id, node, amount } = command;
            let node = books.node_or_refuse(node)?;
            let staked = books.stake_of(node);
            let left = staked.micros().saturating_sub(amount.micros());
            if left < books.stake_demanded(node).micros() && books.node_has_open_locks(node) {
                return Err(Refusal::StakeInUse);
            }
            if staked < amount.money() {
                return Err(Refusal::InsufficientFunds);
            }
            let no = books.begin_unbonding(step, node, *amount, id.as_ref());
            books.refresh_standing(step, node);
            Ok(books.moved(step, no, &[node]))
        })
    }

    fn begin_unbonding(
        &mut self,
        step: &Step<'_>,
        node: NodeNo,
        amount: Amount,
        client_id: Option<&ClientId>,
    ) -> EntryNo {
        let sides = (
            self.part(node, Part::Stake),
            self.part(node, Part::Unbonding),
        );
        let kind = TransferKind::UnbondBegin;
        let posting = Posting {
            client_id: client_id.cloned(),
            ..Posting::of(kind, sides, amount.money())
        };
        let no = self.move_money(step, posting);
        let free_at = step.at.after(self.policy().unbonding());
        let row = UnbondingRow {
            no,
            node,
            amount: amount.money(),
            free_at,
        };
        self.unbondings.insert(no, row);
        no
    }

    /// Whether an admin's target can be met without minting beyond the cap.
    pub(super) fn stake_target_fits(
        &self,
        node: Option<NodeNo>,
        target: MicroUsd,
    ) -> Result<(), Refusal> {
        let staked = node.map_or(MicroUsd::ZERO, |node| self.stake_of(node));
        match target > staked {
            true => self.mintable(less(target, staked)),
            false => Ok(()),
        }
    }

    /// An admin's target, met from outside. What is too much goes back there.
    pub(super) fn meet_stake_target(&mut self, step: &Step<'_>, node: NodeNo, target: MicroUsd) {
        let staked = self.stake_of(node);
        let (stake, outside) = (self.part(node, Part::Stake), AccountNo::EXTERNAL_STAKE);
        let (sides, amount) = match target > staked {
            true => ((outside, stake), less(target, staked)),
            false => ((stake, outside), less(staked, target)),
        };
        if amount > MicroUsd::ZERO {
            self.move_money(
                step,
                Posting::of(TransferKind::ExternalStake, sides, amount),
            );
        }
    }

    /// What is unbonding is less by now: the youngest first, for the oldest is nearly free.
    pub(super) fn shrink_unbonding(&mut self, node: NodeNo, amount: MicroUsd) {
        let mut left = amount;
        let mine = self.unbondings.iter().filter(|(_, row)| row.node == node);
        let numbers: Vec<EntryNo> = mine.map(|(no, _)| *no).rev().collect();
        for no in numbers {
            let row = self.unbondings.get_mut(&no).expect("listed above");
            let taken = row.amount.min(left);
            row.amount = less(row.amount, taken);
            left = less(left, taken);
            if row.amount == MicroUsd::ZERO {
                self.unbondings.retire(&no);
            }
        }
        assert!(
            left == MicroUsd::ZERO,
            "what unbonds is the sum of its rows"
        );
    }

    /// Frees an unbonding whose time has come.
    pub(super) fn release_unbonding(&mut self, step: &Step<'_>, no: EntryNo) {
        let Some(row) = self.unbondings.get_mut(&no) else {
            return;
        };
        let (node, amount) = (row.node, row.amount);
        row.amount = MicroUsd::ZERO;
        self.unbondings.retire(&no);
        let unbonding = self.part(node, Part::Unbonding);
        let kind = TransferKind::UnbondRelease;
        self.move_money(step, Posting::of(kind, (unbonding, node), amount));
    }

    /// What a slash may take.
    pub fn slashable(&self, node: NodeNo) -> MicroUsd {
        let unbonding = self.part_no(node, Part::Unbonding);
        let unbonding = unbonding.map_or(MicroUsd::ZERO, |no| self.account(no).posted);
        more(self.stake_of(node), unbonding)
    }
}
