//! One request's head, read strictly, line by line as its bytes arrive (RFC 9112 sections 2 to 6).
//!
//! Only what decides where the head and its body end is looked at; what the fields mean is read
//! later, from what hyper makes of them.

use http::Uri;

use super::fault::Fault;

/// Public header block (TUNNEL 10).
pub const HEAD_MAX_BYTES: usize = 64 * 1024;
/// Header fields of one request (TUNNEL 10).
pub const FIELDS_MAX: usize = 128;

/// What follows a head, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; none without a word about it.
    Length(u64),
    /// Chunks (RFC 9112 7.1).
    Chunked,
}

/// A head that can be read in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its body.
    pub framing: Framing,
    /// Whether what follows the body may be another protocol: that depends on the answer.
    pub asks_upgrade: bool,
}

/// A head of which the end has not come yet.
#[derive(Debug, Default)]
pub struct HeadReader {
    /// Bytes that need not be looked at again, all of them part of whole lines or of `line`.
    seen: usize,
    /// Where the unfinished line begins.
    line_at: usize,
    begun: bool,
    is_http_11: bool,
    fields: usize,
    length: Option<u64>,
    chunked: bool,
    asks_upgrade: bool,
}

impl HeadReader {
    /// Reads on; `bytes` begin with the head's first byte. The head and its length once it is
    /// whole. Each byte is looked at a bounded number of times however slowly they arrive.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<(Head, usize)>, Fault> {
        while let Some(offset) = position(b'\n', &bytes[self.seen..]) {
            let end = self.seen + offset;
            let line = bytes[self.line_at..end].strip_suffix(b"\r");
            let line = line.ok_or(Fault::LineEnd)?;
            self.seen = end + 1;
            self.line_at = self.seen;
            if self.seen > HEAD_MAX_BYTES {
                return Err(Fault::TooLarge);
            }
            if !line.is_empty() {
                self.line(line)?;
            } else if self.begun {
                return Ok(Some((self.finish()?, self.seen)));
            }
        }
        self.seen = bytes.len();
        if self.seen >= HEAD_MAX_BYTES {
            return Err(Fault::TooLarge);
        }
        Ok(None)
    }

    /// Empty lines before the first are skipped (RFC 9112 2.2).
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        if line.contains(&b'\r') {
            return Err(Fault::LineEnd);
        }
        if self.begun {
            return self.field(line);
        }
        self.begun = true;
        self.request_line(line)
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Fault::RequestLine);
        };
        let visible = target.iter().all(u8::is_ascii_graphic);
        self.is_http_11 = version == b"HTTP/1.1";
        let known = self.is_http_11 || version == b"HTTP/1.0";
        if !is_token(method) || target.is_empty() || !visible || !known {
            return Err(Fault::RequestLine);
        }
        if !is_target(target) {
            return Err(Fault::Target);
        }
        self.asks_upgrade = method == b"CONNECT";
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Fault> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Fault::Folded);
        }
        let colon = position(b':', line).ok_or(Fault::FieldName)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_token(name) {
            return Err(Fault::FieldName);
        }
        if !value.iter().all(|byte| is_value_byte(*byte)) {
            return Err(Fault::FieldValue);
        }
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return Err(Fault::TooMany);
        }
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.asks_upgrade |= self.is_http_11,
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.coding(value)?,
            _ => {}
        }
        Ok(())
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Fault> {
        let length = number(without_spaces(value)).ok_or(Fault::Length)?;
        if self.length.is_some_and(|before| before != length) {
            return Err(Fault::Lengths);
        }
        self.length = Some(length);
        Ok(())
    }

    /// Once, and without the white space that makes some readers overlook it.
    fn coding(&mut self, value: &[u8]) -> Result<(), Fault> {
        let chunked = without_spaces(value).eq_ignore_ascii_case(b"chunked");
        if self.chunked || !chunked || !self.is_http_11 {
            return Err(Fault::Coding);
        }
        self.chunked = true;
        Ok(())
    }

    fn finish(&self) -> Result<Head, Fault> {
        let framing = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Fault::LengthAndCoding),
            (true, None) => Framing::Chunked,
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        Ok(Head {
            framing,
            asks_upgrade: self.asks_upgrade,
        })
    }
}

/// Whether hyper takes a target, and as it stands: it would refuse what is no URI without a word,
/// and cut a fragment off. Most targets are paths of these bytes alone.
fn is_target(target: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-._~%?=&+,;:@!$'()*".contains(byte);
    if target.starts_with(b"/") && target.iter().all(plain) {
        return true;
    }
    !target.contains(&b'#') && Uri::try_from(target).is_ok()
}

fn position(wanted: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}

/// Digits alone, and no more than a body can have.
fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    u64::try_from(number).ok()
}

fn without_spaces(mut value: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = value {
        value = rest;
    }
    value
}

