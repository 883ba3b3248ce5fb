//! Arbitrary commands and outcomes: every type that has an encoding can be made by throwing dice,
//! so that a new field or variant is tested the moment it is written.

use ee_protocol::{
    account::{AccountId, AccountName, ClientId, IdempotencyKey, Note},
    money::{Amount, MicroUsd, Price, VcpuMicros},
    names::{AppName, Network, NodeId},
    period::Period,
    time::Timestamp,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use crate::books::{
    AccountNo, EntryId, Outcome, Refusal, Seq,
    principal::Role,
    rows::{
        BreachCause, Decision, Dependency, LockMode, Reason, ReportState, SettlementState,
        SlashReason, StakeTier, Track, UsageState, Verdict,
    },
};

/// A generator whose seed names the case.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("small");
        usize::try_from(self.number() % limit).expect("below a usize")
    }

    /// Small and large numbers alike.
    fn wide(&mut self) -> u64 {
        let bits = self.below(64);
        self.number() >> bits
    }

    fn name(&mut self) -> String {
        const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let length = 1 + self.below(12);
        let letter = |dice: &mut Self| char::from(ALPHABET[dice.below(ALPHABET.len())]);
        (0..length).map(|_| letter(self)).collect()
    }
}

/// What can be made by throwing dice.
pub(crate) trait Sample {
    fn sample(dice: &mut Dice) -> Self;
}

/// Every variant of a choice.
pub(crate) trait Choices: Sized + 'static {
    fn choices() -> &'static [fn(&mut Dice) -> Self];
}

macro_rules! samples {
    ($($name:ty: |$dice:ident| $made:expr;)*) => {$(
        impl Sample for $name {
            fn sample($dice: &mut Dice) -> Self {
                $made
            }
        }
    )*};
}

/// A time of the years until 2255, so that a period of any length fits behind it.
fn millis(dice: &mut Dice) -> i64 {
    i64::try_from(dice.number() % 9_000_000_000_000).expect("fits")
}

samples! {
    bool: |dice| dice.below(2) == 0;
    u16: |dice| u16::try_from(dice.wide() & 0xFFFF).expect("masked");
    u32: |dice| u32::try_from(dice.wide() & 0xFFFF_FFFF).expect("masked");
    u64: |dice| dice.wide();
    Timestamp: |dice| Timestamp::from_unix_micros(millis(dice) * 1000 + 7);
    AccountId: |dice| AccountId::parse(&dice.name()).expect("a name");
    AccountName: |dice| AccountName::part(&Sample::sample(dice), "stake");
    ClientId: |dice| ClientId::parse(&dice.name()).expect("a name");
    IdempotencyKey: |dice| IdempotencyKey::parse(&dice.name()).expect("a name");
    Note: |dice| Note::parse(&format!("{} \u{e9}", dice.name())).expect("a note");
    NodeId: |dice| NodeId::parse(&dice.name()).expect("a name");
    AppName: |dice| AppName::parse(&format!("a{}", dice.name())).expect("a name");
    Network: |dice| if dice.below(2) == 0 { Network::Forge1 } else { Network::Sandbox1 };
    MicroUsd: |dice| MicroUsd::from_micros(i64::from_le_bytes(dice.number().to_le_bytes()));
    Amount: |dice| {
        let micros = 1 + dice.wide() % 1_000_000_000_000_000;
        Amount::new(MicroUsd::from_micros(i64::try_from(micros).expect("fits"))).expect("in range")
    };
    Price: |dice| {
        let micros = dice.wide() % 1_000_000_000_000_000;
        Price::new(MicroUsd::from_micros(i64::try_from(micros).expect("fits"))).expect("in range")
    };
    VcpuMicros: |dice| VcpuMicros::from_micros(dice.wide());
    Period: |dice| {
        let start_ms = millis(dice);
        let length = 1 + i64::try_from(dice.number() % 2_000_000_000).expect("fits");
        Period::new(start_ms, start_ms + length).expect("a period")
    };
    AccountNo: |dice| Self(Sample::sample(dice));
    Seq: |dice| Self(Sample::sample(dice));
    EntryId: |dice| Self::new(Sample::sample(dice), Sample::sample(dice));
    Role: |dice| Self::ALL[dice.below(Self::ALL.len())];
    Refusal: |dice| Self::ALL[dice.below(Self::ALL.len())];
    [MicroUsd; 3]: |dice| std::array::from_fn(|_| Sample::sample(dice));
    [u8; 32]: |dice| std::array::from_fn(|_| dice.number().to_le_bytes()[0]);
    Result<Outcome, Refusal>: |dice| match dice.below(3) {
        0 => Err(Sample::sample(dice)),
        _ => Ok(Sample::sample(dice)),
    };
}

macro_rules! words {
    ($($name:ty),*) => {
        samples! { $($name: |dice| Self::ALL[dice.below(Self::ALL.len())];)* }
    };
}

words!(
    BreachCause,
    Decision,
    Dependency,
    LockMode,
    Reason,
    ReportState,
    SettlementState,
    SlashReason,
    StakeTier,
    Track,
    UsageState,
    Verdict
);

impl<T: Sample> Sample for Option<T> {
    fn sample(dice: &mut Dice) -> Self {
        (dice.below(2) == 0).then(|| T::sample(dice))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(dice: &mut Dice) -> Self {
        (0..dice.below(4)).map(|_| T::sample(dice)).collect()
    }
}
