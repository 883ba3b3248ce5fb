//! How an answer to a challenge becomes a verdict: the stages of ATTESTATION 1 in their order,
//! with what must be fetched in between.
//!
//! The checks themselves are ee-attest's and pure; here they get reference values, collateral
//! and time, run on a pool for heavy work, and their outcome is recorded before anybody acts on
//! it. Fetches are earned: TCB info of an unknown family is asked for only when the quote's
//! chain ends at the root, an unknown release only when the platform has been verified
//! (stages 7 and 8 then run before 5 and 6), so that a stranger without a TD spends no quota.
//!
//! Evidence that passed is kept while it may still serve, and appraised again offline when new
//! collateral arrives (see `reappraisal`): only nodes whose outcome would change are asked again.
//!
//! **Invariants**
//! - A pass is recorded in the attestation log before it is returned, else the verdict is
//!   `log_unavailable`.
//! - What is our own or an upstream's fault is never a fail (`Verdict::from`).
//! - [`Attestor::verify`] returns for whatever an agent sent, and never panics.

mod judge;
mod kept;
mod reappraisal;
mod record;
mod stages;

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use ee_attest::{PolicyFacts, TrustRoot, VerifiedQuote};
use ee_core::{
    attestation::{AttestationCode, AttestationResult, Failure, TcbStatus, Verdict},
    facts::Dependency,
    observer::DependencyState,
    session::{Attested, VerificationRequest},
};
use ee_protocol::{
    names::{Network, NodeId},
    refusal::Refusal,
    report_data::Digest,
    time::Timestamp,
};
use ee_store::{Store, StoreError};
use futures_util::future;

pub use self::judge::NetworkPolicies;
use self::{
    judge::{Judge, judges},
    kept::{Basis, Kept, KeptEvidence},
    record::Trail,
    stages::{Finished, Opened},
};
use crate::{
    collateral::{CollateralParts, CollateralService},
    ports::{Clock, CollateralSource, Offload, ReleaseKey, ReleaseSource, Turn, on_pool},
    reference_values::ReferenceValues,
    trusted_time::TrustedTime,
};

/// What an attestor works with.
pub struct AttestorParts {
    /// Pins, marks, first-seen dates, the log.
    pub store: Store,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where signatures are verified.
    pub offload: Arc<dyn Offload>,
    /// Where allowlists come from.
    pub releases: Arc<dyn ReleaseSource>,
    /// Where collateral comes from.
    pub collateral: Arc<dyn CollateralSource>,
    /// Intel's root in every production binary.
    pub root: TrustRoot,
    /// How each network judges.
    pub policies: NetworkPolicies,
    /// `EE_DATA_DIR/collateral`; `None`: nothing is kept for an offline boot.
    pub collateral_dir: Option<PathBuf>,
    /// Spreads refresh times; no secret.
    pub seed: [u8; 32],
    /// Makes pseudonyms of platform ids, which name machines. Local, secret, lasting: sets of
    /// platforms in a policy hold under one key only.
    pub platform_key: [u8; 32],
}

/// What a pass of the reconciler did.
#[derive(Debug)]
pub struct Reconciled {
    /// When the next pass is due, unless [`Attestor::wanted`] resolves before.
    pub next: Timestamp,
    /// Releases whose nodes would now be judged otherwise: challenge them, reason `policy`.
    pub reattest: Vec<ReleaseKey>,
    /// Nodes whose evidence would now be judged otherwise: challenge them likewise.
    pub reattest_nodes: Vec<NodeId>,
}

/// The use-case: one for a control plane, shared by all sessions.
pub struct Attestor {
    store: Store,
    offload: Arc<dyn Offload>,
    time: Arc<TrustedTime>,
    references: ReferenceValues,
    collateral: CollateralService,
    forge_1: Arc<Judge>,
    sandbox_1: Arc<Judge>,
    kept: KeptEvidence,
    platform_key: [u8; 32],
}

