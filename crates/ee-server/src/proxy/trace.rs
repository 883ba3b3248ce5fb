//! `traceparent` (W3C Trace Context, level 1): a client's trace goes on, a new one begins where
//! there is none that can.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::entropy;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What vendors add to a trace; it means nothing without it.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// `00-<32 hex>-<16 hex>-<2 hex>`; later versions may add to it.
const LENGTH: usize = 55;

/// Leaves exactly one good trace.
pub fn continue_or_begin(headers: &mut HeaderMap) {
    let mut sent = headers.get_all(TRACEPARENT).iter();
    let good = sent
        .next()
        .is_some_and(|value| is_trace(value.as_bytes()) && sent.next().is_none());
    if !good {
        headers.remove(TRACESTATE);
        headers.insert(TRACEPARENT, fresh());
    }
}

/// Sections 3.2.1 to 3.2.3 of the recommendation: lower-case hexadecimal, no zero ids.
fn is_trace(value: &[u8]) -> bool {
    let lower_hex = |bytes: &[u8]| {
        let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        bytes.iter().all(digit)
    };
    let id = |bytes: &[u8]| lower_hex(bytes) && bytes.iter().any(|byte| *byte != b'0');
    if value.len() < LENGTH || [value[2], value[35], value[52]] != *b"---" {
        return false;
    }
    let version = &value[..2];
    let fits = match version {
        b"00" => value.len() == LENGTH,
        b"ff" => false,
        _ => value.len() == LENGTH || value[LENGTH] == b'-',
    };
    fits && lower_hex(version)
        && id(&value[3..35])
        && id(&value[36..52])
        && lower_hex(&value[53..LENGTH])
}

/// A new trace, sampled by whoever stands behind us.
fn fresh() -> HeaderValue {
    let mut ids = [0_u8; 24];
    entropy::fill(&mut ids);
    let (trace, span) = ids.split_at(16);
    let mut text = *b"00-________________________________-________________-00";
    hex::encode_to_slice(trace, &mut text[3..35]).expect("two digits for each byte");
    hex::encode_to_slice(span, &mut text[36..52]).expect("two digits for each byte");
    let mut value = HeaderValue::from_bytes(&text).expect("hexadecimal digits");
    // HPACK's table of recent fields must not fill with values that no other request has.
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn kept(values: &[&str]) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
        for value in values {
            headers.append(TRACEPARENT, value.parse().expect("a value"));
        }
        continue_or_begin(&mut headers);
        let left: Vec<_> = headers.get_all(TRACEPARENT).iter().collect();
        assert_eq!(left.len(), 1, "{values:?}");
        assert!(is_trace(left[0].as_bytes()), "{left:?}");
        (
            left[0] == values.first().copied().unwrap_or_default(),
            headers.contains_key(TRACESTATE),
        )
    }

    #[test]
    fn a_good_trace_goes_on_and_others_begin_anew() {
        assert_eq!(kept(&[GOOD]), (true, true));
        assert_eq!(kept(&[&GOOD.replacen("00", "01", 1)]), (true, true));
        assert_eq!(
            kept(&[&(GOOD.replacen("00", "cc", 1) + "-more")]),
            (true, true)
        );
        for bad in [
            "",
            "x",
            &GOOD.to_uppercase(),
            &GOOD[..54],
            &(GOOD.to_owned() + "-more"),
            &(GOOD.replacen("00", "cc", 1) + "more"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace("-01", "-0x"),
            &GOOD.replace('-', "_"),
        ] {
            assert_eq!(kept(&[bad]), (false, false), "{bad}");
        }
        assert_eq!(kept(&[]), (false, false));
        assert!(!kept(&[GOOD, GOOD]).1, "two are none");
    }
}
