//! How names, money and periods are written. Reading is parsing: a name in the journal is as valid
//! as one from outside.

use ee_protocol::{
    account::{AccountId, AccountName, ClientId, IdempotencyKey, Note},
    money::{Amount, MicroUsd, Price, VcpuMicros},
    names::{AppName, Network, NodeId},
    period::Period,
};

use super::canonical::{Canonical, Malformed, Reader, read_text, write_text};

macro_rules! names {
    ($($name:ty, $what:literal;)*) => {$(
        impl Canonical for $name {
            fn write(&self, out: &mut Vec<u8>) {
                write_text(self.as_str(), out);
            }

            fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
                Self::parse(read_text(input)?).map_err(|_| Malformed::Value($what))
            }
        }
    )*};
}

names! {
    AccountId, "an account id";
    AccountName, "an account";
    ClientId, "a client's id";
    IdempotencyKey, "an idempotency key";
    Note, "a note";
    AppName, "an app";
    NodeId, "a node id";
}

impl Canonical for Network {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self.as_str(), out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let text = read_text(input)?;
        text.parse().map_err(|_| Malformed::Value("a network"))
    }
}

impl Canonical for MicroUsd {
    fn write(&self, out: &mut Vec<u8>) {
        self.micros().write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        i64::read(input).map(Self::from_micros)
    }
}

impl Canonical for Amount {
    fn write(&self, out: &mut Vec<u8>) {
        self.money().write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::new(MicroUsd::read(input)?).ok_or(Malformed::Value("an amount"))
    }
}

impl Canonical for Price {
    fn write(&self, out: &mut Vec<u8>) {
        self.money().write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::new(MicroUsd::read(input)?).ok_or(Malformed::Value("a price"))
    }
}

impl Canonical for VcpuMicros {
    fn write(&self, out: &mut Vec<u8>) {
        self.micros().write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        u64::read(input).map(Self::from_micros)
    }
}

impl Canonical for Period {
    fn write(&self, out: &mut Vec<u8>) {
        self.start_ms().write(out);
        self.end_ms().write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (start_ms, end_ms) = (i64::read(input)?, i64::read(input)?);
        Self::new(start_ms, end_ms).map_err(|_| Malformed::Value("a period"))
    }
}
