//! Why an app is or is not served: every gate of every node, and the latest refused attempts.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ee_core::{
    attestation::Failure,
    eligibility::{assess, detail},
    policy::LivePolicy,
    registry::{App, Node},
    routing::Offer,
    session::RefusedRegistration,
};
use ee_protocol::{
    http::explain::{
        AppExplanation, GateExplanation, NodeExplanation, OfferExplanation, RefusedAttempt,
    },
    names::{AgentId, AppName},
    refusal::Refusal,
    time::Timestamp,
};

use crate::routes::{NodeEntry, Routes};

/// Refused attempts kept for an app (EXPERIENCE 6).
const REFUSED_PER_APP_MAX: usize = 32;
/// Of them, failures of nodes that were attested before: no stranger can make one, so no stranger
/// may push one out.
const FAILED_PER_APP_MAX: usize = REFUSED_PER_APP_MAX / 2;
/// Apps whose refused attempts are kept: strangers may claim any name, so names are bounded; past
/// it the name that was refused longest ago is forgotten, one that nobody holds if there is any:
/// made-up names push out each other and no app.
const REFUSED_APPS_MAX: usize = 1_024;

/// The latest refused attempts to join, by app. Written rarely, read by admins only: a mutex,
/// held for a push or a copy.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<AppName, Ring>>);

#[derive(Debug)]
struct Ring {
    /// Whether an attested registration has ever bound the name.
    bound: bool,
    latest: Timestamp,
    attempts: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    by: By,
    attempt: RefusedAttempt,
}

/// Who made an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Anybody.
    Stranger,
    /// A node that was attested before.
    Node,
}

impl Refusals {
    /// Remembers an attempt.
    pub fn record(&self, now: Timestamp, refused: &RefusedRegistration, app: Option<&App>) {
        let RefusedRegistration {
            registration,
            refusal,
        } = refused;
        let attempt = RefusedAttempt {
            at: now.rfc3339_seconds(),
            first_at: now.rfc3339_seconds(),
            count: 1,
            agent_id: registration.agent_id.to_string(),
            repo: registration.repo.to_string(),
            release_tag: registration.release_tag.to_string(),
            network: registration.network.to_string(),
            reason: refusal.reason(),
            refusals: refusal.explain(),
        };
        tracing::info!(
            event = "refused",
            app = %registration.app_name,
            agent = %registration.agent_id,
            reason = attempt.reason,
        );
        let name = registration.app_name.clone();
        self.push(now, name, app.is_some(), (By::Stranger, attempt));
    }

    /// Remembers that an attested node failed a later attestation.
    pub fn record_failed(&self, now: Timestamp, app: &App, node: &Node, failure: &Failure) {
        let attempt = RefusedAttempt {
            at: now.rfc3339_seconds(),
            first_at: now.rfc3339_seconds(),
            count: 1,
            agent_id: node.agent_id.to_string(),
            repo: app.repo.to_string(),
            release_tag: node.release_tag.to_string(),
            network: node.network.to_string(),
            reason: failure.reason(),
            refusals: failure.refusals.clone(),
        };
        self.push(now, app.name.clone(), true, (By::Node, attempt));
    }

    /// The attempts on an app, newest first.
    pub fn of(&self, app: &AppName) -> Vec<RefusedAttempt> {
        let rings = self.lock();
        rings
            .get(app)
            .map(|ring| {
                ring.attempts
                    .iter()
                    .map(|kept| kept.attempt.clone())
                    .collect()
            })
            .unwrap_or_default()
    }

    fn push(&self, now: Timestamp, app: AppName, bound: bool, (by, attempt): (By, RefusedAttempt)) {
        let mut rings = self.lock();
        if !rings.contains_key(&app) && rings.len() >= REFUSED_APPS_MAX {
            let oldest = rings
                .iter()
                .min_by_key(|(_, ring)| (ring.bound, ring.latest));
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                rings.remove(&oldest);
            }
        }
        let ring = rings.entry(app).or_insert_with(|| Ring {
            bound,
            latest: now,
            attempts: VecDeque::with_capacity(1),
        });
        ring.latest = now;
        ring.bound = bound;
        ring.push(by, attempt);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppName, Ring>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// Agents come back after every refusal: without counting repeats in one entry, one that is
    /// refused over and over would push everybody else's refusals out.
    fn push(&mut self, by: By, mut attempt: RefusedAttempt) {
        let repeats = |kept: &Kept| kept.by == by && repeats(&kept.attempt, &attempt);
        let earlier = self.attempts.iter().position(repeats);
        if let Some(earlier) = earlier.and_then(|at| self.attempts.remove(at)) {
            attempt.first_at = earlier.attempt.first_at;
            attempt.count = earlier.attempt.count.saturating_add(1);
        }
        self.attempts.push_front(Kept { by, attempt });
        while self.attempts.len() > REFUSED_PER_APP_MAX {
            let forgotten = self.commonest().unwrap_or(REFUSED_PER_APP_MAX);
            self.attempts.remove(forgotten);
        }
    }

    /// The oldest attempt among those of the commonest reason: who sends the same nonsense under
    /// many names pushes out his own, not what somebody else was refused for.
    fn commonest(&self) -> Option<usize> {
        let failed = self
            .attempts
            .iter()
            .filter(|kept| kept.by == By::Node)
            .count();
        let by = match failed > FAILED_PER_APP_MAX {
            true => By::Node,
            false => By::Stranger,
        };
        let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (at, kept) in self.attempts.iter().enumerate() {
            if kept.by == by {
                let (count, oldest) = counts.entry(&kept.attempt.reason).or_default();
                (*count, *oldest) = (*count + 1, at);
            }
        }
        counts.into_values().max().map(|(_, oldest)| oldest)
    }
}

