//! Double entry (LEDGER 3): every movement is one row with a debit, a credit and an amount above
//! zero, so an unbalanced entry cannot be written. **Invariants:** the sum of all `posted` is zero
//! (L1); `available` is never negative but on contra accounts (L2).

use ee_protocol::{
    account::{AccountId, AccountName, ClientId, Note},
    money::{MicroUsd, SUPPLY_MAX_MICRO_USD},
};

use super::{
    AccountNo, Books, EntryId, EntryNo, Outcome, Refusal,
    clients::{Once, debit_key},
    command::{Adjust, Payout, Purchase, Transfer},
    dispatch::Step,
    ids::ClientKey,
    outcome::Moved,
    rows::{AccountKind, TransferKind, TransferRow},
};

/// A row of `transfer` to be written.
#[derive(Debug, Clone)]
pub(super) struct Posting {
    pub kind: TransferKind,
    pub debit: AccountNo,
    pub credit: AccountNo,
    pub amount: MicroUsd,
    pub pending: Option<EntryNo>,
    pub client_id: Option<ClientId>,
    pub reference: Option<Note>,
}

impl Posting {
    pub(super) const fn of(
        kind: TransferKind,
        (debit, credit): (AccountNo, AccountNo),
        amount: MicroUsd,
    ) -> Self {
        Self {
            kind,
            debit,
            credit,
            amount,
            pending: None,
            client_id: None,
            reference: None,
        }
    }
}

impl Books {
    pub(super) fn purchase(
        &mut self,
        step: &Step<'_>,
        command: &Purchase,
        kind: u16,
    ) -> Result<Outcome, Refusal> {
        let key = command.external_ref.clone().map(ClientKey::Purchase);
        self.once(step, Once::new(key, kind, command), |books| {
            books.as_user(&command.account)?;
            let amount = command.amount.money();
            books.mintable(amount)?;
            let account = books.make_user(&command.account);
            let mut posting =
                Posting::of(TransferKind::Purchase, (AccountNo::MINT, account), amount);
            posting.reference = note(command.external_ref.as_ref());
            let no = books.move_money(step, posting);
            Ok(books.moved(step, no, &[account]))
        })
    }

    pub(super) fn transfer(
        &mut self,
        step: &Step<'_>,
        command: &Transfer,
        kind: u16,
    ) -> Result<Outcome, Refusal> {
        let key = debit_key(&command.from, command.id.as_ref());
        self.once(step, Once::new(key, kind, command), |books| {
            let (no, touched) = books.transfer_once(step, command)?;
            Ok(books.moved(step, no, &touched))
        })
    }

    /// A transfer, its id aside.
    pub(super) fn transfer_once(
        &mut self,
        step: &Step<'_>,
        command: &Transfer,
    ) -> Result<(EntryNo, [AccountNo; 2]), Refusal> {
        if command.from == command.to {
            return Err(Refusal::SameAccount);
        }
        let to = self.account_no(&command.to);
        if to.is_none() && !command.open_account {
            return Err(Refusal::AccountNotFound);
        }
        let from = self
            .account_no(&command.from)
            .ok_or(Refusal::InsufficientFunds)?;
        let amount = command.amount.money();
        self.has_funds(from, amount)?;
        let to = to.unwrap_or_else(|| self.open((&command.to).into(), AccountKind::Unfixed));
        let mut posting = Posting::of(TransferKind::Transfer, (from, to), amount);
        posting.client_id.clone_from(&command.id);
        Ok((self.move_money(step, posting), [from, to]))
    }

    pub(super) fn payout(
        &mut self,
        step: &Step<'_>,
        command: &Payout,
        kind: u16,
    ) -> Result<Outcome, Refusal> {
        let id = debit_key(&command.account, command.id.as_ref());
        let external = command.external_ref.clone().map(ClientKey::Payout);
        self.once(
            step,
            Once::new(id.into_iter().chain(external), kind, command),
            |books| {
                let account = books
                    .account_no(&command.account)
                    .ok_or(Refusal::AccountNotFound)?;
                let amount = command.amount.money();
                books.has_funds(account, amount)?;
                let sides = (account, AccountNo::PAYOUT);
                let mut posting = Posting::of(TransferKind::Payout, sides, amount);
                posting.client_id.clone_from(&command.id);
                posting.reference = note(command.external_ref.as_ref());
                let no = books.move_money(step, posting);
                Ok(books.moved(step, no, &[account]))
            },
        )
    }

    pub(super) fn adjust(
        &mut self,
        step: &Step<'_>,
        command: &Adjust,
        kind: u16,
    ) -> Result<Outcome, Refusal> {
        let key = command.id.clone().map(ClientKey::Admin);
        self.once(step, Once::new(key, kind, command), |books| {
            if command.debit == command.credit {
                return Err(Refusal::SameAccount);
            }
            let debit = books.adjustable(&command.debit)?;
            let credit = books.adjustable(&command.credit)?;
            let amount = command.amount.money();
            if books.account(debit).kind == AccountKind::Contra {
                books.mintable(amount)?;
            } else {
                books.has_funds(debit, amount)?;
            }
            let mut posting = Posting::of(TransferKind::Adjust, (debit, credit), amount);
            posting.client_id.clone_from(&command.id);
            posting.reference = Some(command.reason.clone());
            let no = books.move_money(step, posting);
            Ok(books.moved(step, no, &[debit, credit]))
        })
    }