/// RFC 9110 5.6.2.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// RFC 9110 5.6.2.
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110 5.5: visible characters, space, tab, and bytes above ASCII.
pub fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n";

    fn read(text: &str) -> Result<Option<(Head, usize)>, Fault> {
        HeadReader::default().read(text.as_bytes())
    }

    fn fault(fields: &str) -> Option<Fault> {
        read(&format!("{GET}{fields}\r\n\r\n")).err()
    }

    #[test]
    fn a_head_tells_how_long_its_body_is() {
        let framing = |fields: &str| {
            let head = read(&format!("{GET}{fields}\r\n")).expect("good");
            head.expect("whole").0.framing
        };
        assert_eq!(framing(""), Framing::Length(0));
        assert_eq!(framing("content-LENGTH: 42\r\n"), Framing::Length(42));
        assert_eq!(
            framing("Content-Length:7\r\nContent-Length: 7 \r\n"),
            Framing::Length(7)
        );
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Framing::Chunked);
    }

    #[test]
    fn a_head_is_the_same_however_its_bytes_arrive() {
        let text = format!("\r\n{GET}Upgrade: x\r\nContent-Length: 3\r\n\r\nabc");
        let whole = read(&text).expect("good").expect("whole");
        assert_eq!(whole.1, text.len() - 3);
        assert!(whole.0.asks_upgrade);
        let mut reader = HeadReader::default();
        for end in 0..whole.1 {
            let none = reader.read(&text.as_bytes()[..end]).expect("good so far");
            assert_eq!(none, None, "{end}");
        }
        let last = reader.read(text.as_bytes()).expect("good");
        assert_eq!(last, Some(whole));
    }

    #[test]
    fn what_can_be_read_two_ways_is_refused() {
        for (fields, expected) in [
            ("Content-Length: 4\r\nContent-Length: 5", Fault::Lengths),
            ("Content-Length: 4, 4", Fault::Length),
            ("Content-Length: +4", Fault::Length),
            ("Content-Length: -0", Fault::Length),
            ("Content-Length: 0x4", Fault::Length),
            ("Content-Length:", Fault::Length),
            ("Content-Length: 99999999999999999999", Fault::Length),
            ("Content-Length:\t4", Fault::Length),
            (
                "Content-Length: 4\r\nTransfer-Encoding: chunked",
                Fault::LengthAndCoding,
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 0",
                Fault::LengthAndCoding,
            ),
            ("Transfer-Encoding: identity", Fault::Coding),
            ("Transfer-Encoding: chunked, gzip", Fault::Coding),
            ("Transfer-Encoding: gzip, chunked", Fault::Coding),
            ("Transfer-Encoding: xchunked", Fault::Coding),
            ("Transfer-Encoding: chunked,", Fault::Coding),
            ("Transfer-Encoding:\tchunked", Fault::Coding),
            ("Transfer-Encoding: chunked\t", Fault::Coding),
            ("Transfer-Encoding: \u{b}chunked", Fault::FieldValue),
            ("Transfer-Encoding:", Fault::Coding),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                Fault::Coding,
            ),
            ("X: a\r\n b", Fault::Folded),
            ("X: a\r\n\tb", Fault::Folded),
            ("X : a", Fault::FieldName),
            ("X\t: a", Fault::FieldName),
            (": a", Fault::FieldName),
            ("X", Fault::FieldName),
            ("X: a\0", Fault::FieldValue),
            ("X: a\u{7f}", Fault::FieldValue),
            ("X: a\nY: b", Fault::LineEnd),
            ("X: a\rY: b", Fault::LineEnd),
            ("X: a\r\r\nY: b", Fault::LineEnd),
        ] {
            assert_eq!(fault(fields), Some(expected), "{fields:?}");
        }
    }

    #[test]
    fn a_first_line_has_three_words() {
        for line in [
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET /\tHTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET / HTTP/1.2",
            "GET / http/1.1",
            "GET /",
            "G(T / HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "\u{16}\u{3}\u{1}",
        ] {
            let read = read(&format!("{line}\r\nHost: a\r\n\r\n"));
            assert_eq!(read.err(), Some(Fault::RequestLine), "{line:?}");
        }
        for target in [
            "/a<b", "/a>b", "/a`b", "/a#b", "//#", "a/b", "http://", "?x", "/\\<",
        ] {
            let read = read(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(read.err(), Some(Fault::Target), "{target:?}");
        }
        for target in [
            "/",
            "*",
            "/a%zz?b=[c]|d",
            "/{x}\"^",
            "http://a/b",
            "a:443",
            "//a",
        ] {
            let read = read(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert!(read.is_ok(), "{target:?}");
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(read(old).err(), Some(Fault::Coding));
        let folded = "GET / HTTP/1.1\r\n Host: a\r\n\r\n";
        assert_eq!(read(folded).err(), Some(Fault::Folded));
    }

    #[test]
    fn heads_have_limits_before_they_end() {
        let endless = format!("{GET}X: {}", "a".repeat(HEAD_MAX_BYTES));
        assert_eq!(read(&endless).err(), Some(Fault::TooLarge));
        let fields = |count: usize| "X: a\r\n".repeat(count);
        assert!(read(&format!("{GET}{}\r\n", fields(FIELDS_MAX - 1))).is_ok());
        let many = read(&format!("{GET}{}", fields(FIELDS_MAX)));
        assert_eq!(many.err(), Some(Fault::TooMany));
    }
}
