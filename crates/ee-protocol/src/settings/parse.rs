//! Parsers for values of settings. Each error says what would have been right.

use std::{ops::RangeInclusive, time::Duration};

/// Any text that is not empty (the reader never hands over empty text).
pub fn present(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// `true` or `false`; `1`, `0`, `yes`, `no`, `on`, `off` are accepted too.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("'{text}' is neither true nor false")),
    }
}

/// A whole number within the range.
pub fn integer(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<u64, String> {
    move |text| match text.parse::<u64>() {
        Ok(number) if range.contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(format!(
            "'{text}' is not a whole number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

/// A whole number of seconds within the range.
pub fn seconds(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<Duration, String> {
    let parse = integer(range);
    move |text| parse(text).map(Duration::from_secs)
}

/// Values separated by commas, each parsed by `item`; empty items are skipped.
pub fn comma_list<T>(
    item: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Vec<T>, String> {
    move |text| {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(&item)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_are_refused_with_the_range() {
        assert_eq!(integer(1..=10)("10"), Ok(10));
        for bad in ["0", "11", "-1", "1.5", "ten"] {
            let message = integer(1..=10)(bad).expect_err(bad);
            assert!(message.contains("from 1 to 10"), "{message}");
        }
    }

    #[test]
    fn lists_skip_blanks_and_name_the_bad_item() {
        assert_eq!(comma_list(integer(0..=9))(" 1, ,2"), Ok(vec![1, 2]));
        assert!(
            comma_list(integer(0..=9))("1,x")
                .expect_err("x")
                .contains("'x'")
        );
    }

    #[test]
    fn truth_has_few_spellings() {
        assert_eq!(boolean("TRUE"), Ok(true));
        assert_eq!(boolean("off"), Ok(false));
        assert!(boolean("maybe").is_err());
    }
}