/// Whether the same claim failed the same checks with the same codes. What was found may differ:
/// an expired item is found at another time on each attempt.
fn repeats(old: &RefusedAttempt, new: &RefusedAttempt) -> bool {
    let claim = |attempt: &RefusedAttempt| {
        let RefusedAttempt {
            at: _,
            first_at: _,
            count: _,
            agent_id,
            repo,
            release_tag,
            network,
            reason,
            refusals: _,
        } = attempt;
        [agent_id, repo, release_tag, network, reason].map(Clone::clone)
    };
    let failed = |refusal: &Refusal| (refusal.check.clone(), refusal.code.clone());
    claim(old) == claim(new)
        && old
            .refusals
            .iter()
            .map(failed)
            .eq(new.refusals.iter().map(failed))
}

/// Explains an app, or one agent's part in it; `None` if nothing is known of the name.
pub fn explain<L>(
    routes: &Routes<L>,
    app: &AppName,
    agent: Option<&AgentId>,
    now: Timestamp,
) -> Option<AppExplanation> {
    let wanted = |id: &str| agent.is_none_or(|agent| agent.as_str() == id);
    let refused = routes.refusals().of(app);
    let entry = routes.app(app);
    if entry.is_none() && refused.is_empty() {
        return None;
    }
    let entries = entry.iter().flat_map(|entry| &entry.nodes);
    Some(AppExplanation {
        app_name: app.to_string(),
        at: now.rfc3339_seconds(),
        nodes: entries
            .map(|entry| explain_node(entry, routes.policy(), now))
            .filter(|node| wanted(&node.agent))
            .collect(),
        refused: refused
            .into_iter()
            .filter(|attempt| wanted(&attempt.agent_id))
            .collect(),
    })
}

fn explain_node(entry: &NodeEntry, policy: &LivePolicy, now: Timestamp) -> NodeExplanation {
    let node = entry.current();
    let assessment = assess(&node, policy, now);
    NodeExplanation {
        node: node.id.to_string(),
        agent: node.agent_id.to_string(),
        eligible: assessment.eligible().is_ok(),
        tunnels: entry.tunnel_count() as u64,
        offer: entry.offer().map(explain_offer),
        gates: assessment
            .gates()
            .map(|(gate, code)| GateExplanation {
                gate: gate.as_str().to_owned(),
                ok: code.is_none(),
                code: code.map(|code| code.to_string()),
                detail: detail(gate, &node, policy),
            })
            .collect(),
    }
}

fn explain_offer(offer: &Offer) -> OfferExplanation {
    let Offer {
        price,
        trust,
        effective,
    } = offer;
    OfferExplanation {
        price_micro_usd_per_vcpu_hour: price.micros().to_string(),
        effective_micro_usd_per_vcpu_hour: effective.micros().to_string(),
        trust_permille: trust.total,
        attestation_permille: trust.attestation,
        health_permille: trust.health,
        settlement_permille: trust.settlement,
        stake_permille: trust.stake,
        tenure_permille: trust.tenure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(agent: usize, reason: &str) -> RefusedAttempt {
        RefusedAttempt {
            at: String::new(),
            first_at: String::new(),
            count: 1,
            agent_id: format!("agent-{agent}"),
            repo: "org/repo".to_owned(),
            release_tag: "v1".to_owned(),
            network: "forge-1".to_owned(),
            reason: reason.to_owned(),
            refusals: Vec::new(),
        }
    }

    #[test]
    fn made_up_names_push_out_no_app() {
        let refusals = Refusals::default();
        let name = |text: &str| AppName::parse(text).expect("a name");
        let push = |second: i64, app: &str, bound| {
            let at = Timestamp::from_unix_seconds(second);
            refusals.push(
                at,
                name(app),
                bound,
                (By::Stranger, attempt(1, "tcb_revoked")),
            );
        };
        push(1, "real", true);
        push(2, "first-made-up", false);
        for number in 0..2_000 {
            push(3 + number, &format!("made-up-{number}"), false);
        }
        assert_eq!(refusals.of(&name("real")).len(), 1);
        assert!(refusals.of(&name("first-made-up")).is_empty());
        assert_eq!(refusals.of(&name("made-up-1999")).len(), 1);
        assert_eq!(refusals.lock().len(), REFUSED_APPS_MAX);
    }

    #[test]
    fn strangers_push_out_their_own_attempts() {
        let mut ring = Ring {
            bound: true,
            latest: Timestamp::EPOCH,
            attempts: VecDeque::new(),
        };
        ring.push(By::Node, attempt(0, "measurement_mismatch:rtmr1"));
        ring.push(By::Stranger, attempt(1, "tcb_out_of_date"));
        for agent in 0..1_000 {
            ring.push(
                By::Stranger,
                attempt(agent, "missing_quote_or_measurements"),
            );
        }
        assert_eq!(ring.attempts.len(), REFUSED_PER_APP_MAX);
        let kept = |reason: &str| {
            ring.attempts
                .iter()
                .any(|kept| kept.attempt.reason == reason)
        };
        assert!(kept("measurement_mismatch:rtmr1"), "a node's own failure");
        assert!(kept("tcb_out_of_date"), "another reason");
        let newest = &ring.attempts[0].attempt;
        assert_eq!(newest.agent_id, "agent-999");
        for agent in 0..1_000 {
            ring.push(By::Node, attempt(agent, "tcb_out_of_date"));
        }
        let strangers = ring.attempts.iter().filter(|kept| kept.by == By::Stranger);
        assert_eq!(strangers.count(), REFUSED_PER_APP_MAX - FAILED_PER_APP_MAX);
    }
}
