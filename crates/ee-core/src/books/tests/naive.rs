//! A naive ledger: a list of postings and a list of locks, summed up anew for each question, in
//! big integers. It shares no code with the books but the words of commands and refusals.

use std::collections::BTreeMap;

use ee_protocol::period::Period;

use crate::books::{Refusal, rows::*};

const HOUR_US: i128 = 3_600_000_000;

/// What a command came to, without ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    Moved(Vec<(String, i128)>),
    Batch(Vec<Result<(), Option<Refusal>>>),
    Locked(i128),
    Released(i128),
    Used {
        charge: i128,
        locked: bool,
    },
    Renewed {
        new: Vec<(String, i128)>,
        standing: usize,
        short: Option<Refusal>,
    },
}

#[derive(Debug, Clone)]
struct Posting {
    debit: String,
    credit: String,
    amount: i128,
}

#[derive(Debug, Clone)]
struct NaiveLock {
    account: String,
    node: String,
    period: Period,
    from_ms: i64,
    vcpus: u32,
    mode: LockMode,
    amount: i128,
    app: Option<String>,
    state: LockState,
}

/// What is wanted of a node.
#[derive(Debug, Clone)]
pub(super) struct NaiveWish {
    pub account: String,
    pub node: String,
    pub period: Period,
    pub vcpus: u32,
    pub mode: LockMode,
    pub price_max: Option<i128>,
    pub app: Option<String>,
}

/// How a period was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Judged {
    pub verdict: Verdict,
    pub covered_us: u64,
    pub judged_us: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Naive {
    pub now_ms: i64,
    postings: Vec<Posting>,
    kinds: BTreeMap<String, AccountKind>,
    locks: Vec<NaiveLock>,
    used: BTreeMap<(String, String, Period), i128>,
    met: BTreeMap<(String, String, Period), i128>,
    prices: Vec<(String, i64, i128)>,
    vcpus: BTreeMap<String, u32>,
    payers: BTreeMap<String, (String, u32, Option<i128>, usize)>,
    judged: BTreeMap<(String, Period), Judged>,
}

impl Naive {
    pub(super) fn posted(&self, account: &str) -> i128 {
        let sign = |posting: &Posting| match (posting.debit == account, posting.credit == account) {
            (true, false) => -posting.amount,
            (false, true) => posting.amount,
            (true, true) | (false, false) => 0,
        };
        self.postings.iter().map(sign).sum()
    }

    pub(super) fn locked(&self, account: &str) -> i128 {
        let open = self.open().filter(|lock| lock.account == account);
        open.map(|lock| lock.amount).sum()
    }

