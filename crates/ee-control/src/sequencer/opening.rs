//! The start: rows into memory, the last link of the chain checked, the settings journalled.

use std::sync::Arc;

use ee_core::{
    books::{Books, Command, Policy, Principal},
    journal::{decode_batch, genesis, next_root},
};
use ee_store::{
    StoreError,
    ledger::{Head, Ledger, LedgerStore, books},
};

use super::{Sequencer, Stopped};
use crate::{
    books::{BooksHandle, Submission, ticket},
    ports::Clock,
};

/// Why the books cannot be opened. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum OpenBooksError {
    /// The store cannot be read.
    #[error("reading the books: {0}")]
    Store(#[from] StoreError),
    /// The journal and the head contradict each other.
    #[error("the journal does not end at the head ({0}): run easyenclave audit verify")]
    Broken(String),
    /// The settings cannot be written.
    #[error("writing the settings into the books: {0}")]
    Unwritten(Stopped),
}

/// Loads the books and journals the settings if they changed. The caller runs
/// [`Sequencer::run`].
///
/// # Errors
/// When the books cannot be read, do not end where their head says, or cannot be written.
pub async fn open(
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    policy: Policy,
) -> Result<(BooksHandle, Sequencer), OpenBooksError> {
    let head = ledger.head().await?;
    check_end(&ledger, &head).await?;
    let loaded = books::load(&ledger).await?;
    let books = Books::restore(loaded.rows);
    let is_new = *books.policy() != policy || head.seq == 0;
    let (handle, mut sequencer) = Sequencer::new((books, loaded.behind), ledger, clock, head);
    if is_new {
        let (set, _) = ticket(Submission {
            principal: Principal::System,
            key: None,
            command: Command::SetPolicy(policy),
        });
        let written = sequencer.work(vec![*set]).await;
        written.map_err(OpenBooksError::Unwritten)?;
    }
    Ok((handle, sequencer))
}

/// The last batch must lead to the head; the batches before it are the audit's to check.
async fn check_end(ledger: &Ledger, head: &Head) -> Result<(), OpenBooksError> {
    let broken = |why: &str| Err(OpenBooksError::Broken(why.to_owned()));
    let Some((header, body, root)) = books::batch(ledger, head.batch).await? else {
        return if head.batch == 0 && head.root == genesis(&head.ledger_id) {
            Ok(())
        } else {
            broken("its last batch is missing")
        };
    };
    let before = match header.batch {
        1 => genesis(&head.ledger_id),
        number => match books::batch(ledger, number - 1).await? {
            Some((_, _, root)) => root,
            None => return broken("the batch before the last is missing"),
        },
    };
    if root != head.root || next_root(&before, &header, &body) != root {
        return broken("the root does not follow");
    }
    if header.first_seq + u64::from(header.count) != head.seq + 1 || header.at != head.at {
        return broken("the head lies elsewhere");
    }
    match decode_batch(&header, &body) {
        Ok(_) => Ok(()),
        Err(error) => broken(&error.to_string()),
    }
}
