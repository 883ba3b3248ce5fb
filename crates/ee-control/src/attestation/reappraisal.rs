//! What new collateral makes of evidence that passed under the old (ATTESTATION 10).
//!
//! Platform verdict and policy are computed again offline, over kept quotes; a node is asked for
//! a new quote only if its outcome would change. Everything else of a verdict is not touched by
//! collateral. A changed allowlist concerns every node of its release, and changed settings come
//! with a new process, in which no session is left.

use std::{collections::BTreeMap, sync::Arc};

use ee_attest::{CollateralBundle, PckCa, policy};
use ee_core::attestation::{Blame, Failure};
use ee_protocol::{names::NodeId, time::Timestamp};

use crate::ports::Turn;

use super::{
    Attestor,
    kept::{Basis, Kept, Outcome, SessionKey},
};

/// Sessions looked at in one pass: 0.2 s of one core at worst, when no platform is known.
const PER_PASS: usize = 256;

/// What a pass found.
pub(super) struct Reappraised {
    /// Nodes whose evidence would now be judged otherwise.
    pub(super) changed: Vec<NodeId>,
    /// When the next pass is due: at once if there is more to look at.
    pub(super) next: Timestamp,
}

type Families = BTreeMap<([u8; 6], PckCa), CollateralBundle>;

impl Attestor {
    /// Looks at what rests on collateral that was replaced since.
    pub(super) async fn reappraise(&self) -> Reappraised {
        let mut found = Reappraised {
            changed: Vec::new(),
            next: Timestamp::FAR_FUTURE,
        };
        // While our clock is in doubt nothing is judged.
        let Ok(now) = self.time.now() else {
            return found;
        };
        let families = self.collateral.current();
        let newest_evaluation = self.collateral.newest_evaluation();
        let basis = |kept: &Kept| {
            let bundle = families.get(&(kept.quote.fmspc(), kept.quote.ca()))?;
            Some(Basis {
                bundle: *bundle.digest(),
                newest_evaluation,
            })
        };
        let due = |kept: &Kept| basis(kept).is_some_and(|basis| basis != kept.basis);
        let picked = self.kept.due(now, PER_PASS, due);
        if picked.len() == PER_PASS {
            found.next = now;
        }
        for (session, kept) in picked {
            if let Some(basis) = basis(&kept) {
                self.reappraise_one(session, kept, basis, &families, &mut found)
                    .await;
            }
        }
        found
    }

    async fn reappraise_one(
        &self,
        session: SessionKey,
        kept: Kept,
        basis: Basis,
        families: &Families,
        found: &mut Reappraised,
    ) {
        let outcome = self.outcome(&kept, families).await;
        let same = match &outcome {
            Ok(outcome) => *outcome == kept.outcome,
            // What is our own fault changes nothing for the node.
            Err(failure) => failure.code.blame() == Blame::Us,
        };
        if same {
            return self.kept.confirm(&session, &kept, basis);
        }
        let now_is = match &outcome {
            Ok(outcome) => outcome.status.to_string(),
            Err(failure) => failure.reason(),
        };
        tracing::warn!(event = "collateral_changes_outcome", node = %session.0, now_is);
        self.kept.forget(&session, &kept);
        found.changed.push(session.0);
    }

    /// Stages 8 and 9 over kept evidence.
    async fn outcome(&self, kept: &Kept, families: &Families) -> Result<Outcome, Failure> {
        let now = self.time.now()?;
        let judge = Arc::clone(self.judge(kept.network));
        let family = (kept.quote.fmspc(), kept.quote.ca());
        let (quote, bundle) = (Arc::clone(&kept.quote), families[&family].clone());
        let verified = {
            let judge = Arc::clone(&judge);
            self.pool(Turn::Serving, move || {
                judge.verifier.platform(&quote, &bundle, now)
            })
            .await?
        };
        let facts = self.facts(&verified, now).await?;
        let allowlist = &kept.reference.allowlist;
        let selection = allowlist.select(verified.registers(), now);
        let standing = policy::check(
            &verified,
            &judge.policy,
            allowlist.tcb_policy(),
            selection.entry(),
            &facts,
            now,
        )?;
        Ok(Outcome {
            status: verified.tcb_status(),
            advisories: verified.advisories().to_vec(),
            flagged: standing.flagged,
        })
    }
}
