//! Money and metering units (LEDGER 2): integers with units, parsed from raw text, never floats.
//!
//! One credit is one dollar is 1 000 000 µ$. Metering counts vCPU-microseconds. What is locked is
//! rounded up and what is charged is rounded down, each once, on the total of a meter.

use std::fmt;

/// µ$ in a dollar.
pub const MICRO_USD_PER_USD: i64 = 1_000_000;
/// µ$ in a cent.
const MICRO_USD_PER_CENT: i64 = 10_000;
/// The largest single amount (LEDGER 2): a billion dollars. Sums of it stay far from `i64::MAX`.
pub const AMOUNT_MAX_MICRO_USD: i64 = 1_000_000_000_000_000;
/// All money in circulation (LEDGER 2): below half of `i64::MAX`, so that no sum overflows.
pub const SUPPLY_MAX_MICRO_USD: i64 = 4_500_000_000_000_000_000;
/// Microseconds in an hour: the `H` of LEDGER 2.
pub const MICROS_PER_HOUR: u64 = 3_600_000_000;
/// Longest text of a number of vCPU-hours (LEDGER 2).
const VCPU_HOURS_CHARS_MAX: usize = 40;
/// Most vCPU-hours in one report: a thousand million, whose microseconds fit `u64` five times.
const VCPU_HOURS_MAX: u128 = 1_000_000_000;
/// Decimals of an amount.
const DECIMALS: u32 = 6;

/// An amount of money in millionths of a dollar; may be negative (contra accounts).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MicroUsd(i64);

/// Text that is no amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("amounts are decimals like 12.345678, at most six decimals, without sign or exponent")]
pub struct InvalidAmount;

impl MicroUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From millionths of a dollar.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Millionths of a dollar.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The sum, unless it overflows.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, unless it overflows.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Whole cents, rounded down: the prototype's `*_cents` fields.
    pub const fn cents_floor(self) -> i64 {
        self.0.div_euclid(MICRO_USD_PER_CENT)
    }

    /// Parses `^\d{1,10}(\.\d{1,6})?$`: a JSON string.
    pub fn parse_text(text: &str) -> Result<Self, InvalidAmount> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let shape = (1..=10).contains(&whole.len())
            && (1..=DECIMALS as usize).contains(&fraction.len())
            && whole
                .bytes()
                .chain(fraction.bytes())
                .all(|b| b.is_ascii_digit());
        if !shape {
            return Err(InvalidAmount);
        }
        Self::bounded(scaled(whole, fraction, DECIMALS).ok_or(InvalidAmount)?)
    }

    /// Parses the raw text of a JSON number; an exponent may leave at most six decimals.
    pub fn parse_number(raw: &str) -> Result<Self, InvalidAmount> {
        let (mantissa, exponent) = split_exponent(raw).ok_or(InvalidAmount)?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let digits = format!("{whole}{fraction}");
        let has_both = !whole.is_empty() && !fraction.is_empty();
        if !has_both || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidAmount);
        }
        let fraction_digits = i64::try_from(fraction.len()).map_err(|_| InvalidAmount)?;
        let micros = shifted(&digits, exponent - fraction_digits + i64::from(DECIMALS))
            .ok_or(InvalidAmount)?;
        Self::bounded(micros)
    }

    fn bounded(micros: u128) -> Result<Self, InvalidAmount> {
        i64::try_from(micros)
            .ok()
            .filter(|&micros| micros <= AMOUNT_MAX_MICRO_USD)
            .map(Self)
            .ok_or(InvalidAmount)
    }
}

impl fmt::Display for MicroUsd {
    /// Millionths of a dollar as a decimal string: the `*_micro_usd` fields.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What one transfer may move: 1 µ$ to 10^15 µ$.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i64);

impl Amount {
    /// The amount, if it is positive and at most 10^15 µ$.
    pub const fn new(money: MicroUsd) -> Option<Self> {
        if money.0 > 0 && money.0 <= AMOUNT_MAX_MICRO_USD {
            Some(Self(money.0))
        } else {
            None
        }
    }

    /// As money.
    pub const fn money(self) -> MicroUsd {
        MicroUsd(self.0)
    }

    /// Millionths of a dollar.
    pub const fn micros(self) -> i64 {
        self.0
    }
}

/// A price of one vCPU for one hour: 0 to 10^15 µ$.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(i64);

impl Price {
    /// The price, if it is not negative and at most 10^15 µ$.
    pub const fn new(money: MicroUsd) -> Option<Self> {
        if money.0 >= 0 && money.0 <= AMOUNT_MAX_MICRO_USD {
            Some(Self(money.0))
        } else {
            None
        }
    }

    /// As money.
    pub const fn money(self) -> MicroUsd {
        MicroUsd(self.0)
    }

