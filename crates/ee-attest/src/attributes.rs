//! TD attributes: which bits are never acceptable, which a policy may allow.
//!
//! Bits after Intel's TDX Module ABI Specification (348551-008US, table 3.23). The form stage
//! refuses what dcap-qvl would refuse anyway, only earlier and with a name; the policy stage
//! compares with what the network and the allowlist allow.

use std::fmt;

const fn ones(first: u32, last: u32) -> u64 {
    (u64::MAX << first) & (u64::MAX >> (63 - last))
}

const DEBUG: u64 = 1;
const PROFILING: u64 = ones(4, 6);
const SERVTD_EXT: u64 = 1 << 17;
const SEPT_VE_DISABLE: u64 = 1 << 28;
const MIGRATABLE: u64 = 1 << 29;
const RESERVED: u64 = ones(1, 3) | ones(7, 15) | ones(23, 26) | ones(32, 61);

/// Names of the bits that a refusal may have to mention.
const NAMES: [(u32, &str); 13] = [
    (0, "DEBUG"),
    (4, "HGS_PLUS_PROF"),
    (5, "PERF_PROF"),
    (6, "PMT_PROF"),
    (16, "ICSSD"),
    (17, "SERVTD_EXT"),
    (27, "LASS"),
    (28, "SEPT_VE_DISABLE"),
    (29, "MIGRATABLE"),
    (30, "PKS"),
    (31, "KL"),
    (62, "TPA"),
    (63, "PERFMON"),
];

/// The attributes of a TD, as in the quote: 64 bits, little-endian.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TdAttributes(u64);

impl TdAttributes {
    /// SEPT_VE_DISABLE and nothing else: what every network allows (`0000001000000000`).
    pub const BASE: Self = Self(SEPT_VE_DISABLE);
    /// Supervisor protection keys.
    pub const PKS: Self = Self(1 << 30);
    /// Linear address space separation.
    pub const LASS: Self = Self(1 << 27);
    /// Instruction-count based single-step defence.
    pub const ICSSD: Self = Self(1 << 16);
    /// Key Locker.
    pub const KL: Self = Self(1 << 31);
    /// Performance monitoring.
    pub const PERFMON: Self = Self(1 << 63);
    /// The TD's memory and registers are open to the host.
    pub const DEBUG: Self = Self(DEBUG);

    /// From the bytes of a quote.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }

    /// The bytes of a quote.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    /// Bits of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every bit is among those of `allowed`.
    pub const fn within(self, allowed: Self) -> bool {
        self.0 & !allowed.0 == 0
    }

    /// The bits that `allowed` lacks.
    #[must_use]
    pub const fn beyond(self, allowed: Self) -> Self {
        Self(self.0 & !allowed.0)
    }

    /// Whether the host may look into the TD.
    pub const fn debug(self) -> bool {
        self.0 & DEBUG != 0
    }

    /// Bits that no policy can allow: profiling, reserved, MIGRATABLE, SERVTD_EXT.
    #[must_use]
    pub const fn forbidden(self) -> Self {
        Self(self.0 & (PROFILING | RESERVED | MIGRATABLE | SERVTD_EXT))
    }

    /// Whether pending pages cannot inject exceptions into the TD.
    pub const fn sept_ve_disable(self) -> bool {
        self.0 & SEPT_VE_DISABLE != 0
    }

    /// No bit at all.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of the set bits, for a person.
    pub fn names(self) -> String {
        let names = (0..64).filter(|bit| self.0 & (1 << bit) != 0).map(|bit| {
            NAMES
                .iter()
                .find(|(named, _)| *named == bit)
                .map_or_else(|| format!("bit {bit}"), |(_, name)| (*name).to_owned())
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Debug for TdAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.to_bytes()))
    }
}

impl fmt::Display for TdAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_is_the_documents_value() {
        assert_eq!(TdAttributes::BASE.to_string(), "0000001000000000");
    }

    #[test]
    fn bits_are_named_for_a_person() {
        let attributes = TdAttributes::from_bytes([1, 0, 4, 0x50, 0, 0, 0, 0x80]);
        assert_eq!(
            attributes.names(),
            "DEBUG, bit 18, SEPT_VE_DISABLE, PKS, PERFMON"
        );
    }

    #[test]
    fn no_policy_can_allow_profiling_migration_or_reserved_bits() {
        for bit in [1, 4, 5, 6, 7, 15, 17, 23, 26, 29, 32, 61] {
            assert!(!TdAttributes(1 << bit).forbidden().is_empty(), "{bit}");
        }
        for bit in [0, 16, 18, 22, 27, 28, 30, 31, 62, 63] {
            assert!(TdAttributes(1 << bit).forbidden().is_empty(), "{bit}");
        }
    }
}
