//! Many transfers in one command, each on its own or in chains that stand and fall together.
//!
//! Items are taken in order. A chain ends with the first item that is not tied to the next. When
//! one of its items is refused, the chain leaves nothing but that item's answer under its id: the
//! others may come again.

use super::{
    AccountNo, Books, EntryId, Outcome, Refusal,
    clients::{Once, debit_key},
    command::{BatchItem, TransferBatch},
    dispatch::Step,
    outcome::{ItemResult, Moved},
    rows::AccountRow,
};

/// Where the books stood before a chain.
struct Savepoint {
    accounts: Vec<AccountRow>,
    next_account: AccountNo,
    transfers: usize,
    clients: usize,
    next_idx: u32,
}

impl Books {
    pub(super) fn transfer_batch(
        &mut self,
        step: &Step<'_>,
        command: &TransferBatch,
        kind: u16,
    ) -> Result<Outcome, Refusal> {
        let mut results = Vec::with_capacity(command.items.len());
        let mut rest = &command.items[..];
        while let Some(end) = rest.iter().position(|item| !item.chain) {
            let (chain, after) = rest.split_at(end + 1);
            self.transfer_chain(step, chain, kind, &mut results);
            rest = after;
        }
        // A last item that is tied to nothing ends its chain as well.
        self.transfer_chain(step, rest, kind, &mut results);
        Ok(Outcome::Batch(results))
    }

    fn transfer_chain(
        &mut self,
        step: &Step<'_>,
        chain: &[BatchItem],
        kind: u16,
        results: &mut Vec<ItemResult>,
    ) {
        let savepoint = self.savepoint(chain);
        let first = results.len();
        for item in chain {
            let result = self.transfer_item(step, item, kind);
            let refused = matches!(result, ItemResult::Refused(_));
            results.push(result);
            if refused && chain.len() > 1 {
                self.break_chain(step, chain, kind, (savepoint, first, results));
                return;
            }
        }
    }

    /// Takes the chain back and keeps only the answer to the item that broke it.
    fn break_chain(
        &mut self,
        step: &Step<'_>,
        chain: &[BatchItem],
        kind: u16,
        (savepoint, first, results): (Savepoint, usize, &mut Vec<ItemResult>),
    ) {
        self.return_to(savepoint);
        let broken = results.len() - 1;
        if let ItemResult::Refused(refusal) = results[broken] {
            let once = item_once(&chain[broken - first], kind);
            if refusal != Refusal::IdReused && self.recall(step, &once).is_none() {
                self.remember(step, once, &Err(refusal));
            }
        }
        for result in &mut results[first..broken] {
            *result = ItemResult::ChainBroken;
        }
        results.resize_with(first + chain.len(), || ItemResult::ChainBroken);
    }

    fn transfer_item(&mut self, step: &Step<'_>, item: &BatchItem, kind: u16) -> ItemResult {
        let once = item_once(item, kind);
        let result = self.once(step, once, |books| {
            let (no, _) = books.transfer_once(step, &item.transfer)?;
            let transfer = EntryId::new(step.at, no);
            Ok(Outcome::Moved(Moved {
                transfer,
                balances: Vec::new(),
            }))
        });
        match result {
            Ok(Outcome::Moved(moved)) => ItemResult::Moved(moved.transfer),
            Ok(_) => ItemResult::Refused(Refusal::IdReused),
            Err(refusal) => ItemResult::Refused(refusal),
        }
    }

    fn savepoint(&self, chain: &[BatchItem]) -> Savepoint {
        let named = chain
            .iter()
            .flat_map(|item| [&item.transfer.from, &item.transfer.to]);
        let accounts = match chain.len() {
            0 | 1 => Vec::new(),
            _ => named
                .filter_map(|id| self.account_no(id))
                .map(|no| self.account(no).clone())
                .collect(),
        };
        Savepoint {
            accounts,
            next_account: self.accounts.next(),
            transfers: self.transfers.len(),
            clients: self.clients.len(),
            next_idx: self.next_idx,
        }
    }

    fn return_to(&mut self, savepoint: Savepoint) {
        while self.accounts.next() > savepoint.next_account {
            self.close_last_account();
        }
        for row in savepoint.accounts {
            let no = row.no;
            *self.account_mut(no) = row;
        }
        self.transfers.truncate(savepoint.transfers);
        self.clients.truncate(savepoint.clients);
        self.next_idx = savepoint.next_idx;
    }
}

fn item_once(item: &BatchItem, kind: u16) -> Once {
    let key = debit_key(&item.transfer.from, item.transfer.id.as_ref());
    Once::new(key, kind, &item.transfer)
}
