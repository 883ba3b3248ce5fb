//! Ports of the attestation use-cases: what they need from the outside, as traits.
//!
//! The shell (ee-server) implements them over GitHub, a directory, PCCS endpoints and the system
//! clock; tests implement them over the testbed. Sources fetch **one** thing from **one** place:
//! order of endpoints, caching, back-off and single flight are decided here in ee-control, so
//! that they are the same for every source. Time-outs and body limits are the source's, because
//! only it sees the bytes arrive.

use std::{fmt, net::IpAddr, time::Duration};

use bytes::Bytes;
use ee_core::attestation::Provenance;
use ee_protocol::{
    names::{ReleaseTag, Repo},
    time::Timestamp,
};
use futures_util::future::BoxFuture;

/// Reads the wall clock.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// How long the process runs, on a clock that nobody sets; `None` if there is no such clock to
    /// compare with.
    fn running(&self) -> Option<Duration> {
        None
    }
}

/// Whose turn a job of the pool is (TUNNEL 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// A node that serves, or our own upkeep: before every newcomer.
    Serving,
    /// A session that is not attested yet, from this address: the addresses take turns.
    Newcomer(IpAddr),
}

/// Runs work that needs a processor for long (chains, signatures) off the event loop.
///
/// An implementation runs at most as many jobs at once as there are cores and queues the rest
/// (ATTESTATION 11). A job that is dropped unrun counts as ours to answer for: indeterminate.
pub trait Offload: Send + Sync {
    /// Starts the job as soon as a core is free and its turn has come.
    fn run(&self, turn: Turn, job: Box<dyn FnOnce() + Send>);
}

/// Runs each job at once on the calling thread: for tests and command-line tools.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inline;

impl Offload for Inline {
    fn run(&self, _turn: Turn, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

/// One release of one repository: the key of an allowlist.
///
/// Ordered and compared by [`Repo::key`], because GitHub ignores the case of a repository.
#[derive(Debug, Clone)]
pub struct ReleaseKey {
    /// The repository, as registered.
    pub repo: Repo,
    /// The release tag, as registered.
    pub tag: ReleaseTag,
}

impl ReleaseKey {
    /// What two keys are compared by.
    pub fn identity(&self) -> (String, String) {
        (self.repo.key(), self.tag.as_str().to_owned())
    }
}

impl PartialEq for ReleaseKey {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for ReleaseKey {}

impl fmt::Display for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repo, self.tag)
    }
}

/// Answer of a release source.
#[derive(Debug, Clone)]
pub enum ReleaseFetch {
    /// The entity tag still holds: what the caller has is current.
    NotModified,
    /// The asset as it is published now.
    Found(ReleaseAsset),
}

/// The allowlist asset of a release.
#[derive(Debug, Clone)]
pub struct ReleaseAsset {
    /// The file, at most 256 KiB.
    pub content: Bytes,
    /// SHA-256 of `content`; the source has compared it with the published digest, if any.
    pub digest: [u8; 32],
    /// Whether the publisher stated the digest or we computed it.
    pub digest_source: DigestSource,
    /// How well the origin is proved: directory, release, immutable release.
    pub provenance: Provenance,
    /// Entity tag of the *release* answer, for the next `If-None-Match`.
    pub etag: Option<String>,
}

/// Who stated the digest of an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestSource {
    /// The publisher (`digest` of GitHub's asset) and our own computation agreed.
    Published,
    /// The publisher states none: ours alone.
    Computed,
}

/// Why a release could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The release, or the asset in it, does not exist; `what` names which of them.
    #[error("{what} does not exist")]
    NotFound {
        /// `release v0.1.3 of org/repo` or `asset NAME in release …`.
        what: String,
    },
    /// The repository was renamed: the name is an identity, so this is not followed.
    #[error("the repository moved to {to}")]
    RepoMoved {
        /// Where the answer points.
        to: String,
    },
    /// Bigger than an allowlist may be.
    #[error("the asset is larger than {limit_bytes} bytes")]
    Oversize {
        /// The limit that was passed.
        limit_bytes: u64,
    },
    /// The bytes do not have the digest their publisher states.
    #[error("the asset's digest is sha256:{actual}, published is sha256:{expected}")]
    DigestMismatch {
        /// Lower-case hex, as published.
        expected: String,
        /// Lower-case hex, computed.
        actual: String,
    },
    /// The quota is spent until the given time.
    #[error("rate limit reached until {until}")]
    RateLimited {
        /// When the source may be asked again.
        until: Timestamp,
    },
    /// No usable answer: refused connection, time-out, 5xx, refused token, unreadable answer.
    #[error("no answer: {detail}")]
    Outage {
        /// What happened, for the log and the refusal's `actual`.
        detail: String,
    },
}

