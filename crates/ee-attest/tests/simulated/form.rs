//! Stage 3: form.

use ee_attest::{DebugTds, ParsedQuote};
use ee_testbed::{
    quote::{QuoteVersion, padded},
    td::Td,
};

use crate::rig::{bundle, good, now, quote, reason, verifier, verify};

fn form(bytes: &[u8]) -> String {
    reason(ParsedQuote::parse(bytes, DebugTds::Refused))
}

#[test]
fn every_truncation_is_malformed() {
    for version in QuoteVersion::ALL {
        let bytes = quote(&good(), version);
        assert_eq!(form(&bytes), "pass");
        for end in 0..bytes.len() {
            assert_eq!(
                form(&bytes[..end]),
                "quote_malformed",
                "{version:?} cut at {end}"
            );
        }
    }
}

#[test]
fn zero_padding_is_cut_and_other_trailing_bytes_are_refused() {
    for version in QuoteVersion::ALL {
        let bytes = quote(&good(), version);
        let mut padded = padded(bytes.clone(), 3_000);
        let parsed = ParsedQuote::parse(&padded, DebugTds::Refused).expect("padding is cut");
        assert_eq!(parsed.bytes(), bytes);
        assert_eq!(verify(&good(), &padded), verify(&good(), &bytes));
        let last = padded.len() - 1;
        padded[last] = 1;
        assert_eq!(form(&padded), "quote_trailing_data");
    }
}

#[test]
fn respelled_quotes_have_one_identity() {
    let bytes = quote(&good(), QuoteVersion::V4);
    let padded = padded(bytes.clone(), 64);
    let digest = |bytes: &[u8]| {
        *ParsedQuote::parse(bytes, DebugTds::Refused)
            .expect("a quote")
            .evidence_digest()
    };
    assert_eq!(digest(&padded), digest(&bytes));
    let mut respelled = bytes.clone();
    let last = respelled.len() - 1;
    respelled[last] = if respelled[last] == b'\n' {
        b' '
    } else {
        b'\n'
    };
    assert_eq!(digest(&respelled), digest(&bytes));
}

#[test]
fn debug_td_is_refused() {
    let td = Td::default().with_attribute_bit(0);
    for version in QuoteVersion::ALL {
        let bytes = good().quote(&td, version, &[0; 64]);
        assert_eq!(reason(verify(&good(), &bytes)), "td_debug");
        let allowed = verifier(&good()).with_debug_tds(DebugTds::Allowed);
        assert_eq!(
            reason(allowed.verify_quote(&bytes, &bundle(&good()), now())),
            "pass"
        );
    }
}

#[test]
fn attribute_bits_that_no_policy_can_allow_are_refused() {
    for bit in [1, 4, 5, 6, 8, 17, 23, 28, 29, 32, 61] {
        let td = Td::default().with_attribute_bit(bit);
        let bytes = good().quote(&td, QuoteVersion::V4, &[0; 64]);
        assert_eq!(form(&bytes), "td_attributes_forbidden", "bit {bit}");
    }
}

#[test]
fn service_tds_are_refused() {
    let td = Td {
        mr_service_td: [1; 48],
        ..Td::default()
    };
    for version in [QuoteVersion::V5Td15, QuoteVersion::V5Td15Ex] {
        let bytes = good().quote(&td, version, &[0; 64]);
        assert_eq!(form(&bytes), "service_td_forbidden");
    }
}

#[test]
fn other_formats_are_unsupported() {
    let change = |at: usize, value: u8| {
        let mut bytes = quote(&good(), QuoteVersion::V5Td15);
        bytes[at] = value;
        form(&bytes)
    };
    assert_eq!(change(0, 3), "quote_unsupported");
    assert_eq!(change(0, 6), "quote_unsupported");
    assert_eq!(change(2, 3), "quote_unsupported");
    assert_eq!(change(4, 0), "quote_unsupported");
    assert_eq!(change(12, 0), "quote_unsupported");
    assert_eq!(change(48, 1), "quote_unsupported");
    assert_eq!(change(50, 0), "quote_malformed");
}

#[test]
fn announced_lengths_are_never_believed() {
    for version in QuoteVersion::ALL {
        let good_bytes = quote(&good(), version);
        let end = match version {
            QuoteVersion::V4 => 632,
            QuoteVersion::V5Td10 => 638,
            QuoteVersion::V5Td15 => 702,
            QuoteVersion::V5Td15Ex => 939,
        };
        for at in [
            end,
            end + 4 + 128 + 2,
            end + 4 + 128 + 6 + 384 + 64 + 2 + 32 + 2,
        ] {
            for wrong in [0_u32, 1, 1_000, 0x7fff_ffff, u32::MAX] {
                let mut bytes = good_bytes.clone();
                bytes[at..at + 4].copy_from_slice(&wrong.to_le_bytes());
                assert_eq!(form(&bytes), "quote_malformed", "{version:?} {at} {wrong}");
            }
        }
    }
}
