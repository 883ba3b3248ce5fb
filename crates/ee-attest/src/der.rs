//! The little DER that collateral and PCK certificates need: dates, extensions, CRL numbers.
//!
//! Only a reader, and only for what dcap-qvl does not hand out cheaply. Nothing found here is
//! trusted before webpki and dcap-qvl have verified the same bytes.

use ee_protocol::time::Timestamp;

use crate::window::Window;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const CRL_EXTENSIONS: u8 = 0xa0;
const CERTIFICATE_EXTENSIONS: u8 = 0xa3;

/// 1.2.840.113741.1.13.1, Intel's SGX extension of PCK certificates.
pub(crate) const SGX_EXTENSION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];
/// 2.5.29.20, the number of a CRL.
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];

/// One element: its tag, its content, and all of it as encoded.
#[derive(Clone, Copy)]
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

/// Reads elements one after the other.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<Element<'a>> {
        let all = self.0;
        let (&tag, rest) = all.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            long_length(first, rest)?
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Element {
            tag,
            content,
            whole: &all[..all.len() - rest.len()],
        })
    }

    fn expect(&mut self, tag: u8) -> Option<Reader<'a>> {
        let element = self.next()?;
        (element.tag == tag).then_some(Reader(element.content))
    }

    fn peek_tag(&self) -> Option<u8> {
        self.0.first().copied()
    }
}

/// Lengths of more than 127 bytes: up to three bytes of length, which is 16 MiB.
fn long_length(first: u8, rest: &[u8]) -> Option<(usize, &[u8])> {
    let count = usize::from(first & 0x7f);
    if !(1..=3).contains(&count) {
        return None;
    }
    let (bytes, rest) = rest.split_at_checked(count)?;
    let length = bytes
        .iter()
        .fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
    Some((length, rest))
}

/// The fields of a certificate that we read ourselves.
pub(crate) struct Certificate<'a> {
    /// From `notBefore` until `notAfter`, which we count as the first moment outside.
    pub(crate) validity: Window,
    /// The issuer's name as encoded.
    pub(crate) issuer: &'a [u8],
    /// The subject's name as encoded.
    pub(crate) subject: &'a [u8],
    /// Algorithm and key, without the sequence around them: the form that webpki takes.
    pub(crate) public_key_info: &'a [u8],
    /// The bytes that the issuer signed.
    pub(crate) signed: &'a [u8],
    /// The issuer's signature, in DER.
    pub(crate) signature: &'a [u8],
    extensions: Reader<'a>,
}

impl<'a> Certificate<'a> {
    /// Reads a certificate; `None` if it is none.
    pub(crate) fn read(der: &'a [u8]) -> Option<Self> {
        let mut certificate = Reader(der).expect(SEQUENCE)?;
        let signed = certificate
            .next()
            .filter(|element| element.tag == SEQUENCE)?;
        certificate.expect(SEQUENCE)?;
        let signature = bits(certificate)?;
        let mut tbs = Reader(signed.content);
        if tbs.peek_tag()? == VERSION {
            tbs.next()?;
        }
        tbs.expect(INTEGER)?;
        tbs.expect(SEQUENCE)?;
        let issuer = tbs.expect(SEQUENCE)?.0;
        let mut validity = tbs.expect(SEQUENCE)?;
        let validity = Window {
            from: time(validity.next()?)?,
            until: time(validity.next()?)?,
        };
        let subject = tbs.expect(SEQUENCE)?.0;
        let public_key_info = tbs.expect(SEQUENCE)?.0;
        let mut extensions = Reader(&[]);
        while let Some(element) = tbs.next() {
            if element.tag == CERTIFICATE_EXTENSIONS {
                extensions = Reader(element.content).expect(SEQUENCE)?;
            }
        }
        let signed = signed.whole;
        Some(Self {
            validity,
            issuer,
            subject,
            public_key_info,
            signed,
            signature,
            extensions,
        })
    }

    /// Intel's SGX extension, of PCK certificates only.
    pub(crate) fn sgx_extension(&self) -> Option<SgxValues<'a>> {
        let values = Reader(extension(self.extensions, SGX_EXTENSION)?).expect(SEQUENCE)?;
        Some(SgxValues(values))
    }
}

/// Values under object ids below that of Intel's SGX extension.
#[derive(Clone, Copy)]
pub(crate) struct SgxValues<'a>(Reader<'a>);

impl<'a> SgxValues<'a> {
    /// The first value whose id ends in `tail`.
    pub(crate) fn get(mut self, tail: &[u8]) -> Option<&'a [u8]> {
        while let Some(entry) = self.0.next() {
            let mut entry = Reader(entry.content);
            let (name, value) = (entry.next()?, entry.next()?);
            if name.content.strip_prefix(SGX_EXTENSION) == Some(tail) {
                return Some(value.content);
            }
        }
        None
    }

    /// The values inside the value whose id ends in `tail`.
    pub(crate) fn inside(self, tail: &[u8]) -> Option<Self> {
        self.get(tail).map(|content| Self(Reader(content)))
    }
}

/// The key in a `public_key_info`.
pub(crate) fn public_key(info: &[u8]) -> Option<&[u8]> {
    let mut info = Reader(info);
    info.expect(SEQUENCE)?;
    bits(info)
}

/// A bit string of whole bytes.
fn bits(mut reader: Reader<'_>) -> Option<&[u8]> {
    let (unused, bytes) = reader.expect(BIT_STRING)?.0.split_first()?;
    (*unused == 0).then_some(bytes)
}

