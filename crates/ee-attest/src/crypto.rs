//! ECDSA P-256 on ring for dcap-qvl and webpki, with a memory for signatures of collateral.
//!
//! Whether a signature fits a key and a message is a pure function, so a check that succeeded
//! once need not be repeated. Only signatures of collateral are remembered (by
//! [`REMEMBERING`], when collateral arrives); dcap-qvl looks them up (through [`Recalling`]).
//! A new platform then costs three checks in place of nine, and quotes of strangers, which are
//! only looked up, cannot push anything out.

use std::{
    collections::{HashMap, VecDeque},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use dcap_qvl::{
    config::{Config, CryptoProvider, EcdsaSigEncoder},
    crypto::RingCrypto,
    signature::DerSigEncoder,
    x509::X509CertBackend,
};
use ee_protocol::report_data::Digest;
use ring::{
    digest::{self, SHA256},
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use webpki::ring::ECDSA_P256_SHA256;

/// Signatures remembered (ATTESTATION 11): six per bundle, so some 680 bundles; about 1 MiB.
const REMEMBERED_MAX: usize = 4_096;

/// Our configuration of dcap-qvl: its audited parsers, ring, and the memory.
pub(crate) struct Backend;

impl Config for Backend {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = Self;
}

impl CryptoProvider for Backend {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        &Recalling
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        RingCrypto::sha256(data)
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        RingCrypto::sha384(data)
    }
}

/// Checks signatures and remembers those that hold: for collateral on arrival.
pub(crate) static REMEMBERING: &dyn SignatureVerificationAlgorithm = &Remembering;

/// Checks signatures, looking them up first: for what strangers send.
pub(crate) fn algorithm() -> &'static dyn SignatureVerificationAlgorithm {
    &Recalling
}

/// Looks up, else computes.
#[derive(Debug)]
struct Recalling;

/// Looks up, else computes and remembers.
#[derive(Debug)]
struct Remembering;

impl SignatureVerificationAlgorithm for Recalling {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        ECDSA_P256_SHA256.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        ECDSA_P256_SHA256.signature_alg_id()
    }

    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        if memory().holds(public_key, message, signature) {
            return Ok(());
        }
        ECDSA_P256_SHA256.verify_signature(public_key, message, signature)
    }
}

impl SignatureVerificationAlgorithm for Remembering {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        Recalling.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        Recalling.signature_alg_id()
    }

    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        Recalling.verify_signature(public_key, message, signature)?;
        memory().insert(public_key, message, signature);
        Ok(())
    }
}

/// Successful checks. Looked up by signature first, so that a miss costs no hashing; the key and
/// the message are then compared by their digest.
#[derive(Default)]
struct Memory {
    checked: HashMap<Box<[u8]>, Digest>,
    oldest_first: VecDeque<Box<[u8]>>,
}

impl Memory {
    fn holds(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        self.checked
            .get(signature)
            .is_some_and(|known| *known == subject(public_key, message))
    }

    fn insert(&mut self, public_key: &[u8], message: &[u8], signature: &[u8]) {
        let key: Box<[u8]> = signature.into();
        if self
            .checked
            .insert(key.clone(), subject(public_key, message))
            .is_some()
        {
            return;
        }
        self.oldest_first.push_back(key);
        if self.oldest_first.len() > REMEMBERED_MAX {
            let oldest = self
                .oldest_first
                .pop_front()
                .expect("longer than its maximum");
            self.checked.remove(&oldest);
        }
    }
}

static MEMORY: LazyLock<Mutex<Memory>> = LazyLock::new(Mutex::default);

/// Nothing panics while holding the lock; a poisoned memory would still be true.
fn memory() -> MutexGuard<'static, Memory> {
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets every remembered signature: benchmarks of the cold path.
pub(crate) fn forget_all() {
    *memory() = Memory::default();
}

/// Digest of key and message; P-256 keys are 65 bytes long, so where one ends is clear.
fn subject(public_key: &[u8], message: &[u8]) -> Digest {
    let mut context = digest::Context::new(&SHA256);
    context.update(&public_key.len().to_be_bytes());
    context.update(public_key);
    context.update(message);
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// Checks a raw `r`, `s` signature under a raw `x`, `y` key.
pub(crate) fn raw_signature_holds(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let mut uncompressed = [4; 65];
    uncompressed[1..].copy_from_slice(key);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, uncompressed)
        .verify(message, signature)
        .is_ok()
}

/// DER form of a raw `r`, `s` signature; `None` if it has another length.
pub(crate) fn der_signature(raw: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = raw.split_at_checked(32).filter(|(_, s)| s.len() == 32)?;
    DerSigEncoder::encode_ecdsa_sig(r, s).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_compares_key_and_message_too() {
        let mut memory = Memory::default();
        memory.insert(b"key", b"message", b"signature");
        assert!(memory.holds(b"key", b"message", b"signature"));
        assert!(!memory.holds(b"key", b"massage", b"signature"));
        assert!(!memory.holds(b"kez", b"message", b"signature"));
        assert!(!memory.holds(b"key", b"message", b"other"));
    }

    #[test]
    fn memory_is_bounded_and_drops_the_oldest() {
        let mut memory = Memory::default();
        for number in 0..=REMEMBERED_MAX {
            memory.insert(b"key", b"message", &number.to_be_bytes());
        }
        assert_eq!(memory.checked.len(), REMEMBERED_MAX);
        assert!(!memory.holds(b"key", b"message", &0_usize.to_be_bytes()));
        assert!(memory.holds(b"key", b"message", &REMEMBERED_MAX.to_be_bytes()));
    }

    #[test]
    fn wrong_signatures_are_not_remembered() {
        assert!(
            REMEMBERING
                .verify_signature(&[4; 65], b"message", b"junk")
                .is_err()
        );
        assert!(!memory().holds(&[4; 65], b"message", b"junk"));
    }
}
