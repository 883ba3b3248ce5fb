//! P-256 keys that are derived from the seed, with deterministic signatures (RFC 6979): two
//! processes with one seed produce the same certificates, byte for byte.

use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use rcgen::{PublicKeyData, SignatureAlgorithm};
use ring::digest;

/// A text that every binary with the simulator contains, for it goes into every key: production
/// binaries are searched for it.
pub const MARKER: &str = "EasyEnclave simulated platform v1";
/// Length of an uncompressed P-256 point.
const POINT_LEN: usize = 65;

/// A signing key of the simulated world.
pub struct SimKey {
    signing: SigningKey,
    point: [u8; POINT_LEN],
}

impl SimKey {
    /// The key of `role` under `seed`; `number` tells machines apart.
    pub fn derive(seed: u64, role: &str, number: u32) -> Self {
        let signing = (0..u8::MAX)
            .find_map(|attempt| SigningKey::from_slice(&scalar(seed, role, number, attempt)).ok())
            .expect("a digest is a valid scalar but once in 2^32 tries");
        let encoded = signing.verifying_key().to_sec1_point(false);
        let point = encoded
            .as_bytes()
            .try_into()
            .expect("an uncompressed point has 65 bytes");
        Self { signing, point }
    }

    /// X and Y of the public key, as quotes carry it.
    pub fn public_xy(&self) -> [u8; 64] {
        self.point[1..]
            .try_into()
            .expect("a point without its tag has 64 bytes")
    }

    /// ECDSA over SHA-256 of `message`: raw r and s.
    pub fn sign_raw(&self, message: &[u8]) -> [u8; 64] {
        self.signature(message).to_bytes().into()
    }

    fn signature(&self, message: &[u8]) -> Signature {
        self.signing.sign(message)
    }
}

impl PublicKeyData for SimKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for SimKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.signature(message).to_der().as_bytes().to_vec())
    }
}

/// 32 bytes that belong to `label` under `seed`, for identifiers that need no key.
pub fn seeded_bytes(seed: u64, label: &str, number: u32) -> [u8; 32] {
    scalar(seed, label, number, u8::MAX)
}

fn scalar(seed: u64, role: &str, number: u32, attempt: u8) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(MARKER.as_bytes());
    context.update(&[0]);
    context.update(&seed.to_be_bytes());
    context.update(&number.to_be_bytes());
    context.update(&[attempt]);
    context.update(role.as_bytes());
    context
        .finish()
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_key_and_one_signature() {
        let (first, second) = (SimKey::derive(7, "root", 0), SimKey::derive(7, "root", 0));
        assert_eq!(first.public_xy(), second.public_xy());
        assert_eq!(first.sign_raw(b"text"), second.sign_raw(b"text"));
    }

    #[test]
    fn seed_role_and_number_each_change_the_key() {
        let key = SimKey::derive(7, "root", 0).public_xy();
        for other in [(8, "root", 0), (7, "ca", 0), (7, "root", 1)] {
            assert_ne!(key, SimKey::derive(other.0, other.1, other.2).public_xy());
        }
    }
}