    /// Held pay, stake and unbonding have rows of their own that say whose they are: an adjustment
    /// beside those would leave the two apart.
    fn adjustable(&self, name: &AccountName) -> Result<AccountNo, Refusal> {
        let no = self
            .names
            .get(name)
            .copied()
            .ok_or(Refusal::AccountNotFound)?;
        match self.account(no).kind {
            AccountKind::Held | AccountKind::Stake | AccountKind::Unbonding => {
                Err(Refusal::AccountKindConflict)
            }
            AccountKind::Unfixed
            | AccountKind::User
            | AccountKind::Node
            | AccountKind::Pool
            | AccountKind::Contra => Ok(no),
        }
    }

    /// Writes a row and moves its amount.
    ///
    /// # Panics
    /// If the debited account has not the funds: the caller checked that.
    pub(super) fn move_money(&mut self, step: &Step<'_>, posting: Posting) -> EntryNo {
        let (debit, credit, amount) = (posting.debit, posting.credit, posting.amount);
        let paying = self.account_mut(debit);
        paying.posted = less(paying.posted, amount);
        let covered = paying.kind == AccountKind::Contra || paying.posted >= paying.debits_pending;
        assert!(covered, "what is paid was available");
        let paid = self.account_mut(credit);
        paid.posted = more(paid.posted, amount);
        self.record(step, posting)
    }

    /// Writes a row that moves nothing: a lock, or what of it comes back.
    pub(super) fn record(&mut self, step: &Step<'_>, posting: Posting) -> EntryNo {
        let no = self.next_no(step);
        let Posting {
            kind,
            debit,
            credit,
            amount,
            pending,
            client_id,
            reference,
        } = posting;
        assert!(
            amount > MicroUsd::ZERO && debit != credit,
            "a transfer moves something"
        );
        let actor = step.actor.clone();
        let at = step.at;
        let debit_before = self.account_mut(debit).last.replace(no);
        let credit_before = self.account_mut(credit).last.replace(no);
        self.transfers.push(TransferRow {
            no,
            kind,
            debit,
            credit,
            amount,
            pending,
            client_id,
            reference,
            actor,
            at,
            debit_before,
            credit_before,
        });
        no
    }

    /// Whether so much is available.
    pub(super) fn has_funds(&self, account: AccountNo, amount: MicroUsd) -> Result<(), Refusal> {
        match self.account(account).available() >= amount {
            true => Ok(()),
            false => Err(Refusal::InsufficientFunds),
        }
    }

    /// Whether so much may still come into circulation (LEDGER 2).
    pub(super) fn mintable(&self, amount: MicroUsd) -> Result<(), Refusal> {
        let contra = [
            AccountNo::MINT,
            AccountNo::EXTERNAL_STAKE,
            AccountNo::PAYOUT,
        ];
        let posted = contra.map(|no| i128::from(self.account(no).posted.micros()));
        // Without what was paid out: no contra account may leave its integer either.
        let minted = -(posted[0] + posted[1]);
        match minted + i128::from(amount.micros()) <= i128::from(SUPPLY_MAX_MICRO_USD) {
            true => Ok(()),
            false => Err(Refusal::SupplyCap),
        }
    }

    /// The account, if it may act as a user's.
    pub(super) fn as_user(&self, id: &AccountId) -> Result<Option<AccountNo>, Refusal> {
        self.as_kind(id, AccountKind::User)
    }

    /// The account, if it may act as a node's.
    pub(super) fn as_node(&self, id: &AccountId) -> Result<Option<AccountNo>, Refusal> {
        self.as_kind(id, AccountKind::Node)
    }

    fn as_kind(&self, id: &AccountId, kind: AccountKind) -> Result<Option<AccountNo>, Refusal> {
        let Some(no) = self.account_no(id) else {
            return Ok(None);
        };
        let found = self.account(no).kind;
        if found == kind || found == AccountKind::Unfixed {
            Ok(Some(no))
        } else {
            Err(Refusal::AccountKindConflict)
        }
    }

    /// The user's account, opened if need be; its kind is fixed from now on.
    pub(super) fn make_user(&mut self, id: &AccountId) -> AccountNo {
        self.make_kind(id, AccountKind::User)
    }

    /// The node's account, opened if need be; its kind is fixed from now on.
    pub(super) fn make_node(&mut self, id: &AccountId) -> AccountNo {
        self.make_kind(id, AccountKind::Node)
    }

    fn make_kind(&mut self, id: &AccountId, kind: AccountKind) -> AccountNo {
        let no = self.account_or_open(id, kind);
        if self.account(no).kind == AccountKind::Unfixed {
            self.account_mut(no).kind = kind;
        }
        assert!(
            self.account(no).kind == kind,
            "the caller asked for this kind"
        );
        no
    }

    pub(super) fn moved(&self, step: &Step<'_>, no: EntryNo, touched: &[AccountNo]) -> Outcome {
        let transfer = EntryId::new(step.at, no);
        Outcome::Moved(Moved {
            transfer,
            balances: self.balances(touched),
        })
    }
}

/// The sum; amounts and supply are far below what an `i64` holds.
pub(super) fn more(money: MicroUsd, amount: MicroUsd) -> MicroUsd {
    money
        .checked_add(amount)
        .expect("sums stay below the supply cap")
}

/// The difference; see [`more`].
pub(super) fn less(money: MicroUsd, amount: MicroUsd) -> MicroUsd {
    money
        .checked_sub(amount)
        .expect("differences stay above the supply cap's negative")
}

fn note(id: Option<&ClientId>) -> Option<Note> {
    id.map(|id| Note::parse(id.as_str()).expect("a client id is shorter than a note may be"))
}