impl Attestor {
    /// Reads pins, marks and the disk cache; asks no source.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(parts: AttestorParts) -> Result<Arc<Self>, StoreError> {
        let AttestorParts {
            store,
            clock,
            offload,
            releases,
            collateral,
            root,
            ..
        } = parts;
        let [forge_1, sandbox_1] = judges(&root, parts.policies);
        let time = Arc::new(TrustedTime::open(Arc::clone(&clock), store.clone()).await?);
        let collateral = CollateralService::open(CollateralParts {
            store: store.clone(),
            time: Arc::clone(&time),
            offload: Arc::clone(&offload),
            source: collateral,
            verifiers: vec![
                Arc::clone(&forge_1.verifier),
                Arc::clone(&sandbox_1.verifier),
            ],
            directory: parts.collateral_dir,
            seed: parts.seed,
        })
        .await?;
        let references = ReferenceValues::open(store.clone(), clock, releases).await?;
        let attestor = Self {
            store,
            offload,
            time,
            references,
            collateral,
            forge_1,
            sandbox_1,
            kept: KeptEvidence::default(),
            platform_key: parts.platform_key,
        };
        Ok(Arc::new(attestor))
    }

    /// Judges an answer to a challenge, which came from this address.
    pub async fn verify(&self, request: Box<VerificationRequest>, from: IpAddr) -> Verdict {
        let request: Arc<VerificationRequest> = Arc::from(request);
        let turn = match request.attested_before {
            Attested::Yes => Turn::Serving,
            Attested::No => Turn::Newcomer(from),
        };
        let judge = self.judge(request.registration.network);
        let mut trail = Trail::new(&judge.policy_id);
        let appraised = Box::pin(self.appraise(&request, turn, judge, &mut trail)).await;
        let (verdict, evidence) = match appraised {
            Ok((result, evidence)) => (Verdict::Pass(Box::new(result)), Some(evidence)),
            Err(failure) => (Verdict::from(failure), None),
        };
        let recorded = self.record(&request, trail, verdict).await;
        if let (Verdict::Pass(_), Some(evidence)) = (&recorded, evidence) {
            self.kept.put(kept::session_of(&request), evidence);
        }
        recorded
    }

    /// Refreshes collateral, revalidates reference values, appraises kept evidence again where
    /// collateral is new. Idempotent, bounded.
    pub async fn reconcile(&self) -> Reconciled {
        let (revalidated, collateral_next) =
            future::join(self.references.reconcile(), self.collateral.reconcile()).await;
        let reappraised = self.reappraise().await;
        Reconciled {
            next: revalidated.next.min(collateral_next).min(reappraised.next),
            reattest: revalidated.reattest,
            reattest_nodes: reappraised.changed,
        }
    }

    /// Whether what verdicts wait for answers.
    pub fn dependencies(&self) -> Vec<(Dependency, DependencyState)> {
        let state = |is_down| match is_down {
            true => DependencyState::Down,
            false => DependencyState::Up,
        };
        let clock = !self.clock_is_trusted();
        vec![
            (Dependency::Pccs, state(self.collateral.is_down())),
            (Dependency::Github, state(self.references.is_down())),
            (Dependency::Admission, state(clock)),
        ]
    }

    /// Whether it is known what time it is.
    pub fn clock_is_trusted(&self) -> bool {
        self.time.now().is_ok()
    }

    /// Whether time may judge: it is known, and nobody has set the clock ahead unconfirmed
    /// (LEDGER 8).
    pub fn clock_may_judge(&self) -> bool {
        self.clock_is_trusted() && !self.time.has_jumped_ahead()
    }

    /// Resolves when a pass of the reconciler is due before its time.
    pub async fn wanted(&self) {
        tokio::select! {
            () = self.references.wanted() => {}
            () = self.collateral.wanted() => {}
        }
    }

    /// The date of an answer over HTTPS confirms our clock (ATTESTATION 6, `now`).
    ///
    /// # Errors
    /// When the confirmed time is not durable.
    pub async fn confirm_clock(&self, upstream: Timestamp) -> Result<(), StoreError> {
        self.time.confirm(upstream).await
    }

    /// The allowlists' side.
    pub fn reference_values(&self) -> &ReferenceValues {
        &self.references
    }

    /// The collateral's side.
    pub fn collateral(&self) -> &CollateralService {
        &self.collateral
    }

    /// The root that chains must end at: shown in `/health` and every result.
    pub fn trust_root(&self) -> &TrustRoot {
        self.forge_1.verifier.root()
    }

    fn judge(&self, network: Network) -> &Arc<Judge> {
        match network {
            Network::Forge1 => &self.forge_1,
            Network::Sandbox1 => &self.sandbox_1,
        }
    }

    /// Stages 1 to 11.
    async fn appraise(
        &self,
        request: &Arc<VerificationRequest>,
        turn: Turn,
        judge: &Arc<Judge>,
        trail: &mut Trail,
    ) -> Result<(AttestationResult, Kept), Failure> {
        let release = ReleaseKey {
            repo: request.registration.repo.clone(),
            tag: request.registration.release_tag.clone(),
        };
        let opened = {
            let (request, judge) = (Arc::clone(request), Arc::clone(judge));
            self.pool(turn, move || stages::open(&request, &judge.policy))
                .await?
        };
        let opened = Arc::new(opened);
        trail.body_digest = hex::encode(opened.quote.evidence_digest());
        let now = self.time.now()?;
        let known = self
            .references
            .lookup(&release, request.attested_before)
            .await;
        let pinned = stages::known_reference(known, &opened, &judge.policy, now)?;
        if let Some(pinned) = &pinned {
            trail.allowlist_digest = hex::encode(pinned.allowlist.digest());
        }
        let (verified, bundle) = self.platform(&opened, turn, judge, now, trail).await?;
        let reference = match pinned {
            Some(pinned) => pinned,
            None => {
                let obtained = self.references.obtain(&release).await?;
                trail.allowlist_digest = hex::encode(obtained.allowlist.digest());
                stages::check_reference(&opened, &obtained, &judge.policy, now)?;
                obtained
            }
        };
        let facts = self.facts(&verified, now).await?;
        record::note_platform(request, &facts);
        let basis = Basis {
            bundle,
            newest_evaluation: facts.newest_evaluation,
        };
        let finished = Arc::new(Finished {
            opened,
            verified,
            reference,
            facts,
            now,
        });
        let result = self.finish(&finished, turn, judge).await?;
        let kept = Kept::new(request.registration.network, &finished, &result, basis);
        Ok((result, kept))
    }

    /// Stages 7 and 8.
    async fn platform(
        &self,
        opened: &Arc<Opened>,
        turn: Turn,
        judge: &Arc<Judge>,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<(Arc<VerifiedQuote>, Digest), Failure> {
        let (fmspc, ca) = (opened.quote.fmspc(), opened.quote.ca());
        let mirror = opened.evidence.collateral.as_ref();
        // What a stranger sends along is not looked at either.
        if !self.collateral.knows(fmspc) || mirror.is_some() {
            let (opened, judge) = (Arc::clone(opened), Arc::clone(judge));
            self.pool(turn, move || {
                judge.verifier.chain_ends_at_root(&opened.quote, now)
            })
            .await?;
        }
        let bundle = self.collateral.bundle(fmspc, ca, mirror).await?;
        let digest = *bundle.digest();
        trail.generation = hex::encode(digest);
        let (opened, judge) = (Arc::clone(opened), Arc::clone(judge));
        let verified = self
            .pool(turn, move || {
                judge.verifier.platform(&opened.quote, &bundle, now)
            })
            .await?;
        Ok((Arc::new(verified), digest))
    }

    /// What policy asks of our memory: since when a level is out of date, the newest numbers, the
    /// platform's pseudonym.
    async fn facts(
        &self,
        verified: &VerifiedQuote,
        now: Timestamp,
    ) -> Result<PolicyFacts, Failure> {
        let out_of_date_since = match verified.tcb_status() {
            TcbStatus::OutOfDate | TcbStatus::OutOfDateConfigurationNeeded => {
                let level = verified.level_id().to_owned();
                let first = self
                    .store
                    .tcb_first_seen(verified.fmspc(), level, now)
                    .await;
                Some(first.map_err(|error| record::unavailable(&error.to_string()))?)
            }
            TcbStatus::UpToDate
            | TcbStatus::SWHardeningNeeded
            | TcbStatus::ConfigurationNeeded
            | TcbStatus::ConfigurationAndSWHardeningNeeded
            | TcbStatus::TDRelaunchAdvised
            | TcbStatus::TDRelaunchAdvisedConfigurationNeeded
            | TcbStatus::Revoked => None,
        };
        let newest_evaluation = self.collateral.newest_evaluation();
        Ok(PolicyFacts {
            out_of_date_since,
            newest_evaluation,
            platform: Some(verified.platform_identity(&self.platform_key)),
        })
    }

    /// Stages 9 to 11; a register that matches another release of the repository says so.
    async fn finish(
        &self,
        finished: &Arc<Finished>,
        turn: Turn,
        judge: &Arc<Judge>,
    ) -> Result<AttestationResult, Failure> {
        let (judge, shared) = (Arc::clone(judge), Arc::clone(finished));
        let outcome = self
            .pool(turn, move || stages::finish(&shared, &judge.policy))
            .await;
        outcome.map_err(|failure| {
            if failure.code != AttestationCode::RegisterMismatch {
                return failure;
            }
            let siblings = self.references.siblings(&finished.reference.release);
            stages::with_sibling(failure, finished, &siblings)
        })
    }

    async fn pool<T, F>(&self, turn: Turn, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Failure> + Send + 'static,
    {
        let done = on_pool(self.offload.as_ref(), turn, work).await;
        done.unwrap_or_else(|| Err(record::unavailable("the verification was dropped")))
    }
}

/// A row of explanation for a code.
fn row(code: AttestationCode, check: &str, hint: &str) -> Refusal {
    Refusal::new(code.as_str(), check, hint)
}
