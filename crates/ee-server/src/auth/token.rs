//! Tokens: `ee_<kind>_<12 id>_<43 base64url><6 crc>`, kept as SHA-256 only.
//!
//! 256 random bits need no slow hash. The checksum lets a scanner for leaked secrets tell a token
//! from noise; it protects nothing.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ee_protocol::access::TokenId;
use subtle::ConstantTimeEq;

/// SHA-256 of a token.
pub type Digest = [u8; 32];

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of the checksum: 62^6 exceeds 2^32.
const CRC_DIGITS: usize = 6;
/// CRC-32 (IEEE 802.3), reflected polynomial.
const CRC_POLYNOMIAL: u32 = 0xedb8_8320;

/// A token just made: this is the only time that its text exists here.
pub struct NewToken {
    /// Its public id.
    pub id: TokenId,
    /// The token.
    pub text: String,
    /// What is stored of it.
    pub digest: Digest,
}

/// Makes a token of a kind.
pub fn generate(kind: &str) -> NewToken {
    let mut id = [0_u8; 6];
    crate::entropy::fill(&mut id);
    generate_for(kind, TokenId::from_bytes(id))
}

/// Makes another token of the same id.
pub fn generate_for(kind: &str, id: TokenId) -> NewToken {
    let mut secret = [0_u8; 32];
    crate::entropy::fill(&mut secret);
    let body = format!("ee_{kind}_{id}_{}", URL_SAFE_NO_PAD.encode(secret));
    let text = format!("{body}{}", checksum(body.as_bytes()));
    NewToken {
        id,
        digest: digest_of(&text),
        text,
    }
}

/// The id within what looks like a managed token.
pub fn id_of(token: &str) -> Option<TokenId> {
    let mut parts = token.splitn(4, '_');
    let (ee, _kind, id, _secret) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (ee == "ee").then(|| id.parse().ok())?
}

/// What is stored of a token and compared with.
pub fn digest_of(token: &str) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 is 32 bytes")
}

/// Compares in constant time.
pub fn equal(left: &Digest, right: &Digest) -> bool {
    left.ct_eq(right).into()
}

fn checksum(bytes: &[u8]) -> String {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..u8::BITS {
            let carry = crc & 1;
            crc >>= 1;
            crc ^= CRC_POLYNOMIAL * carry;
        }
    }
    let mut rest = !crc as usize;
    let mut digits = [b'0'; CRC_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[rest % BASE62.len()];
        rest /= BASE62.len();
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_format_and_differ() {
        let made = generate("boot");
        assert_eq!(id_of(&made.text), Some(made.id));
        let token = made.text;
        let parts: Vec<&str> = token.splitn(4, '_').collect();
        assert_eq!(parts[..2], ["ee", "boot"]);
        assert_eq!((parts[2].len(), parts[3].len()), (12, 43 + 6));
        let again = generate_for("boot", made.id);
        assert_eq!(id_of(&again.text), Some(made.id));
        assert_ne!(token, again.text);
        assert_eq!(id_of("ee_admin_short_x"), None);
        assert_eq!(id_of("an-environment-token-0123456789"), None);
    }

    #[test]
    fn the_checksum_is_crc_32() {
        // The CRC-32 check value of "123456789" is 0xcbf43926 = 3421780262.
        let mut value = 0_usize;
        for digit in checksum(b"123456789").bytes() {
            let place = BASE62
                .iter()
                .position(|known| *known == digit)
                .expect("a digit");
            value = value * BASE62.len() + place;
        }
        assert_eq!(value, 0xcbf4_3926);
    }
}
