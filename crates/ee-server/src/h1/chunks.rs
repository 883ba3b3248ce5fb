//! Where a body in chunks ends (RFC 9112 section 7.1), byte by byte, holding nothing.

use super::head::{is_token_byte, is_value_byte};

/// Hexadecimal digits of a chunk's size: more would overflow what anyone counts with.
const SIZE_DIGITS_MAX: u8 = 15;

/// Chunks that are no chunks: where the body ends cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunks {
    /// The size of a chunk, of which so many digits were read.
    Size { digits: u8, size: u64 },
    /// An extension, which nobody reads.
    Extension { size: u64 },
    /// The line feed after a size.
    SizeEnd { size: u64 },
    /// This many bytes of the chunk.
    Data(u64),
    /// The carriage return after them.
    DataReturn,
    /// The line feed after that.
    DataEnd,
    /// The start of a trailer field or of the last line.
    Trailer,
    /// A trailer's name.
    TrailerName,
    /// A trailer's value.
    TrailerValue,
    /// The line feed after it.
    TrailerEnd,
    /// The last line feed.
    LastEnd,
    /// Nothing: the body has ended.
    Ended,
}

impl Default for Chunks {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

impl Chunks {
    /// Follows the body; how many of the bytes belong to it. All of them, unless it ends here.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::Ended {
            if let Self::Data(left @ 1..) = *self {
                let here = left.min((bytes.len() - at) as u64);
                at += usize::try_from(here).expect("no more than the slice holds");
                *self = match left - here {
                    0 => Self::DataReturn,
                    left => Self::Data(left),
                };
                continue;
            }
            *self = self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(self, byte: u8) -> Result<Self, Broken> {
        let next = match (self, byte) {
            (Self::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
                if digits < SIZE_DIGITS_MAX =>
            {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                Self::Size {
                    digits: digits + 1,
                    size: size << 4 | digit,
                }
            }
            (Self::Size { digits: 1.., size }, b';') => Self::Extension { size },
            (Self::Size { digits: 1.., size } | Self::Extension { size }, b'\r') => {
                Self::SizeEnd { size }
            }
            (Self::Extension { size }, _) if is_value_byte(byte) => Self::Extension { size },
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailer,
            (Self::SizeEnd { size }, b'\n') => Self::Data(size),
            (Self::DataReturn, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::default(),
            (Self::Trailer, b'\r') => Self::LastEnd,
            (Self::Trailer | Self::TrailerName, _) if is_token_byte(byte) => Self::TrailerName,
            (Self::TrailerName, b':') => Self::TrailerValue,
            (Self::TrailerValue, b'\r') => Self::TrailerEnd,
            (Self::TrailerValue, _) if is_value_byte(byte) => Self::TrailerValue,
            (Self::TrailerEnd, b'\n') => Self::Trailer,
            (Self::LastEnd, b'\n') => Self::Ended,
            _ => return Err(Broken),
        };
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_at(text: &str) -> Result<usize, Broken> {
        let mut chunks = Chunks::default();
        let at = chunks.follow(text.as_bytes())?;
        assert_eq!(chunks, Chunks::Ended, "{text:?}");
        Ok(at)
    }

    #[test]
    fn chunks_end_after_their_trailers() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "00003;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n0;last\r\nX-Sum: 1\r\nY:\r\n\r\n",
        ] {
            assert_eq!(ends_at(&format!("{body}GET /")), Ok(body.len()), "{body:?}");
        }
    }

    #[test]
    fn chunks_end_at_the_same_byte_however_they_arrive() {
        let body = "3;e\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX: y\r\n\r\n";
        let mut chunks = Chunks::default();
        for byte in body.as_bytes() {
            assert_ne!(chunks, Chunks::Ended);
            assert_eq!(chunks.follow(&[*byte]), Ok(1));
        }
        assert_eq!(chunks, Chunks::Ended);
        assert_eq!(chunks.follow(b"more"), Ok(0));
    }

    #[test]
    fn chunks_that_can_be_read_two_ways_are_broken() {
        for body in [
            "\r\n",
            ";\r\n",
            "-1\r\n",
            "+1\r\na",
            "0x1\r\na",
            " 1\r\na",
            "1 \r\na",
            "1\na\r\n0\r\n\r\n",
            "1\ra",
            "1;\n\r\n",
            "1;a\0\r\n",
            "1\r\nab\r\n",
            "1\r\na\n0\r\n\r\n",
            "1\r\na0\r\n\r\n",
            "0\r\n\n",
            "0\n\r\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX\r\n\r\n",
            "0\r\nX: y\n\r\n",
            "FFFFFFFFFFFFFFFFF\r\n",
        ] {
            assert_eq!(
                Chunks::default().follow(body.as_bytes()),
                Err(Broken),
                "{body:?}"
            );
        }
    }
}
