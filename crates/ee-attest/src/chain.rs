//! Certificate chains that must end at the trust root.

use std::time::Duration;

use ee_protocol::time::Timestamp;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

use crate::root::TrustRoot;

/// Verifies a chain (leaf first) and returns how many certificates lie between leaf and root.
///
/// With lists, the whole chain must be covered by them; without, nothing is asked about
/// revocation.
pub(crate) fn verify(
    root: &TrustRoot,
    chain: &[Vec<u8>],
    lists: &[CertRevocationList<'_>],
    now: Timestamp,
    algorithm: &dyn SignatureVerificationAlgorithm,
) -> Result<usize, webpki::Error> {
    let (leaf, rest) = chain.split_first().ok_or(webpki::Error::UnknownIssuer)?;
    let leaf = CertificateDer::from_slice(leaf);
    let leaf = EndEntityCert::try_from(&leaf)?;
    let intermediates: Vec<_> = rest
        .iter()
        .map(|der| CertificateDer::from_slice(der))
        .collect();
    let lists: Vec<_> = lists.iter().collect();
    let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|builder| {
        builder
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build()
    });
    let anchors = [root.anchor().clone()];
    let path = leaf.verify_for_usage(
        &[algorithm],
        &anchors,
        &intermediates,
        unix_time(now),
        KeyUsage::server_auth(),
        revocation,
        None,
    )?;
    Ok(path.intermediate_certificates().count())
}

/// The time as webpki takes it; before 1970 nothing is valid anyway.
pub(crate) fn unix_time(now: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(unix_seconds(now)))
}

/// The time as dcap-qvl takes it.
pub(crate) fn unix_seconds(now: Timestamp) -> u64 {
    u64::try_from(now.unix_seconds()).unwrap_or(0)
}
