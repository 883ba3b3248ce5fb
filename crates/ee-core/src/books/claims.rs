//! Claims (LEDGER 8): what a node owes to users, paid before it earns.

use ee_protocol::money::MicroUsd;

use super::{
    AccountNo, Books, EntryNo, NodeNo,
    dispatch::Step,
    ledger::{Posting, less},
    rows::{ClaimRow, TransferKind},
};

impl Books {
    /// Pays what a node owes from what it has earned, the oldest debt first.
    pub(super) fn pay_claims(&mut self, step: &Step<'_>, node: NodeNo) {
        if self.claims.is_empty() {
            return;
        }
        let mine = self.claims.iter().filter(|(_, row)| row.node == node);
        let numbers: Vec<EntryNo> = mine.map(|(no, _)| *no).collect();
        for no in numbers {
            let available = self.account(node).available();
            let row = self.claims.get_mut(&no).expect("listed above");
            let paid = row.amount.min(available);
            if paid <= MicroUsd::ZERO {
                return;
            }
            row.amount = less(row.amount, paid);
            let (account, done) = (row.account, row.amount == MicroUsd::ZERO);
            if done {
                self.claims.retire(&no);
            }
            let kind = TransferKind::ClaimPayment;
            self.move_money(step, Posting::of(kind, (node, account), paid));
        }
    }

    /// Writes down what a node owes to a user.
    pub(super) fn add_claim(
        &mut self,
        step: &Step<'_>,
        node: NodeNo,
        account: AccountNo,
        amount: MicroUsd,
    ) {
        let no = self.next_no(step);
        self.claims.insert(
            no,
            ClaimRow {
                no,
                node,
                account,
                amount,
            },
        );
    }
}
