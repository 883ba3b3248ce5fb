//! Amounts, prices and vCPU-hours: read twice, the second time digit by digit.

use ee_protocol::money::{Amount, MicroUsd, Price, VcpuMicros};

use super::text;
use crate::{Target, seeds};

pub const TARGET: Target = Target {
    name: "money",
    about: "amounts of money and vCPU-hours, as strings and as JSON numbers",
    run,
    seeds: amounts,
    longest: 64,
    floor: 150,
};

fn amounts() -> Vec<Vec<u8>> {
    seeds::texts(&[
        "1",
        "0.01",
        "25.000001",
        "1e3",
        "1.5E-6",
        "0.0000001",
        "1e30",
        "-1",
        "NaN",
        "1e999",
        "0",
        "9999999999.999999",
        "00.10",
        "1_000",
        "\u{661}",
        "340282366920938463463374607431768211456",
        "100000000000000000000e-20",
        "1000000000",
        "0e99999999999999999999",
    ])
}

fn run(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let as_text = MicroUsd::parse_text(text).ok();
    let as_number = MicroUsd::parse_number(text).ok();
    assert!(as_text.is_none_or(|money| naive(text, 6) == Some(i128::from(money.micros()))));
    assert!(as_number.is_none_or(|money| naive(text, 6) == Some(i128::from(money.micros()))));
    if let (Some(one), Some(other)) = (as_text, as_number) {
        assert_eq!(one, other, "a string and a number mean the same");
    }
    for money in [as_text, as_number].into_iter().flatten() {
        assert!(
            (0..=1_000_000_000_000_000).contains(&money.micros()),
            "{money}"
        );
        assert_eq!(Amount::new(money).is_some(), money.micros() > 0);
        assert!(Price::new(money).is_some());
        assert!(money.cents_floor() * 10_000 <= money.micros());
    }
    for (used, read) in [
        (VcpuMicros::parse_text(text).ok(), as_text),
        (VcpuMicros::parse_number(text).ok(), as_number),
    ] {
        // An hour is 3 600 million of them: hours read as dollars are exact there.
        if let (Some(used), Some(hours)) = (used, read) {
            let expected = i128::from(hours.micros()) * 3_600;
            assert_eq!(i128::from(used.micros()), expected, "{text}");
        }
    }
}

/// The value times 10^`decimals`, if that is a whole number below 10^30.
fn naive(text: &str, decimals: i32) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let mut place = i64::try_from(whole.len()).ok()? + exponent + i64::from(decimals);
    let mut value: i128 = 0;
    for digit in digits {
        let digit = i128::from(char::from(digit).to_digit(10)?);
        place -= 1;
        if place < 0 && digit != 0 {
            return None;
        }
        if place >= 0 {
            value = value.checked_mul(10)?.checked_add(digit)?;
        }
    }
    for _ in 0..place.max(0) {
        if value == 0 {
            break;
        }
        value = value.checked_mul(10)?;
    }
    Some(value)
}
