//! The primitives of the canonical encoding: one way to write each value, and a reader that takes
//! nothing else.
//!
//! Integers are little-endian and of fixed width; text is a u16 length and UTF-8; a list is a u32
//! count and its items; an absent value is the byte 0, a present one the byte 1 and the value; a
//! choice is its number and its fields. No maps, no floats.

use std::time::Duration;

use ee_protocol::time::Timestamp;

/// Bytes that no writer made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end in the middle of a value.
    #[error("the bytes end inside a value")]
    Truncated,
    /// Text that is not UTF-8, or names that are not names.
    #[error("{0} does not parse")]
    Value(&'static str),
    /// A number that stands for nothing.
    #[error("{what} has no choice {found}")]
    Choice {
        /// Of which type.
        what: &'static str,
        /// What was found.
        found: u16,
    },
    /// Bytes follow the last value.
    #[error("{0} bytes follow the last value")]
    Trailing(usize),
    /// They mean something, but that is written otherwise.
    #[error("the bytes are not the canonical ones of their meaning")]
    NotCanonical,
}

/// What has exactly one encoding.
pub trait Canonical: Sized {
    /// Appends the encoding.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads a value that [`Canonical::write`] made.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// The encoding alone.
    fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Reads the whole of `bytes`, and refuses what does not encode to the same bytes again.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    fn decoded(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        let value = Self::read(&mut input)?;
        input.end()?;
        if value.encoded() == bytes {
            Ok(value)
        } else {
            Err(Malformed::NotCanonical)
        }
    }
}

/// Reads values from bytes, front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Succeeds if everything was read.
    ///
    /// # Errors
    /// When bytes are left.
    pub fn end(&self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Malformed::Trailing(left)),
        }
    }
}

macro_rules! integers {
    ($($number:ty),*) => {$(
        impl Canonical for $number {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
                input.take(size_of::<Self>()).map(|bytes| {
                    Self::from_le_bytes(bytes.try_into().expect("as many bytes as asked for"))
                })
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, i64);

impl Canonical for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::read(input)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(Malformed::Choice {
                what: "a yes or no",
                found: found.into(),
            }),
        }
    }
}

impl<const N: usize> Canonical for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        input
            .take(N)
            .map(|bytes| bytes.try_into().expect("as many bytes as asked for"))
    }
}

/// Appends text: its length in bytes as u16, and its UTF-8.
///
/// # Panics
/// For text beyond 65 535 bytes: every text of a command is limited far below where it is parsed.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).expect("texts of commands are short");
    length.write(out);
    out.extend_from_slice(text.as_bytes());
}

/// Reads text.
///
/// # Errors
/// When it is cut short or not UTF-8.
pub fn read_text<'a>(input: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    let length = u16::read(input)?;
    let bytes = input.take(length.into())?;
    std::str::from_utf8(bytes).map_err(|_| Malformed::Value("text"))
}

impl Canonical for String {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        read_text(input).map(str::to_owned)
    }
}

impl<T: Canonical> Canonical for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        match bool::read(input)? {
            true => T::read(input).map(Some),
            false => Ok(None),
        }
    }
}

impl<T: Canonical> Canonical for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        let count = u32::try_from(self.len()).expect("lists of commands are short");
        count.write(out);
        for item in self {
            item.write(out);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = u32::read(input)?;
        // No capacity from the count: it is not to be believed before the items are there.
        (0..count).map(|_| T::read(input)).collect()
    }
}

impl<T: Canonical> Canonical for Box<T> {
    fn write(&self, out: &mut Vec<u8>) {
        T::write(self, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        T::read(input).map(Self::new)
    }
}

impl<A: Canonical, B: Canonical> Canonical for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::read(input)?, B::read(input)?))
    }
}

impl Canonical for Timestamp {
    fn write(&self, out: &mut Vec<u8>) {
        self.unix_micros().write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        i64::read(input).map(Self::from_unix_micros)
    }
}

/// Whole microseconds as u64; finer parts do not occur in the books.
impl Canonical for Duration {
    fn write(&self, out: &mut Vec<u8>) {
        let micros = u64::try_from(self.as_micros()).expect("spans of the books are short");
        micros.write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        u64::read(input).map(Self::from_micros)
    }
}

