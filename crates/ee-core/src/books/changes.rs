//! What a batch changed, one vector a table: what the store writes in its transaction.

use ee_protocol::names::AppName;

use super::{AccountNo, Books, facts::FactBook, rows::*, table::Table};

/// The rows of one batch. Each changed row stands here once, in its last state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// `account`, upserts.
    pub accounts: Vec<AccountRow>,
    /// Which of them no transfer tells of: opened, or of a kind that was not fixed before.
    pub accounts_untold: Vec<AccountNo>,
    /// `transfer`, appended.
    pub transfers: Vec<TransferRow>,
    /// `meter`, upserts.
    pub meters: Vec<MeterRow>,
    /// `meter`, deletes: nothing was used, and every lock was given back.
    pub meters_gone: Vec<MeterKey>,
    /// `lock`, upserts; resolved ones too.
    pub locks: Vec<LockRow>,
    /// `usage`, appended.
    pub usage: Vec<UsageRow>,
    /// `payer`, upserts.
    pub payers: Vec<PayerRow>,
    /// `payer`, deletes.
    pub payers_gone: Vec<AppName>,
    /// `client`, appended.
    pub clients: Vec<ClientRow>,
    /// `policy`, appended.
    pub policies: Vec<PolicyRow>,
    /// `node`, upserts.
    pub nodes: Vec<NodeRow>,
    /// `node_price`, upserts.
    pub prices: Vec<NodePriceRow>,
    /// `fact`, upserts: an open fact is closed once.
    pub facts: Vec<FactRow>,
    /// `observer`, upserts.
    pub observers: Vec<ObserverRow>,
    /// `settlement`, upserts.
    pub settlements: Vec<SettlementRow>,
    /// `abuse`, upserts.
    pub abuse: Vec<AbuseRow>,
    /// `slash`, upserts.
    pub slashes: Vec<SlashRow>,
    /// `unbonding`, upserts; an amount of 0 is done.
    pub unbondings: Vec<UnbondingRow>,
    /// `hold`, upserts; an amount of 0 is done.
    pub holds: Vec<HoldRow>,
    /// `claim`, upserts; an amount of 0 is done.
    pub claims: Vec<ClaimRow>,
}

/// Rows that stand in memory: what the store loads at start (LEDGER 4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// The last command.
    pub seq: super::ids::Seq,
    /// Its instant.
    pub at: ee_protocol::time::Timestamp,
    /// All; their pending sums are those of the open locks, whatever stands here.
    pub accounts: Vec<AccountRow>,
    /// Those whose period ended less than 31 days and the settlement deadline ago, or has not
    /// ended. More do no harm.
    pub meters: Vec<MeterRow>,
    /// Those with `state = open`, no other.
    pub locks: Vec<LockRow>,
    /// All.
    pub payers: Vec<PayerRow>,
    /// All.
    pub policies: Vec<PolicyRow>,
    /// All.
    pub nodes: Vec<NodeRow>,
    /// All.
    pub prices: Vec<NodePriceRow>,
    /// Those of unsettled periods: open, or `until` later than 31 days + deadline ago.
    pub facts: Vec<FactRow>,
    /// All.
    pub observers: Vec<ObserverRow>,
    /// As meters; those with `state = settling` in any case.
    pub settlements: Vec<SettlementRow>,
    /// Those pending, or whose decision is younger than 31 days + deadline.
    pub abuse: Vec<AbuseRow>,
    /// Those pending.
    pub slashes: Vec<SlashRow>,
    /// Those with an amount above 0.
    pub unbondings: Vec<UnbondingRow>,
    /// Those with an amount above 0.
    pub holds: Vec<HoldRow>,
    /// Those with an amount above 0.
    pub claims: Vec<ClaimRow>,
}

impl Books {
    /// What changed since the last commit.
    pub fn changes(&self) -> Changes {
        self.assert_balanced();
        Changes {
            accounts: self.accounts.upserts(),
            accounts_untold: self.accounts.untold(),
            transfers: self.transfers.clone(),
            meters: written(&self.meters),
            meters_gone: self.meters.deletes().copied().collect(),
            locks: written(&self.locks),
            usage: self.usage.clone(),
            payers: written(&self.payers),
            payers_gone: self.payers.deletes().cloned().collect(),
            clients: self.clients.rows().to_vec(),
            policies: written(&self.policies),
            nodes: written(&self.nodes),
            prices: written(&self.prices),
            facts: written(&self.facts.facts),
            observers: written(&self.facts.observers),
            settlements: written(&self.settlements),
            abuse: written(&self.abuse),
            slashes: written(&self.slashes),
            unbondings: written(&self.unbondings),
            holds: written(&self.holds),
            claims: written(&self.claims),
        }
    }

    /// The changes are durable.
    pub fn committed(&mut self) {
        self.transfers.clear();
        self.usage.clear();
        self.clients.clear();
        self.each_table(Scope::Committed);
        self.durable = self.head;
    }

    /// The changes were not written: the books are as after the last commit.
    pub fn roll_back(&mut self) {
        self.transfers.clear();
        self.usage.clear();
        self.clients.clear();
        for row in self.accounts.added() {
            self.names.remove(&row.name);
        }
        self.each_table(Scope::RolledBack);
        if self.accounts.is_empty() {
            self.open_genesis();
        }
        self.head = self.durable;
    }

    /// Every table is named here, or this does not compile.
    fn each_table(&mut self, scope: Scope) {
        let Self {
            head: _,
            durable: _,
            next_idx: _,
            names: _,
            transfers: _,
            usage: _,
            clients: _,
            facts: FactBook { facts, observers },
            accounts,
            meters,
            locks,
            meter_spans,
            locks_by_meter,
            locks_by_period,
            locks_by_account,
            locks_by_app,
            holders,
            open_periods,
            open_deadlines,
            payers,
            policies,
            nodes,
            prices,
            settlements,
            settling,
            abuse,
            slashes,
            unbondings,
            holds,
            claims,
        } = self;
        macro_rules! each {
            ($($table:ident)+) => {
                match scope {
                    Scope::Committed => { $($table.committed();)+ }
                    Scope::RolledBack => { $($table.roll_back();)+ }
                }
            };
        }
        each!(facts observers accounts meters locks meter_spans locks_by_meter locks_by_period locks_by_account locks_by_app holders open_periods open_deadlines payers policies nodes prices settlements settling abuse slashes unbondings holds claims);
    }
}

#[derive(Clone, Copy)]
enum Scope {
    Committed,
    RolledBack,
}

fn written<K: Ord + Clone, V: Clone + PartialEq>(table: &Table<K, V>) -> Vec<V> {
    table.upserts().map(|(_, row)| row.clone()).collect()
}
