//! Amounts as people read them: dollars, from the API's decimal strings of millionths.

/// Fewest decimals of an amount.
const AMOUNT_DECIMALS: usize = 2;
/// Fewest decimals of a price, which is often below a cent.
const PRICE_DECIMALS: usize = 3;
/// Decimals of a millionth.
const DECIMALS: usize = 6;

/// `$25.00`, `$0.000667`, `-$1.50`; what is no number is shown as it came.
pub fn dollars(micro_usd: &str) -> String {
    shown(micro_usd, AMOUNT_DECIMALS)
}

/// `$0.040`: a price for a vCPU-hour.
pub fn price(micro_usd: &str) -> String {
    shown(micro_usd, PRICE_DECIMALS)
}

fn shown(micro_usd: &str, decimals_min: usize) -> String {
    let (sign, digits) = match micro_usd.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", micro_usd),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return micro_usd.to_owned();
    }
    let padded = format!("{digits:0>width$}", width = DECIMALS + 1);
    let (whole, fraction) = padded.split_at(padded.len() - DECIMALS);
    let kept = fraction.trim_end_matches('0').len().max(decimals_min);
    format!("{sign}${whole}.{}", &fraction[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_every_millionth_and_no_idle_zero() {
        for (micros, expect) in [
            ("0", "$0.00"),
            ("25000000", "$25.00"),
            ("667", "$0.000667"),
            ("1", "$0.000001"),
            ("40000", "$0.04"),
            ("-1500000", "-$1.50"),
            ("", ""),
            ("NaN", "NaN"),
        ] {
            assert_eq!(dollars(micros), expect, "{micros}");
        }
        assert_eq!(price("40000"), "$0.040");
        assert_eq!(price("3500"), "$0.0035");
    }
}