/// The dates and the number of a certificate revocation list.
pub(crate) struct RevocationList<'a> {
    /// The issuer's name as encoded.
    pub(crate) issuer: &'a [u8],
    /// From `thisUpdate` until `nextUpdate`.
    pub(crate) validity: Window,
    /// The CRL number; 0 if it has none.
    pub(crate) number: u64,
}

impl<'a> RevocationList<'a> {
    /// Reads a list; `None` if it is none or names no next update.
    pub(crate) fn read(der: &'a [u8]) -> Option<Self> {
        let mut tbs = Reader(der).expect(SEQUENCE)?.expect(SEQUENCE)?;
        if tbs.peek_tag()? == INTEGER {
            tbs.next()?;
        }
        tbs.expect(SEQUENCE)?;
        let issuer = tbs.expect(SEQUENCE)?.0;
        let validity = Window {
            from: time(tbs.next()?)?,
            until: time(tbs.next()?)?,
        };
        let mut number = 0;
        while let Some(element) = tbs.next() {
            if element.tag == CRL_EXTENSIONS {
                let extensions = Reader(element.content).expect(SEQUENCE)?;
                number = extension(extensions, CRL_NUMBER).map_or(Some(0), unsigned)?;
            }
        }
        Some(Self {
            issuer,
            validity,
            number,
        })
    }
}

/// The octets of the extension with this object id.
fn extension<'a>(mut extensions: Reader<'a>, oid: &[u8]) -> Option<&'a [u8]> {
    while let Some(entry) = extensions.next() {
        let mut entry = Reader(entry.content);
        let name = entry.expect(OBJECT_ID)?;
        if name.0 != oid {
            continue;
        }
        if entry.peek_tag()? == BOOLEAN {
            entry.next()?;
        }
        return entry.expect(OCTET_STRING).map(|octets| octets.0);
    }
    None
}

fn unsigned(der: &[u8]) -> Option<u64> {
    let content = Reader(der).expect(INTEGER)?.0;
    let significant = content.iter().skip_while(|byte| **byte == 0);
    if significant.clone().count() > 8 {
        return None;
    }
    Some(significant.fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

/// `YYMMDDHHMMSSZ` (1950-2049) or `YYYYMMDDHHMMSSZ`.
fn time(element: Element<'_>) -> Option<Timestamp> {
    let digits = element.content.strip_suffix(b"Z")?;
    let (century, digits) = match element.tag {
        UTC_TIME if digits.first()? >= &b'5' => (19, digits),
        UTC_TIME => (20, digits),
        GENERALIZED_TIME => {
            let (century, digits) = digits.split_at_checked(2)?;
            (two_digits(century)?, digits)
        }
        _ => return None,
    };
    let mut parts = [0; 6];
    if digits.len() != 2 * parts.len() {
        return None;
    }
    for (part, digits) in parts.iter_mut().zip(digits.chunks_exact(2)) {
        *part = two_digits(digits)?;
    }
    let [year, month, day, hour, minute, second] = parts;
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24;
    if !in_range || minute > 59 || second > 59 {
        return None;
    }
    let days = days_since_epoch(100 * century + year, month, day);
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(Timestamp::from_unix_seconds(seconds))
}

fn two_digits(digits: &[u8]) -> Option<i64> {
    let [tens, ones] = digits else { return None };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    Some(10 * digit(tens)? + digit(ones)?)
}

/// Days of the civil (Gregorian) calendar, counted in years that begin in March.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &[u8] = include_bytes!("../assets/intel-sgx-root-ca.der");

    #[test]
    fn dates_of_a_certificate_are_read() {
        let root = Certificate::read(ROOT).expect("a certificate");
        assert_eq!(root.validity.from.rfc3339_seconds(), "2018-05-21T10:45:10Z");
        assert_eq!(
            root.validity.until.rfc3339_seconds(),
            "2049-12-31T23:59:59Z"
        );
        assert!(root.sgx_extension().is_none());
    }

    #[test]
    fn times_agree_with_rfc_3339() {
        let read = |tag, text: &str| {
            let content = text.as_bytes();
            time(Element {
                tag,
                content,
                whole: content,
            })
            .map(Timestamp::rfc3339_seconds)
        };
        for (text, expected) in [
            ("20240229235959Z", "2024-02-29T23:59:59Z"),
            ("20000301000000Z", "2000-03-01T00:00:00Z"),
            ("19700101000000Z", "1970-01-01T00:00:00Z"),
            ("20991231010203Z", "2099-12-31T01:02:03Z"),
        ] {
            assert_eq!(read(GENERALIZED_TIME, text).as_deref(), Some(expected));
        }
        assert_eq!(
            read(UTC_TIME, "491231000000Z").as_deref(),
            Some("2049-12-31T00:00:00Z")
        );
        assert_eq!(
            read(UTC_TIME, "700101000000Z").as_deref(),
            Some("1970-01-01T00:00:00Z")
        );
        for junk in [
            "",
            "Z",
            "2401010000Z",
            "240101000000",
            "24010100000xZ",
            "241301000000Z",
        ] {
            assert_eq!(read(UTC_TIME, junk), None, "{junk}");
        }
    }

    #[test]
    fn every_truncation_of_a_certificate_is_survived() {
        for end in 0..ROOT.len() {
            assert!(Certificate::read(&ROOT[..end]).is_none(), "{end}");
        }
    }

    #[test]
    fn lengths_beyond_the_input_are_refused() {
        assert!(Reader(&[SEQUENCE, 0x84, 1, 1, 1, 1]).next().is_none());
        assert!(Reader(&[SEQUENCE, 0x82, 0xff, 0xff, 0]).next().is_none());
        assert!(Reader(&[SEQUENCE, 0x80]).next().is_none());
    }
}
