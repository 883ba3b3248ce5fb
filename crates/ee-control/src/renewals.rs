//! The books and the live half, kept in step: locks of apps are renewed, apps that nobody pays
//! for, nodes without stake and banned nodes are not routed (LEDGER 5, 10).
//!
//! An idempotent pass without input, to be repeated each second: what it decides on is read from
//! the books and from the routes, and a lock that exists already is not made again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ee_core::{
    books::{
        Books, Command, Outcome, Principal, Refusal,
        command::RenewLock,
        funding::{Renewal, StakeStanding},
    },
    eligibility::assess,
    registry::Node,
    routing::{Offer, trust::Backing},
};
use ee_protocol::{
    names::{AppName, NodeId},
    period::Period,
    time::Timestamp,
};

use crate::{
    books::{BooksHandle, Submission, SubmitError},
    plane::{Gates, PlaneHandle, TunnelLink},
    routes::{AppEntry, NodeEntry, Routes},
    trust::{Records, Terms},
};

/// Pause before a renewal that fell short is tried again: new money is locked within 5 s.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Periods that a payer should be able to lock ahead; below it he is warned (LEDGER 5).
pub(crate) const RUNWAY_LOW: u32 = 6;

/// Candidates of a period's locks, and when they were last offered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tried {
    candidates: Vec<NodeId>,
    at: Timestamp,
    short: Option<Refusal>,
}

/// Keeps locks and gates in step with the live half.
pub struct Renewer<L> {
    books: BooksHandle,
    plane: PlaneHandle<L>,
    tried: BTreeMap<(AppName, Period), Tried>,
    gates: Option<Gates>,
    records: Records,
}

/// What the books say at one moment.
struct Said {
    renewals: Vec<Renewal>,
    unfunded: BTreeSet<AppName>,
    stakes: BTreeMap<NodeId, StakeStanding>,
    banned: BTreeSet<NodeId>,
    terms: BTreeMap<NodeId, Terms>,
    /// Those of the apps asked about that have a payer.
    paid: BTreeSet<AppName>,
}

/// What the books say, and what the records make of it.
struct Weighed {
    said: Said,
    offers: BTreeMap<NodeId, Offer>,
    /// Candidates of each app with a payer, the cheapest by effective price first.
    candidates: BTreeMap<AppName, Vec<NodeId>>,
}

impl<L: TunnelLink> Renewer<L> {
    /// Nothing was tried yet.
    pub fn new(books: BooksHandle, plane: PlaneHandle<L>) -> Self {
        Self {
            books,
            plane,
            tried: BTreeMap::new(),
            gates: None,
            records: Records::default(),
        }
    }

    /// One pass.
    ///
    /// # Errors
    /// When the books do not answer; the next pass tries again.
    pub async fn pass(&mut self, now: Timestamp) -> Result<(), SubmitError> {
        let nodes = all_nodes(self.plane.routes());
        let ids: Vec<NodeId> = nodes.iter().map(|node| node.id.clone()).collect();
        // Seldom more than a look at the time: its pages do not belong into every pass.
        Box::pin(self.records.refresh(&self.books, &ids, now)).await;
        let weighed = self.ask(&nodes, now).await?;
        let renewed = self.renew(&weighed, now).await?;
        // What was just locked opens its app at once.
        let Weighed { said, offers, .. } = match renewed {
            true => self.ask(&nodes, now).await?,
            false => weighed,
        };
        let gates = Gates {
            unfunded: said.unfunded,
            stakes: said.stakes,
            banned: said.banned,
            offers,
        };
        if self.gates.as_ref() != Some(&gates) {
            self.gates = Some(gates.clone());
            self.plane.gate(gates).await;
        }
        Ok(())
    }

    async fn ask(&self, nodes: &[Node], now: Timestamp) -> Result<Weighed, SubmitError> {
        let eligible = eligible_nodes(self.plane.routes(), now);
        let apps: Vec<AppName> = eligible.keys().cloned().collect();
        let ids = nodes.iter().map(|node| node.id.clone()).collect();
        let asked = self.books.read(move |books| said(books, apps, ids, now));
        let said = asked.await?;
        let interval = self.plane.routes().policy().attest_interval;
        let offer = |node: &Node| {
            let terms = *said.terms.get(&node.id)?;
            let offer = self.records.offer(node, terms, interval, now)?;
            Some((node.id.clone(), offer))
        };
        let offers: BTreeMap<NodeId, Offer> = nodes.iter().filter_map(offer).collect();
        let mut candidates = eligible;
        candidates.retain(|app, _| said.paid.contains(app));
        for nodes in candidates.values_mut() {
            // A node without a price comes last: it cannot be locked, but is named in answers.
            nodes.sort_by_key(|node| {
                let effective = offers.get(node).map(|offer| offer.effective);
                (effective.is_none(), effective, node.clone())
            });
        }
        Ok(Weighed {
            said,
            offers,
            candidates,
        })
    }

