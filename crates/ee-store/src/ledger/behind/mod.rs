//! Account rows are written behind (ADR 0017): a batch writes its transfers, and an account's row
//! follows when the sweep comes by, so that one page carries many accounts and one row many
//! transfers.
//!
//! A row says in `last` up to which transfer it is true; what follows stands in `transfer`, durable
//! before anybody is answered. The sweep goes round the accounts in the order of their numbers.
//! When it is round, every row is true up to where it began, and `sweep.through` says so: a start
//! reads no transfer before that.
//!
//! **Invariants**
//! - A row is written as the account is after the batch that writes it.
//! - Every row has all transfers of commands up to `through`.
//! - What no transfer tells (a new account, its kind) is written with the batch that did it.

use ee_core::books::{AccountNo, Books, Changes, Seq};

use super::{
    Cell, TableChange,
    rows::{field::Field, stored::Stored, tables::ACCOUNT},
    tables::SWEEP,
};
use numbers::Numbers;

mod numbers;
mod redo;

pub(crate) use redo::Movement;
pub use redo::current;

/// About how many transfers a start finds behind the account rows, unless told otherwise; of more
/// accounts, as many as there are accounts. Taking them in lasts a tenth of a second.
pub const REDO: u64 = 131_072;

/// Which account rows lag behind the books, and when each is written.
#[derive(Debug, Clone)]
pub struct Behind {
    /// About how many transfers rows may lag; 0 if they may not.
    redo: u64,
    /// Accounts whose rows lag.
    stale: Numbers,
    place: Place,
    planned: Planned,
}

/// How far the rows are.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// Every row has the transfers of commands up to here.
    through: Seq,
    /// Transfers since then.
    lag: u64,
    /// The command before the sweep's round began.
    began: Seq,
    /// The lag then.
    lag_then: u64,
    /// The account that the sweep comes to next.
    next: u32,
}

/// What the batch in hand does.
#[derive(Debug, Clone, Default)]
struct Planned {
    changed: Vec<AccountNo>,
    written: Vec<AccountNo>,
    place: Place,
}

impl Behind {
    /// Rows that never lag: for tables that are read as they are.
    pub fn at_once() -> Self {
        Self::of(Seq(0), 0, Seq(0)).with_redo(0)
    }

    /// Rows that have all transfers of commands up to `through`; `lag` more were made up to `head`.
    fn of(through: Seq, lag: u64, head: Seq) -> Self {
        Self {
            redo: REDO,
            stale: Numbers::default(),
            place: Place {
                through,
                lag,
                began: head,
                lag_then: lag,
                next: 1,
            },
            planned: Planned::default(),
        }
    }

    /// Lets rows lag by about so many transfers.
    #[must_use]
    pub fn with_redo(self, transfers: u64) -> Self {
        Self {
            redo: transfers,
            ..self
        }
    }

    /// What a batch writes of accounts.
    pub(super) fn plan(&mut self, books: &Books, changes: &Changes) -> Vec<TableChange> {
        let changed: Vec<AccountNo> = changes.accounts.iter().map(|row| row.no).collect();
        let (place, written) = match self.redo {
            0 => (self.place, changed.clone()),
            redo => self.sweep(redo, books, changes),
        };
        let mut all = Vec::new();
        if place.through != self.place.through {
            all.push(TableChange {
                table: &SWEEP,
                put: vec![vec![Cell::Int(1), place.through.to_cell()]],
                delete: Vec::new(),
            });
        }
        let row = |no: &AccountNo| books.account(*no).to_row();
        all.push(TableChange {
            table: &ACCOUNT,
            put: written.iter().map(row).collect(),
            delete: Vec::new(),
        });
        self.planned = Planned {
            changed,
            written,
            place,
        };
        all
    }

    /// How far the sweep comes with a batch, and the rows that the batch writes.
    ///
    /// Its pace grows with the lag, so that books which are killed often get round all the same.
    fn sweep(&self, redo: u64, books: &Books, changes: &Changes) -> (Place, Vec<AccountNo>) {
        let accounts = u64::try_from(books.accounts().len()).unwrap_or(u64::MAX);
        let redo = redo.max(accounts);
        let made = u64::try_from(changes.transfers.len()).unwrap_or(u64::MAX);
        let mut place = self.place;
        place.lag += made;
        // The pace is lag / redo² of all accounts a transfer; here is its sum over the round.
        let [then, since] = [place.lag_then, place.lag - place.lag_then].map(u128::from);
        let [accounts, redo] = [accounts, redo].map(u128::from);
        let passed = accounts * (2 * then + since) * since / (2 * redo * redo);
        let end = u32::try_from(passed.min(accounts) + 1).unwrap_or(u32::MAX);
        let end = end.max(place.next);
        let mut written = self.stale.within(place.next, end);
        // A row that changes in this batch is as good as stale: it is written with all of it.
        let here = |row: &&ee_core::books::rows::AccountRow| (place.next..end).contains(&row.no.0);
        written.extend(changes.accounts.iter().filter(here).map(|row| row.no));
        written.extend(&changes.accounts_untold);
        written.sort_unstable();
        written.dedup();
        place.next = end;
        if passed >= accounts {
            let since = place.lag - place.lag_then;
            place = Place {
                through: place.began,
                lag: since,
                began: books.head().seq,
                lag_then: since,
                next: 1,
            };
        }
        (place, written)
    }

    /// The batch that was planned last is durable.
    pub fn committed(&mut self) {
        let Planned {
            changed,
            written,
            place,
        } = std::mem::take(&mut self.planned);
        for no in changed {
            self.stale.insert(no);
        }
        for no in written {
            self.stale.remove(no);
        }
        self.place = place;
    }
}
