//! Dates of the simulated world: half-open windows in Unix seconds, and the eight places that carry
//! one.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// One day in seconds.
pub const DAY_S: u64 = 86_400;
/// 2024-01-01T00:00:00Z: certificates begin here.
const CERTIFICATE_FROM: u64 = 1_704_067_200;
/// 2049-12-31T23:59:59Z: the last second that UTCTime can write, as in Intel's root.
const CERTIFICATE_UNTIL: u64 = 2_524_607_999;
/// Intel issues collateral for 30 days; it is a day old when it is first asked for.
const COLLATERAL_LIFE_DAYS: u64 = 30;

/// A place in the PKI or the collateral that carries a validity window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DatedItem {
    /// The root certificate.
    RootCa,
    /// The PCK Platform or Processor CA certificate.
    PckCa,
    /// The PCK leaf certificate.
    PckLeaf,
    /// The certificate that signs TCB info and QE identity.
    TcbSigner,
    /// The root's revocation list.
    RootCrl,
    /// The PCK CA's revocation list.
    PckCrl,
    /// TCB info.
    TcbInfo,
    /// QE identity.
    QeIdentity,
}

impl DatedItem {
    /// Every place, in the order of the chain.
    pub const ALL: [Self; 8] = [
        Self::RootCa,
        Self::PckCa,
        Self::PckLeaf,
        Self::TcbSigner,
        Self::RootCrl,
        Self::PckCrl,
        Self::TcbInfo,
        Self::QeIdentity,
    ];

    /// Whether the item is a certificate, which lasts for years, or collateral, which is reissued.
    pub const fn is_certificate(self) -> bool {
        match self {
            Self::RootCa | Self::PckCa | Self::PckLeaf | Self::TcbSigner => true,
            Self::RootCrl | Self::PckCrl | Self::TcbInfo | Self::QeIdentity => false,
        }
    }
}

/// Valid in `[from, until)`, Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First second of validity.
    pub from: u64,
    /// First second after validity.
    pub until: u64,
}

impl Window {
    /// How long certificates last unless told otherwise.
    pub const CERTIFICATE: Self = Self {
        from: CERTIFICATE_FROM,
        until: CERTIFICATE_UNTIL,
    };

    /// Collateral as a PCS would serve it at `now`.
    pub const fn collateral_at(now: u64) -> Self {
        let from = now.saturating_sub(DAY_S);
        Self {
            from,
            until: from + COLLATERAL_LIFE_DAYS * DAY_S,
        }
    }

    /// Ended a day before `now`.
    pub const fn past(now: u64) -> Self {
        Self {
            from: now - 30 * DAY_S,
            until: now - DAY_S,
        }
    }

    /// Begins a day after `now`.
    pub const fn future(now: u64) -> Self {
        Self {
            from: now + DAY_S,
            until: now + 30 * DAY_S,
        }
    }

    /// The same length, `seconds` earlier.
    pub const fn earlier_by(self, seconds: u64) -> Self {
        Self {
            from: self.from - seconds,
            until: self.until - seconds,
        }
    }
}

/// The moment as rcgen takes it.
pub fn moment(unix_s: u64) -> OffsetDateTime {
    i64::try_from(unix_s)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .expect("simulated dates lie within the calendar")
}

/// The moment as collateral writes it, `2026-01-02T03:04:05Z`.
pub fn rfc3339(unix_s: u64) -> String {
    moment(unix_s)
        .format(&Rfc3339)
        .expect("a whole second in UTC can be written")
}
