//! The books checked from outside: everything is recomputed from the journal and compared with
//! the tables, bit for bit (LEDGER 1, L1 to L8 and L15).
//!
//! Read-only. The replay runs the same machine as the server over a store in memory; `sums` adds
//! up postings and locks without the machine, so that a mistake of the machine itself shows too.

use std::{collections::BTreeSet, fmt, str::FromStr};

use crate::{
    error::StoreError,
    ledger::{
        LedgerStore, Table,
        tables::{
            ABUSE, ACCOUNT, CLAIM, CLIENT, FACT, HOLD, JOURNAL, LOCK, METER, NODE, NODE_PRICE,
            OBSERVER, PAYER, POLICY, REQUEST, SETTLEMENT, SLASH, TABLES, TRANSFER, UNBONDING,
            USAGE,
        },
    },
};

mod compare;
mod replay;
mod sums;

pub use replay::{Replayed, replay};

/// Findings told one by one; beyond it the books are broken as a whole.
const FINDINGS_MAX: usize = 100;

/// What to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// L1, L2: every balance is the sum of its postings, all of them are zero together.
    Balances,
    /// L3: transfers are those of the journal.
    Transfers,
    /// L4, L9, L10: locks, meters, usage, payers.
    Locks,
    /// L5: verdicts.
    Verdicts,
    /// L6: what was answered under keys and ids.
    Requests,
    /// L12: facts and observers.
    Facts,
    /// L15: stake, holds, claims, slashes, nodes.
    Stake,
    /// L8: the hash chain, from the first batch to the head.
    Chain,
    /// L8: every table.
    Replay,
    /// L7: the journal is whole up to the recorded head.
    Backup,
}

impl Check {
    /// Every check, in order.
    pub const ALL: [Self; 10] = [
        Self::Chain,
        Self::Balances,
        Self::Transfers,
        Self::Locks,
        Self::Verdicts,
        Self::Requests,
        Self::Facts,
        Self::Stake,
        Self::Replay,
        Self::Backup,
    ];

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Balances => "balances",
            Self::Transfers => "transfers",
            Self::Locks => "locks",
            Self::Verdicts => "verdicts",
            Self::Requests => "requests",
            Self::Facts => "facts",
            Self::Stake => "stake",
            Self::Chain => "chain",
            Self::Replay => "replay",
            Self::Backup => "backup",
        }
    }

    fn tables(self) -> Vec<&'static Table> {
        match self {
            Self::Balances => vec![&ACCOUNT],
            Self::Transfers => vec![&TRANSFER],
            Self::Locks => vec![&LOCK, &METER, &USAGE, &PAYER],
            Self::Verdicts => vec![&SETTLEMENT, &POLICY],
            Self::Requests => vec![&REQUEST, &CLIENT],
            Self::Facts => vec![&FACT, &OBSERVER],
            Self::Stake => vec![
                &UNBONDING,
                &HOLD,
                &CLAIM,
                &SLASH,
                &ABUSE,
                &NODE,
                &NODE_PRICE,
            ],
            Self::Chain | Self::Backup => vec![&JOURNAL],
            Self::Replay => TABLES.to_vec(),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no check is called {0:?}")]
pub struct UnknownCheck(pub String);

impl FromStr for Check {
    type Err = UnknownCheck;

    fn from_str(text: &str) -> Result<Self, UnknownCheck> {
        let mut all = Self::ALL.into_iter();
        all.find(|check| check.as_str() == text)
            .ok_or_else(|| UnknownCheck(text.to_owned()))
    }
}

/// Something that is not as the journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which check found it.
    pub check: Check,
    /// What it is.
    pub what: String,
}

/// What an audit saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Batches of the journal.
    pub batches: u64,
    /// Its records.
    pub records: u64,
    /// Rows that were compared.
    pub rows: u64,
    /// What is wrong; at most a hundred findings.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, check: Check, what: impl Into<String>) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                check,
                what: what.into(),
            });
        }
    }
}

/// Recomputes everything from the journal and makes the checks that were asked for.
///
/// # Errors
/// When the store cannot be read.
pub async fn verify<S: LedgerStore>(store: &S, checks: &[Check]) -> Result<Report, StoreError> {
    let wanted: BTreeSet<Check> = checks.iter().copied().collect();
    let replayed = replay(store).await?;
    let mut report = Report {
        batches: replayed.head.batch,
        records: replayed.head.seq,
        rows: 0,
        findings: Vec::new(),
    };
    // A broken chain, or a machine that answers otherwise, voids whatever else was asked.
    for finding in &replayed.findings {
        report.add(finding.check, finding.what.clone());
    }
    let mut compared = BTreeSet::new();
    for check in Check::ALL
        .into_iter()
        .filter(|check| wanted.contains(check))
    {
        for table in check.tables() {
            if compared.insert(table.name) {
                compare::table(store, &replayed.store, (check, table), &mut report).await?;
            }
        }
        if check == Check::Balances {
            match sums::balances(store, &mut report).await {
                Err(StoreError::Corrupt(what)) => report.add(check, format!("sums: {what}")),
                other => other?,
            }
        }
    }
    Ok(report)
}