    fn available(&self, account: &str) -> i128 {
        self.posted(account) - self.locked(account)
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = &String> {
        self.kinds.keys()
    }

    fn open(&self) -> impl Iterator<Item = &NaiveLock> {
        self.locks
            .iter()
            .filter(|lock| lock.state == LockState::Open)
    }

    fn post(&mut self, debit: &str, credit: &str, amount: i128) {
        let (debit, credit) = (debit.to_owned(), credit.to_owned());
        self.postings.push(Posting {
            debit,
            credit,
            amount,
        });
    }

    fn may_be(&self, account: &str, kind: AccountKind) -> Result<(), Refusal> {
        match self.kinds.get(account) {
            None | Some(AccountKind::Unfixed) => Ok(()),
            Some(found) if *found == kind => Ok(()),
            Some(_) => Err(Refusal::AccountKindConflict),
        }
    }

    fn said(&self, accounts: &[&str]) -> Said {
        Said::Moved(
            accounts
                .iter()
                .map(|a| ((*a).to_owned(), self.available(a)))
                .collect(),
        )
    }

    pub(super) fn purchase(&mut self, account: &str, amount: i128) -> Result<Said, Refusal> {
        self.may_be(account, AccountKind::User)?;
        self.kinds.insert(account.to_owned(), AccountKind::User);
        self.post("sys:mint", account, amount);
        Ok(self.said(&[account]))
    }

    pub(super) fn transfer(
        &mut self,
        from: &str,
        to: &str,
        (amount, open): (i128, bool),
    ) -> Result<Said, Refusal> {
        if from == to {
            return Err(Refusal::SameAccount);
        }
        if !open && !self.kinds.contains_key(to) {
            return Err(Refusal::AccountNotFound);
        }
        if self.available(from) < amount {
            return Err(Refusal::InsufficientFunds);
        }
        self.kinds
            .entry(to.to_owned())
            .or_insert(AccountKind::Unfixed);
        self.post(from, to, amount);
        Ok(self.said(&[from, to]))
    }

    pub(super) fn batch(&mut self, items: &[(String, String, i128, bool)]) -> Said {
        let mut results = Vec::new();
        for chain in items.split_inclusive(|item| !item.3) {
            let before = self.clone();
            let tries = chain
                .iter()
                .map(|(from, to, amount, _)| self.transfer(from, to, (*amount, true)).map(drop));
            let mut done: Vec<Result<(), Option<Refusal>>> = Vec::new();
            for tried in tries {
                done.push(tried.map_err(Some));
                if tried.is_err() && chain.len() > 1 {
                    break;
                }
            }
            if chain.len() > 1 && done.last().is_some_and(Result::is_err) {
                let refusal = done.len() - 1;
                *self = before;
                let result = |at| if at == refusal { done[at] } else { Err(None) };
                results.extend((0..chain.len()).map(result));
            } else {
                results.extend(done);
            }
        }
        Said::Batch(results)
    }

    pub(super) fn payout(&mut self, account: &str, amount: i128) -> Result<Said, Refusal> {
        if !self.kinds.contains_key(account) {
            return Err(Refusal::AccountNotFound);
        }
        if self.available(account) < amount {
            return Err(Refusal::InsufficientFunds);
        }
        self.post(account, "sys:payout", amount);
        Ok(self.said(&[account]))
    }

    pub(super) fn register(
        &mut self,
        node: &str,
        (price, vcpus): (i128, Option<u32>),
    ) -> Result<Said, Refusal> {
        self.may_be(node, AccountKind::Node)?;
        self.kinds.insert(node.to_owned(), AccountKind::Node);
        let now_ms = self.now_ms;
        self.prices
            .retain(|(name, from_ms, _)| (name.as_str(), *from_ms) != (node, now_ms));
        self.prices.push((node.to_owned(), self.now_ms, price));
        if let Some(vcpus) = vcpus {
            self.vcpus.insert(node.to_owned(), vcpus);
        }
        Ok(Said::Nothing)
    }

    /// The last price before the period, or the first of all; a meter keeps the one it began with.
    fn price(&self, account: &str, node: &str, period: Period) -> Option<i128> {
        let key = (account.to_owned(), node.to_owned(), period);
        if let Some(price) = self.met.get(&key) {
            return Some(*price);
        }
        let mine = || self.prices.iter().filter(|(name, ..)| name == node);
        let before = mine().rfind(|(_, from_ms, _)| *from_ms <= period.start_ms());
        before.or_else(|| mine().next()).map(|(.., price)| *price)
    }

    fn overlaps(&self, account: &str, node: &str, period: Period) -> bool {
        self.met
            .keys()
            .any(|(a, n, met)| a == account && n == node && *met != period && met.overlaps(period))
    }

    pub(super) fn lock(&mut self, wish: &NaiveWish) -> Result<Said, Refusal> {
        self.may_be(&wish.account, AccountKind::User)?;
        if self.kinds.get(&wish.node) != Some(&AccountKind::Node) {
            return Err(Refusal::NodeNotFound);
        }
        let price = self.price(&wish.account, &wish.node, wish.period);
        let price = price.ok_or(Refusal::NodePriceMissing)?;
        if wish.price_max.is_some_and(|max| price > max) {
            return Err(Refusal::PriceAboveMax);
        }
        let from_ms = wish.period.start_ms().max(self.now_ms);
        let mut without = self.clone();
        without.make_room(wish, from_ms)?;
        if self.overlaps(&wish.account, &wish.node, wish.period) {
            return Err(Refusal::PeriodOverlap);
        }
        if from_ms >= wish.period.end_ms() {
            return Err(Refusal::PeriodFinalized);
        }
        let length_us = i128::from(wish.period.end_ms() - from_ms) * 1000;
        let amount = div_up(price * i128::from(wish.vcpus) * length_us, HOUR_US);
        if self.available(&wish.account) < amount {
            return Err(Refusal::InsufficientFunds);
        }
        *self = without;
        self.add_lock(wish, from_ms, (price, amount));
        Ok(Said::Locked(amount))
    }

    fn add_lock(&mut self, wish: &NaiveWish, from_ms: i64, (price, amount): (i128, i128)) {
        let NaiveWish {
            account,
            node,
            period,
            vcpus,
            mode,
            price_max: _,
            app,
        } = wish.clone();
        self.kinds.insert(account.clone(), AccountKind::User);
        self.met
            .entry((account.clone(), node.clone(), period))
            .or_insert(price);
        let state = LockState::Open;
        let lock = NaiveLock {
            account,
            node,
            period,
            from_ms,
            vcpus,
            mode,
            amount,
            app,
            state,
        };
        self.locks.push(lock);
    }

    /// Gives metered locks back, newest first, until there is room.
    fn make_room(&mut self, wish: &NaiveWish, from_ms: i64) -> Result<(), Refusal> {
        let Some(capacity) = self.vcpus.get(&wish.node).copied() else {
            return Ok(());
        };
        let end_ms = wish.period.end_ms();
        loop {
            let held = |ms: i64| -> u32 {
                let there = self.open().filter(|lock| lock.node == wish.node);
                let now = there.filter(|lock| lock.from_ms <= ms && ms < lock.period.end_ms());
                now.map(|lock| lock.vcpus).sum()
            };
            let starts = self.open().map(|lock| lock.from_ms);
            let instants = starts
                .chain([from_ms])
                .filter(|ms| (from_ms..end_ms).contains(ms));
            if instants.map(held).max().unwrap_or(0) + wish.vcpus <= capacity {
                return Ok(());
            }
            let newest = self.locks.iter().rposition(|lock| {
                lock.state == LockState::Open
                    && lock.node == wish.node
                    && lock.vcpus > 0
                    && lock.mode == LockMode::Metered
                    && (lock.from_ms < end_ms && from_ms < lock.period.end_ms())
                    && self.now_ms < lock.from_ms
                    && self.use_of(lock) == 0
            });
            match newest.filter(|_| wish.mode == LockMode::Reserved) {
                Some(index) => self.give_back(index),
                None => return Err(Refusal::CapacityExceeded),
            }
        }
    }

    fn use_of(&self, lock: &NaiveLock) -> i128 {
        let key = (lock.account.clone(), lock.node.clone(), lock.period);
        self.used.get(&key).copied().unwrap_or(0)
    }

    fn give_back(&mut self, index: usize) {
        self.locks[index].state = LockState::Released;
        let lock = self.locks[index].clone();
        let key = (lock.account.clone(), lock.node.clone(), lock.period);
        let of_meter = |other: &NaiveLock| {
            (&other.account, &other.node, other.period) == (&key.0, &key.1, key.2)
                && other.state != LockState::Released
        };
        if !self.locks.iter().any(of_meter) && self.use_of(&lock) == 0 {
            self.met.remove(&key);
        }
    }

    pub(super) fn release(&mut self, index: usize) -> Result<Said, Refusal> {
        let lock = self.locks[index].clone();
        let notice_ms = match lock.mode {
            LockMode::Metered => 0,
            LockMode::Reserved => lock.period.length_ms().min(86_400_000),
        };
        if self.now_ms >= lock.from_ms - notice_ms || self.use_of(&lock) > 0 {
            return Err(Refusal::LockStarted);
        }
        if lock.state != LockState::Open {
            return Err(Refusal::LockResolved);
        }
        self.give_back(index);
        Ok(Said::Released(lock.amount))
    }

    pub(super) fn usage(
        &mut self,
        (account, node, period): (&str, &str, Period),
        (used, cumulative): (i128, bool),
        deadline_ms: i64,
    ) -> Result<Said, Refusal> {
        self.may_be(account, AccountKind::User)?;
        let is_node = self.kinds.get(node) == Some(&AccountKind::Node);
        let price = self.price(account, node, period).filter(|_| is_node);
        let price = price.ok_or(Refusal::NodePriceMissing)?;
        if self.overlaps(account, node, period) {
            return Err(Refusal::PeriodOverlap);
        }
        if deadline_ms <= self.now_ms {
            return Err(Refusal::PeriodFinalized);
        }
        if !self.kinds.contains_key(account) {
            return Err(Refusal::InsufficientFunds);
        }
        let key = (account.to_owned(), node.to_owned(), period);
        let before = self.used.get(&key).copied().unwrap_or(0);
        let total = if cumulative {
            before.max(used)
        } else {
            before + used
        };
        let verdict = self
            .judged
            .get(&(node.to_owned(), period))
            .map(|judged| judged.verdict);
        let failed = verdict == Some(Verdict::Fail);
        let wish = NaiveWish {
            account: account.to_owned(),
            node: node.to_owned(),
            period,
            vcpus: 0,
            mode: LockMode::Metered,
            price_max: None,
            app: None,
        };
        let charge = price * total / HOUR_US - price * before / HOUR_US;
        let shortfall = div_up(price * total, HOUR_US) - self.backing(&key);
        let (charge, shortfall) = if failed {
            (0, 0)
        } else {
            (charge, shortfall.max(0))
        };
        if self.available(account) < shortfall {
            return Err(Refusal::InsufficientFunds);
        }
        if shortfall > 0 {
            self.add_lock(&wish, period.start_ms(), (price, shortfall));
        }
        self.kinds.insert(account.to_owned(), AccountKind::User);
        self.met.entry(key.clone()).or_insert(price);
        self.used.insert(key.clone(), total);
        if verdict == Some(Verdict::Pass) {
            self.pay_meter(&key, (1, 1));
        }
        Ok(Said::Used {
            charge,
            locked: shortfall > 0,
        })
    }

    /// What stands behind a meter: open locks and what was paid.
    fn backing(&self, key: &(String, String, Period)) -> i128 {
        let mine =
            |lock: &&NaiveLock| (&lock.account, &lock.node, lock.period) == (&key.0, &key.1, key.2);
        let open: i128 = self.open().filter(mine).map(|lock| lock.amount).sum();
        open + self.paid(key)
    }

    fn paid(&self, key: &(String, String, Period)) -> i128 {
        let purpose = purpose(key);
        let of_meter = self
            .postings
            .iter()
            .filter(|posting| posting.credit == purpose);
        of_meter.map(|posting| posting.amount).sum()
    }

    /// Pays a part of what a meter owes by now and closes its locks.
    fn pay_meter(&mut self, key: &(String, String, Period), (covered, judged): (i128, i128)) {
        let price = self.met.get(key).copied().unwrap_or(0);
        let charge = price * self.used.get(key).copied().unwrap_or(0) / HOUR_US;
        let mine = |lock: &&mut NaiveLock| {
            (&lock.account, &lock.node, lock.period) == (&key.0, &key.1, key.2)
                && lock.state != LockState::Released
        };
        let (mut reserved, mut metered) = (0, 0);
        for lock in self.locks.iter_mut().filter(mine) {
            match lock.mode {
                LockMode::Reserved => reserved += lock.amount,
                LockMode::Metered => metered += lock.amount,
            }
            lock.state = LockState::Settled;
        }
        let due = reserved + (charge - reserved).clamp(0, metered);
        let owed = due * covered / judged - self.paid(key);
        if owed > 0 {
            // By way of an account of its own, so that what a meter paid can be summed up.
            let purpose = purpose(key);
            self.post(&key.0, &purpose, owed);
            let (node, purpose) = (key.1.clone(), format!("paid:{purpose}"));
            self.post(&purpose, &node, owed);
        }
    }

    pub(super) fn is_judged(&self, node: &str, period: Period) -> bool {
        self.judged.contains_key(&(node.to_owned(), period))
    }

    /// A period was judged: every lock of it is resolved.
    pub(super) fn settle(&mut self, node: &str, period: Period, judged: Judged) {
        let keys: Vec<_> = self
            .met
            .keys()
            .filter(|(_, n, met)| n == node && *met == period)
            .cloned()
            .collect();
        let part = match judged.verdict {
            Verdict::Pass => (1, 1),
            Verdict::Fail => (0, 1),
            Verdict::Inconclusive => (judged.covered_us.into(), judged.judged_us.into()),
        };
        for key in keys {
            self.pay_meter(&key, part);
        }
        let old = self.judged.insert((node.to_owned(), period), judged);
        assert_eq!(old, None, "one verdict per node and period");
    }

    pub(super) fn bind(
        &mut self,
        app: &str,
        account: &str,
        terms: (u32, Option<i128>, usize),
    ) -> Result<Said, Refusal> {
        self.may_be(account, AccountKind::User)?;
        if !self.kinds.contains_key(account) {
            return Err(Refusal::AccountNotFound);
        }
        let (vcpus, price_max, nodes_max) = terms;
        self.payers.insert(
            app.to_owned(),
            (account.to_owned(), vcpus, price_max, nodes_max),
        );
        Ok(Said::Nothing)
    }

    pub(super) fn renew(
        &mut self,
        app: &str,
        period: Period,
        candidates: &[String],
    ) -> Result<Said, Refusal> {
        let payer = self
            .payers
            .get(app)
            .cloned()
            .ok_or(Refusal::AccountNotFound)?;
        let (account, vcpus, price_max, nodes_max) = payer;
        if period.end_ms() <= self.now_ms {
            return Err(Refusal::PeriodFinalized);
        }
        let stands = |naive: &Self, node: &String| {
            naive.open().any(|lock| {
                lock.app.as_deref() == Some(app) && lock.period == period && lock.node == *node
            })
        };
        let standing = candidates.iter().filter(|node| stands(self, node)).count();
        let mut new = Vec::new();
        let mut short = None;
        for node in candidates {
            if standing + new.len() >= nodes_max {
                break;
            }
            if stands(self, node) {
                continue;
            }
            let wish = NaiveWish {
                account: account.clone(),
                node: node.clone(),
                period,
                vcpus,
                mode: LockMode::Reserved,
                price_max,
                app: Some(app.to_owned()),
            };
            match self.lock(&wish) {
                Ok(Said::Locked(amount)) => new.push((node.clone(), amount)),
                Ok(_) => panic!("a lock says so"),
                Err(refusal) => short = short.max(Some(refusal)),
            }
        }
        let short = short.filter(|_| standing + new.len() < nodes_max);
        Ok(Said::Renewed {
            new,
            standing,
            short,
        })
    }
}

fn purpose((account, node, period): &(String, String, Period)) -> String {
    format!("{account} on {node} in {period}")
}

fn div_up(value: i128, by: i128) -> i128 {
    (value + by - 1) / by
}