    /// µ$ per vCPU-hour.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// What must be locked for `used`: rounded up, so that the charge never exceeds it.
    pub fn need(self, used: VcpuMicros) -> i128 {
        let product = i128::from(self.0) * i128::from(used.0);
        let hour = i128::from(MICROS_PER_HOUR);
        (product + hour - 1) / hour
    }

    /// What is charged for `used`: rounded down, in the payer's favour.
    pub fn charge(self, used: VcpuMicros) -> i128 {
        i128::from(self.0) * i128::from(used.0) / i128::from(MICROS_PER_HOUR)
    }
}

/// Compute: vCPU-microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VcpuMicros(u64);

/// Text that is no number of vCPU-hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("vcpu_hours is a decimal number of hours, at most 40 characters and 10^9 hours")]
pub struct InvalidVcpuHours;

impl VcpuMicros {
    /// None.
    pub const ZERO: Self = Self(0);

    /// From vCPU-microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// vCPU-microseconds.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The sum, unless it overflows.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Parses hours from a JSON string: digits and at most one point. Floors to whole units.
    pub fn parse_text(text: &str) -> Result<Self, InvalidVcpuHours> {
        if text.bytes().any(|b| !(b.is_ascii_digit() || b == b'.')) {
            return Err(InvalidVcpuHours);
        }
        Self::parse_number(text)
    }

    /// Parses hours from the raw text of a JSON number, exponent allowed. Floors to whole units.
    pub fn parse_number(raw: &str) -> Result<Self, InvalidVcpuHours> {
        if raw.len() > VCPU_HOURS_CHARS_MAX {
            return Err(InvalidVcpuHours);
        }
        let (mantissa, exponent) = split_exponent(raw).ok_or(InvalidVcpuHours)?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let digits = format!("{whole}{fraction}");
        let shape =
            !whole.is_empty() && !fraction.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !shape {
            return Err(InvalidVcpuHours);
        }
        let fraction_digits = i64::try_from(fraction.len()).map_err(|_| InvalidVcpuHours)?;
        micros_of_hours(&digits, exponent - fraction_digits).ok_or(InvalidVcpuHours)
    }
}

/// `digits * 10^exponent` hours in whole microseconds, rounded down; none beyond the limit.
fn micros_of_hours(digits: &str, exponent: i64) -> Option<VcpuMicros> {
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(VcpuMicros::ZERO);
    }
    let magnitude = i64::try_from(significant.len()).ok()? + exponent;
    if magnitude > 10 {
        return None;
    }
    if magnitude < -10 {
        return Some(VcpuMicros::ZERO);
    }
    // At most 10 digits stand before the point and the first 25 decide: the 26th weighs less than
    // 10^-15 hours, and dropping digits only ever rounds down.
    let kept = &significant[..significant.len().min(25)];
    let dropped = i64::try_from(significant.len() - kept.len()).ok()?;
    let value: u128 = kept.parse().ok()?;
    let (exponent, scaled) = (
        exponent + dropped,
        value.checked_mul(MICROS_PER_HOUR.into())?,
    );
    let power = 10_u128.checked_pow(u32::try_from(exponent.unsigned_abs()).ok()?)?;
    let micros = if exponent >= 0 {
        scaled.checked_mul(power)?
    } else {
        scaled / power
    };
    if micros > VCPU_HOURS_MAX * u128::from(MICROS_PER_HOUR) {
        return None;
    }
    u64::try_from(micros).ok().map(VcpuMicros)
}

