//! The books as the store has them: every index is rebuilt from the rows.

use ee_protocol::money::MicroUsd;

use super::{Books, Head, Rows, numbered::Accounts, rows::*, table::Table};

impl Books {
    /// The books as the store has them. No rows at all are the books before their first command.
    pub fn restore(rows: Rows) -> Self {
        if rows.accounts.is_empty() {
            return Self::empty();
        }
        let head = Head {
            seq: rows.seq,
            at: rows.at,
        };
        let mut books = Self {
            head,
            durable: head,
            ..Self::default()
        };
        let names = rows.accounts.iter().map(|row| (row.name.clone(), row.no));
        books.names = names.collect();
        books.accounts = Accounts::of(without_pending(rows.accounts));
        // First: the deadlines of open locks follow from them.
        books.policies = Table::of(rows.policies.into_iter().map(|row| (row.seq, row)));
        for meter in rows.meters {
            books.meter_or_begin(meter.key, meter.price);
            books.meters.insert(meter.key, meter);
        }
        for lock in rows.locks {
            assert!(
                lock.state == LockState::Open,
                "only open locks stand in memory"
            );
            books.open_period(&lock.meter, lock.from_ms);
            books.index_lock(&lock);
            books.pend(&lock.meter, lock.amount);
            books.locks.insert(lock.no, lock);
        }
        books.payers = Table::of(rows.payers.into_iter().map(|row| (row.app.clone(), row)));
        books.restore_judgement(JudgementRows {
            nodes: rows.nodes,
            prices: rows.prices,
            facts: rows.facts,
            observers: rows.observers,
            settlements: rows.settlements,
            abuse: rows.abuse,
            slashes: rows.slashes,
            unbondings: rows.unbondings,
            holds: rows.holds,
            claims: rows.claims,
        });
        books.committed();
        books
    }

    fn restore_judgement(&mut self, rows: JudgementRows) {
        self.nodes = Table::of(rows.nodes.into_iter().map(|row| (row.node, row)));
        self.prices = Table::of(
            rows.prices
                .into_iter()
                .map(|row| ((row.node, row.from), row)),
        );
        let facts = rows.facts.into_iter().map(|row| ((row.node, row.no), row));
        self.facts.facts = Table::of(facts);
        let observers = rows.observers.into_iter().map(|row| (row.epoch, row));
        self.facts.observers = Table::of(observers);
        let settling = rows.settlements.iter();
        let settling = settling.filter(|row| row.state == SettlementState::Settling);
        self.settling = Table::of(settling.map(|row| (row.key, ())));
        self.settlements = Table::of(rows.settlements.into_iter().map(|row| (row.key, row)));
        self.abuse = Table::of(rows.abuse.into_iter().map(|row| (row.no, row)));
        self.slashes = Table::of(rows.slashes.into_iter().map(|row| (row.no, row)));
        self.unbondings = Table::of(rows.unbondings.into_iter().map(|row| (row.no, row)));
        self.holds = Table::of(rows.holds.into_iter().map(|row| (row.key, row)));
        self.claims = Table::of(rows.claims.into_iter().map(|row| (row.no, row)));
    }
}

/// Pending sums are an index of the open locks, like any other.
fn without_pending(mut accounts: Vec<AccountRow>) -> Vec<AccountRow> {
    for row in &mut accounts {
        (row.debits_pending, row.credits_pending) = (MicroUsd::ZERO, MicroUsd::ZERO);
    }
    accounts
}

/// The rows that judgement owns.
struct JudgementRows {
    nodes: Vec<NodeRow>,
    prices: Vec<NodePriceRow>,
    facts: Vec<FactRow>,
    observers: Vec<ObserverRow>,
    settlements: Vec<SettlementRow>,
    abuse: Vec<AbuseRow>,
    slashes: Vec<SlashRow>,
    unbondings: Vec<UnbondingRow>,
    holds: Vec<HoldRow>,
    claims: Vec<ClaimRow>,
}
