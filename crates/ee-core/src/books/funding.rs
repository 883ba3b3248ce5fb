//! Whether apps are paid for, and which locks have to be renewed (LEDGER 5): questions that the
//! live half asks, without changing anything.

use ee_protocol::{
    account::AccountId,
    money::Price,
    names::{AppName, NodeId},
    period::Period,
    time::Timestamp,
};

use super::{
    AccountNo, Books,
    rows::{LockRow, MeterKey, PayerRow},
};

/// A period that an app's payer pays for, and where it is locked already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The app.
    pub app: AppName,
    /// The period.
    pub period: Period,
    /// Nodes with a lock of the app in it.
    pub locked: Vec<AccountId>,
    /// On how many nodes the payer lets it run.
    pub nodes_max: u32,
}

impl Renewal {
    /// Whether one of the candidates is to be locked still: locks on other nodes do not count,
    /// for the app has left them.
    pub fn wants(&self, candidates: &[NodeId]) -> bool {
        let is_locked = |node: &&NodeId| self.locked.contains(&AccountId::from(*node));
        let standing = candidates.iter().filter(is_locked).count();
        let most = usize::try_from(self.nodes_max).unwrap_or(usize::MAX);
        standing < most.min(candidates.len())
    }
}

/// How the payer of an app stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Funding {
    /// Whether a lock pays for the app now: without one it is not routed.
    pub is_paid: bool,
    /// How many periods more the payer can lock at the cost of the last; none without a last.
    pub runway_periods: Option<u32>,
}

impl Books {
    /// How an app's payer stands at an instant; none if nobody pays.
    pub fn funding(&self, app: &AppName, at: Timestamp) -> Option<Funding> {
        let payer = self.payers.get(app)?;
        let is_paid = self.locked_periods(app).any(|period| period.contains(at));
        let last = self.locked_periods(app).max_by_key(|period| period.end());
        let of_last = self
            .app_lock_rows(app)
            .filter(|lock| Some(lock.meter.period) == last);
        let cost: i128 = of_last.map(|lock| i128::from(lock.amount.micros())).sum();
        let available = i128::from(self.account(payer.account).available().micros());
        let runway = (cost > 0).then(|| u32::try_from(available / cost).unwrap_or(u32::MAX));
        Some(Funding {
            is_paid,
            runway_periods: runway,
        })
    }

    /// Apps whose payer is bound and that no lock pays for at an instant.
    pub fn unfunded_apps(&self, at: Timestamp) -> Vec<AppName> {
        let unpaid = |row: &&PayerRow| !self.locked_periods(&row.app).any(|p| p.contains(at));
        let payers = self.payers.iter().map(|(_, row)| row);
        payers.filter(unpaid).map(|row| row.app.clone()).collect()
    }

    /// What has to be locked now: the current period, and the next one when its lead has begun.
    pub fn renewals(&self, at: Timestamp) -> Vec<Renewal> {
        let policy = self.policy();
        let Ok(current) = Period::holding(at, policy.period_s) else {
            return Vec::new();
        };
        let lead = policy.lock_lead().min(policy.period() / 2);
        let next = current
            .next()
            .ok()
            .filter(|_| at >= current.end().before(lead));
        let periods: Vec<Period> = [Some(current), next].into_iter().flatten().collect();
        let payers = self.payers.iter().map(|(_, row)| row);
        payers
            .flat_map(|row| periods.iter().map(move |period| (row, *period)))
            .map(|(row, period)| Renewal {
                app: row.app.clone(),
                period,
                locked: self.locked_nodes(&row.app, period),
                nodes_max: row.nodes_max,
            })
            .collect()
    }

    /// What a node asks for an hour of a vCPU now; none if it has no price.
    pub fn asked_price(&self, node: &NodeId, at: Timestamp) -> Option<Price> {
        self.price_at(self.node_no(node)?, at)
    }

    /// Whether a node's stake is what its network demands.
    pub fn stake_standing(&self, node: &NodeId) -> StakeStanding {
        let Some(no) = self.node_no(node) else {
            return StakeStanding::Missing;
        };
        let (stake, demanded) = (self.stake_of(no), self.stake_demanded(no));
        match (stake.micros(), stake >= demanded) {
            (_, true) => StakeStanding::Met,
            (0, false) => StakeStanding::Missing,
            (_, false) => StakeStanding::Insufficient,
        }
    }

    fn locked_nodes(&self, app: &AppName, period: Period) -> Vec<AccountId> {
        let locks = self.app_locks(app).filter(|meter| meter.period == period);
        locks.map(|meter| self.id_of(meter.node)).collect()
    }

    /// The periods of an app's open locks, one for each lock.
    fn locked_periods(&self, app: &AppName) -> impl Iterator<Item = Period> {
        self.app_locks(app).map(|meter| meter.period)
    }

    fn app_locks(&self, app: &AppName) -> impl Iterator<Item = MeterKey> {
        self.app_lock_rows(app).map(|lock| lock.meter)
    }

    fn app_lock_rows(&self, app: &AppName) -> impl Iterator<Item = &LockRow> {
        let period = Period::new(0, 1).expect("the first millisecond is a period");
        let first = MeterKey {
            node: AccountNo(0),
            period,
            account: AccountNo(0),
        };
        self.locks_by_app
            .range((app.clone(), first)..)
            .take_while(move |((name, _), _)| name == app)
            .filter_map(|(_, no)| self.lock_row(*no))
    }
}

/// How a node's stake compares with what is demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StakeStanding {
    /// Enough.
    Met,
    /// None.
    Missing,
    /// Too little.
    Insufficient,
}