/// Mantissa and exponent of a JSON number without sign.
fn split_exponent(raw: &str) -> Option<(&str, i64)> {
    let Some(at) = raw.find(['e', 'E']) else {
        return Some((raw, 0));
    };
    let text = &raw[at + 1..];
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let shape = (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    shape
        .then(|| text.strip_prefix('+').unwrap_or(text).parse().ok())?
        .map(|exponent| (&raw[..at], exponent))
}

/// `whole.fraction` times `10^decimals`; the fraction has no more digits than that.
fn scaled(whole: &str, fraction: &str, decimals: u32) -> Option<u128> {
    let missing = decimals.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    let fraction: u128 = fraction.parse().ok()?;
    let whole: u128 = whole.parse().ok()?;
    Some(whole * 10_u128.pow(decimals) + fraction * 10_u128.pow(missing))
}

/// `digits * 10^exponent`, exact or none; none also beyond 18 digits.
fn shifted(digits: &str, exponent: i64) -> Option<u128> {
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let bare = significant.trim_end_matches('0');
    let exponent = exponent + i64::try_from(significant.len() - bare.len()).ok()?;
    if exponent < 0 || bare.len() > 18 || exponent > 18 {
        return None;
    }
    let power = 10_u128.checked_pow(u32::try_from(exponent).ok()?)?;
    bare.parse::<u128>().ok()?.checked_mul(power)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Option<i64> {
        MicroUsd::parse_text(text).ok().map(MicroUsd::micros)
    }

    fn number(raw: &str) -> Option<i64> {
        MicroUsd::parse_number(raw).ok().map(MicroUsd::micros)
    }

    #[test]
    fn amounts_are_plain_decimals() {
        for (good, micros) in [
            ("0", 0),
            ("1", 1_000_000),
            ("12.345678", 12_345_678),
            ("0.000001", 1),
            ("007.10", 7_100_000),
            ("1000000000", AMOUNT_MAX_MICRO_USD),
        ] {
            assert_eq!(text(good), Some(micros), "{good}");
            assert_eq!(number(good), Some(micros), "{good}");
        }
        assert_eq!(number("1.5e2"), Some(150_000_000));
        assert_eq!(number("1E-6"), Some(1));
        assert_eq!(
            number("10.00000000"),
            Some(10_000_000),
            "no decimal is lost"
        );
    }

    #[test]
    fn odd_numbers_are_no_amounts() {
        for bad in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            " 1",
            "1 ",
            "1_000",
            "1,5",
            "NaN",
            "nan",
            "inf",
            "Infinity",
            "0x10",
            "١",
            "１",
            "1.1234567",
            "1e-7",
            "1e30",
            "1000000000.000001",
            "10000000000",
            "99999999999",
            "1e",
            "e1",
            "1e99999",
            "1.2.3",
            "1e1.5",
        ] {
            assert_eq!(text(bad), None, "{bad}");
            assert_eq!(number(bad), None, "{bad}");
        }
        assert_eq!(text("1e2"), None, "an exponent is for numbers only");
    }

    #[test]
    fn old_cents_are_floored() {
        let cents = |micros| MicroUsd::from_micros(micros).cents_floor();
        assert_eq!(
            [cents(0), cents(9_999), cents(10_000), cents(-1)],
            [0, 0, 1, -1]
        );
        assert_eq!(MicroUsd::from_micros(-7).to_string(), "-7");
    }

    #[test]
    fn what_moves_is_positive_and_bounded() {
        let amount = |micros| Amount::new(MicroUsd::from_micros(micros)).map(Amount::micros);
        assert_eq!(amount(0), None);
        assert_eq!(amount(-1), None);
        assert_eq!(amount(AMOUNT_MAX_MICRO_USD + 1), None);
        assert_eq!(amount(AMOUNT_MAX_MICRO_USD), Some(AMOUNT_MAX_MICRO_USD));
        assert_eq!(Price::new(MicroUsd::ZERO).map(Price::micros), Some(0));
    }

    #[test]
    fn hours_are_floored_to_microseconds() {
        let hours = |raw| VcpuMicros::parse_number(raw).ok().map(VcpuMicros::micros);
        assert_eq!(hours("1"), Some(3_600_000_000));
        assert_eq!(hours("0.016666666666666666"), Some(59_999_999));
        assert_eq!(hours("0.000001"), Some(3_600));
        assert_eq!(hours("2.7e-10"), Some(0));
        assert_eq!(hours("2.8e-10"), Some(1));
        assert_eq!(
            hours("0.333333333333333333333333333333333333"),
            Some(1_199_999_999)
        );
        assert_eq!(hours("1e9"), Some(3_600_000_000_000_000_000));
        assert_eq!(hours("0e9999"), Some(0));
        for bad in [
            "",
            "-1",
            "NaN",
            "1e30",
            "1000000001",
            "1.",
            ".1",
            "1_0",
            "٣",
            "0.33333333333333333333333333333333333333333",
        ] {
            assert_eq!(hours(bad), None, "{bad}");
        }
        assert!(VcpuMicros::parse_text("1e2").is_err());
        assert_eq!(
            VcpuMicros::parse_text("0.5").map(VcpuMicros::micros),
            Ok(1_800_000_000)
        );
    }

    #[test]
    fn what_is_locked_covers_what_is_charged() {
        let price = Price::new(MicroUsd::from_micros(3_500)).expect("a price");
        let used = VcpuMicros::from_micros(514_285_714);
        assert_eq!((price.need(used), price.charge(used)), (500, 499));
    }

    proptest! {
        #[test]
        fn no_text_panics(raw in "[-+0-9.eE_ ]{0,45}|\\PC{0,45}") {
            let _ = (text(&raw), number(&raw));
            let _ = (VcpuMicros::parse_text(&raw), VcpuMicros::parse_number(&raw));
        }

        #[test]
        fn what_is_printed_with_six_decimals_reads_back(micros in 0..AMOUNT_MAX_MICRO_USD) {
            let printed = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            prop_assert_eq!(text(&printed), Some(micros));
            prop_assert_eq!(number(&printed), Some(micros));
        }
    }
}