/// Implements [`Canonical`] for a struct as its fields in the order given; forgetting one does not
/// compile.
macro_rules! canonical_struct {
    ($($name:ty { $($field:ident),* $(,)? })*) => {$(
        impl $crate::journal::Canonical for $name {
            fn write(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($crate::journal::Canonical::write($field, out);)*
            }

            fn read(
                input: &mut $crate::journal::Reader<'_>,
            ) -> Result<Self, $crate::journal::Malformed> {
                Ok(Self { $($field: $crate::journal::Canonical::read(input)?),* })
            }
        }

        #[cfg(test)]
        impl $crate::journal::sample::Sample for $name {
            fn sample(dice: &mut $crate::journal::sample::Dice) -> Self {
                Self { $($field: $crate::journal::sample::Sample::sample(dice)),* }
            }
        }
    )*};
}

/// Implements [`Canonical`] for an enum as a number and the variant's fields. Numbers are for
/// ever: a variant that goes keeps its number unused.
macro_rules! canonical_choice {
    ($name:ty, $number:ty, $what:literal {
        $($tag:literal => $variant:ident
            $( { $($field:ident),* $(,)? } )?
            $( ( $($inner:ident),* ) )?
        ),* $(,)?
    }) => {
        impl $crate::journal::Canonical for $name {
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $( { $($field),* } )? $( ( $($inner),* ) )? => {
                        <$number as $crate::journal::Canonical>::write(&$tag, out);
                        $($($crate::journal::Canonical::write($field, out);)*)?
                        $($($crate::journal::Canonical::write($inner, out);)*)?
                    })*
                }
            }

            fn read(
                input: &mut $crate::journal::Reader<'_>,
            ) -> Result<Self, $crate::journal::Malformed> {
                match <$number as $crate::journal::Canonical>::read(input)? {
                    $($tag => {
                        $($(let $field = $crate::journal::Canonical::read(input)?;)*)?
                        $($(let $inner = $crate::journal::Canonical::read(input)?;)*)?
                        Ok(Self::$variant $( { $($field),* } )? $( ( $($inner),* ) )?)
                    })*
                    found => Err($crate::journal::Malformed::Choice {
                        what: $what,
                        found: u16::from(found),
                    }),
                }
            }
        }

        #[cfg(test)]
        impl $crate::journal::sample::Sample for $name {
            fn sample(dice: &mut $crate::journal::sample::Dice) -> Self {
                let choices = <Self as $crate::journal::sample::Choices>::choices();
                let choice = dice.below(choices.len());
                choices[choice](dice)
            }
        }

        #[cfg(test)]
        impl $crate::journal::sample::Choices for $name {
            fn choices() -> &'static [fn(&mut $crate::journal::sample::Dice) -> Self] {
                &[$(|_dice| {
                    $($(let $field = $crate::journal::sample::Sample::sample(_dice);)*)?
                    $($(let $inner = $crate::journal::sample::Sample::sample(_dice);)*)?
                    Self::$variant $( { $($field),* } )? $( ( $($inner),* ) )?
                }),*]
            }
        }
    };
}

pub(crate) use {canonical_choice, canonical_struct};

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Canonical + PartialEq + std::fmt::Debug>(value: T, bytes: &[u8]) {
        assert_eq!(value.encoded(), bytes);
        assert_eq!(T::decoded(bytes), Ok(value));
    }

    #[test]
    fn values_have_one_spelling() {
        check(0x0102_u16, &[2, 1]);
        check(-2_i64, &[0xFE, 255, 255, 255, 255, 255, 255, 255]);
        check("é".to_owned(), &[2, 0, 0xC3, 0xA9]);
        check(vec![1_u8, 2], &[2, 0, 0, 0, 1, 2]);
        check(None::<u8>, &[0]);
        check(Some(7_u8), &[1, 7]);
        check(Timestamp::from_unix_micros(1), &[1, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn other_spellings_are_refused() {
        assert!(bool::decoded(&[2]).is_err());
        assert_eq!(
            String::decoded(&[1, 0, 0xC3]),
            Err(Malformed::Value("text"))
        );
        assert_eq!(u16::decoded(&[1]), Err(Malformed::Truncated));
        assert_eq!(u8::decoded(&[1, 2]), Err(Malformed::Trailing(1)));
        assert_eq!(
            Vec::<u64>::decoded(&[255, 255, 255, 255]),
            Err(Malformed::Truncated)
        );
    }
}
