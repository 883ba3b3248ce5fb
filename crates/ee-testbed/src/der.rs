//! The few DER forms that the PCK extension needs (ITU-T X.690); lengths up to 65 535.

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const BOOLEAN: u8 = 0x01;

/// `SEQUENCE` of encoded items.
pub fn sequence(items: &[Vec<u8>]) -> Vec<u8> {
    tag_length_value(SEQUENCE, &items.concat())
}

/// `INTEGER`, not negative.
pub fn integer(value: u16) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    match bytes {
        [0, low] if low < 0x80 => tag_length_value(INTEGER, &[low]),
        [high, _] if high < 0x80 => tag_length_value(INTEGER, &bytes),
        [high, low] => tag_length_value(INTEGER, &[0, high, low]),
    }
}

/// `OCTET STRING`.
pub fn octet_string(bytes: &[u8]) -> Vec<u8> {
    tag_length_value(OCTET_STRING, bytes)
}

/// `OBJECT IDENTIFIER` from its encoded arcs.
pub fn object_identifier(arcs: &[u8]) -> Vec<u8> {
    tag_length_value(OBJECT_IDENTIFIER, arcs)
}

/// `ENUMERATED` of one byte.
pub fn enumerated(value: u8) -> Vec<u8> {
    tag_length_value(ENUMERATED, &[value])
}

/// `BOOLEAN`.
pub fn boolean(value: bool) -> Vec<u8> {
    tag_length_value(BOOLEAN, &[if value { 0xff } else { 0 }])
}

fn tag_length_value(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("the extension is far below 64 KiB");
    let [high, low] = length.to_be_bytes();
    let mut out = Vec::with_capacity(value.len() + 4);
    out.push(tag);
    match length {
        0..0x80 => out.push(low),
        0x80..0x100 => out.extend([0x81, low]),
        0x100.. => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_their_sign_bit_clear() {
        assert_eq!(integer(0), [2, 1, 0]);
        assert_eq!(integer(0x7f), [2, 1, 0x7f]);
        assert_eq!(integer(0xff), [2, 2, 0, 0xff]);
        assert_eq!(integer(0x1234), [2, 2, 0x12, 0x34]);
        assert_eq!(integer(0xff00), [2, 3, 0, 0xff, 0]);
    }

    #[test]
    fn long_values_use_the_long_form_of_the_length() {
        assert_eq!(octet_string(&[0; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(octet_string(&[0; 0x100])[..4], [4, 0x82, 1, 0]);
    }
}