    /// Whether anything was locked.
    async fn renew(&mut self, weighed: &Weighed, now: Timestamp) -> Result<bool, SubmitError> {
        self.tried.retain(|(_, period), _| now < period.end());
        let mut renewed = false;
        for renewal in &weighed.said.renewals {
            let Some(candidates) = weighed.candidates.get(&renewal.app) else {
                continue;
            };
            if !renewal.wants(candidates) || !self.may_try(renewal, candidates, now) {
                continue;
            }
            renewed |= self.lock(renewal, candidates.clone(), now).await?;
        }
        Ok(renewed)
    }

    /// At once if there is something new to offer, else after a pause.
    fn may_try(&self, renewal: &Renewal, candidates: &[NodeId], now: Timestamp) -> bool {
        let tried = self.tried.get(&(renewal.app.clone(), renewal.period));
        tried.is_none_or(|tried| {
            tried.candidates != candidates || now.since(tried.at) >= RETRY_AFTER
        })
    }

    async fn lock(
        &mut self,
        renewal: &Renewal,
        candidates: Vec<NodeId>,
        now: Timestamp,
    ) -> Result<bool, SubmitError> {
        let command = Command::RenewLock(RenewLock {
            app: renewal.app.clone(),
            period: renewal.period,
            candidates: candidates.clone(),
        });
        let submission = Submission {
            principal: Principal::System,
            key: None,
            command,
        };
        let reply = self.books.submit_fact(submission).await?;
        let Ok(Outcome::Renewed(done)) = reply.outcome else {
            return Ok(false);
        };
        let key = (renewal.app.clone(), renewal.period);
        let before = self.tried.get(&key).and_then(|tried| tried.short);
        let app = &renewal.app;
        if done.short == Some(Refusal::InsufficientFunds) && before != done.short {
            tracing::warn!(event = "funds.exhausted", %app, period = %renewal.period);
        } else if done.runway_periods < RUNWAY_LOW && before.is_none() {
            tracing::warn!(event = "funds.low", %app, periods = done.runway_periods);
        }
        let tried = Tried {
            candidates,
            at: now,
            short: done.short,
        };
        self.tried.insert(key, tried);
        Ok(done.locks.iter().any(|lock| lock.is_new))
    }
}

fn said(books: &Books, apps: Vec<AppName>, nodes: Vec<NodeId>, now: Timestamp) -> Said {
    let terms = |node: &NodeId| {
        let no = books.node_no(node)?;
        let backing = Backing {
            stake: books.stake_of(no),
            demanded: books.stake_demanded(no),
        };
        let price = books.asked_price(node, now);
        Some((node.clone(), Terms { price, backing }))
    };
    let terms = nodes.iter().filter_map(terms).collect();
    let is_banned = |node: &&NodeId| books.node_no(node).is_some_and(|no| books.is_banned(no));
    let banned = nodes.iter().filter(is_banned).cloned().collect();
    let stakes = nodes
        .into_iter()
        .map(|node| {
            let standing = books.stake_standing(&node);
            (node, standing)
        })
        .collect();
    let is_paid = |app: &AppName| books.payer(app).is_some();
    Said {
        renewals: books.renewals(now),
        unfunded: books.unfunded_apps(now).into_iter().collect(),
        stakes,
        banned,
        terms,
        paid: apps.into_iter().filter(is_paid).collect(),
    }
}

/// The nodes of each app that may serve now but for money.
fn eligible_nodes<L>(routes: &Routes<L>, now: Timestamp) -> BTreeMap<AppName, Vec<NodeId>> {
    let nodes = |entry: &AppEntry<L>| {
        let current = entry.current_nodes();
        let open = current
            .iter()
            .filter(|node| assess(node, routes.policy(), now).eligible().is_ok());
        open.map(|node| node.id.clone()).collect()
    };
    let apps = routes.apps();
    apps.iter()
        .map(|entry| (entry.app.name.clone(), nodes(entry)))
        .collect()
}

fn all_nodes<L>(routes: &Routes<L>) -> Vec<Node> {
    let apps = routes.apps();
    let nodes = apps.iter().flat_map(|entry| entry.nodes.iter());
    nodes.map(NodeEntry::current).collect()
}