/// Where releases come from: GitHub, or a local directory.
pub trait ReleaseSource: Send + Sync {
    /// The place, for refusals and logs: `https://api.github.com`, a directory.
    fn name(&self) -> String;

    /// Fetches the allowlist asset of a release, unless `etag` still names the current one.
    fn fetch<'a>(
        &'a self,
        release: &'a ReleaseKey,
        etag: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ReleaseFetch, ReleaseError>>;
}

/// Which certificate authority signs a platform's PCK certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PckCa {
    /// Intel SGX PCK Platform CA: machines with several packages.
    Platform,
    /// Intel SGX PCK Processor CA: machines with one package.
    Processor,
}

impl PckCa {
    /// The word of the PCS query `ca=`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }
}

/// One item of collateral (ATTESTATION 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CollateralKey {
    /// `GET /tdx/certification/v4/tcb?fmspc=`.
    TcbInfo {
        /// The platform family.
        fmspc: [u8; 6],
    },
    /// `GET /tdx/certification/v4/qe/identity`.
    QeIdentity,
    /// `GET /sgx/certification/v4/pckcrl?ca=&encoding=der`.
    PckCrl {
        /// Whose certificates it revokes.
        ca: PckCa,
    },
    /// The root's own list: DER from Intel's certificate host, hex from a PCCS (`/rootcacrl`).
    RootCrl,
}

impl fmt::Display for CollateralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TcbInfo { fmspc } => write!(f, "tcb-info-{}", hex::encode(fmspc)),
            Self::QeIdentity => f.write_str("qe-identity"),
            Self::PckCrl { ca } => write!(f, "pck-crl-{}", ca.as_str()),
            Self::RootCrl => f.write_str("root-crl"),
        }
    }
}

/// An item as an endpoint sent it; nothing in it is trusted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedItem {
    /// The answer's body as received: JSON for TCB info and QE identity, DER for lists (a hex
    /// body is accepted too and decoded on arrival).
    pub body: Bytes,
    /// The issuer chain's header, percent-decoded to PEM; none for the root list.
    pub issuer_chain_pem: Option<String>,
    /// The answer's own `Date`, if it came over HTTPS: it confirms our clock.
    pub date: Option<Timestamp>,
}

/// Why an endpoint gave no item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollateralError {
    /// The endpoint answers, but does not know the item (404, unknown FMSPC).
    #[error("the endpoint does not have it")]
    NotFound,
    /// No usable answer.
    #[error("no answer: {detail}")]
    Outage {
        /// What happened, for the log and the refusal's `actual`.
        detail: String,
    },
}

/// An ordered list of collateral endpoints, asked one at a time.
pub trait CollateralSource: Send + Sync {
    /// The endpoints' names in order of preference, for refusals and logs.
    fn endpoints(&self) -> Vec<String>;

    /// Asks one endpoint (an index into [`CollateralSource::endpoints`]) for one item.
    fn fetch<'a>(
        &'a self,
        endpoint: usize,
        key: &'a CollateralKey,
    ) -> BoxFuture<'a, Result<FetchedItem, CollateralError>>;
}

/// Runs `work` on the pool and waits for it. `None` if it was dropped unrun or panicked.
pub(crate) async fn on_pool<T, F>(pool: &dyn Offload, turn: Turn, work: F) -> Option<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (reply, answer) = tokio::sync::oneshot::channel();
    let job = Box::new(move || {
        // A caller that went away does not wait for its answer.
        let _ = reply.send(work());
    });
    pool.run(turn, job);
    answer.await.ok()
}

/// Keeps every batch of the books a second time, apart from their database.
pub trait Archive: Send + Sync {
    /// Takes a batch that is durable in the books. `acknowledge` answers those who wait for it; it
    /// is to be called once the batch is kept, or once waiting any longer would stop the books.
    fn keep(&self, batch: ee_store::segments::KeptBatch, acknowledge: Box<dyn FnOnce() + Send>);
}
