//! One value of a row as a cell, and back: reading is parsing.

use ee_core::{
    books::{
        AccountNo, EntryNo, Outcome, Policy, Principal, Refusal, Seq,
        ids::{Fingerprint, IDX_BITS},
        principal::Role,
        rows::{
            AccountKind, DayRevenue, Decision, Ending, FactKind, LockMode, LockState, ReasonRow,
            ReportState, SettlementState, SlashReason, StakeTier, TransferKind, UsageState,
            Verdict,
        },
    },
    journal::Canonical,
};
use ee_protocol::{
    account::{AccountId, AccountName, ClientId, IdempotencyKey, Note},
    money::{Amount, MicroUsd, Price, VcpuMicros},
    names::{AppName, Network, NodeId},
    time::Timestamp,
};

use crate::{
    error::StoreError,
    ledger::{Cell, ColumnKind, Presence},
};

/// What fits into one column.
pub(crate) trait Field: Sized {
    /// What the column holds.
    const KIND: ColumnKind;
    /// Whether it may be empty.
    const PRESENCE: Presence = Presence::Always;

    /// The cell of this value.
    fn to_cell(&self) -> Cell;

    /// The value of a cell.
    fn from_cell(cell: Cell) -> Result<Self, StoreError>;
}

/// A cell that no server wrote.
pub(crate) fn corrupt(what: &str, cell: &Cell) -> StoreError {
    StoreError::Corrupt(format!("{cell} is no {what}"))
}

/// A cell whose value its parser refuses.
fn unparsed<E>(what: &'static str, text: &str) -> impl FnOnce(E) -> StoreError {
    let cell = Cell::Text(text.to_owned());
    move |_| corrupt(what, &cell)
}

impl Field for i64 {
    const KIND: ColumnKind = ColumnKind::Int;

    fn to_cell(&self) -> Cell {
        Cell::Int(*self)
    }

    fn from_cell(cell: Cell) -> Result<Self, StoreError> {
        match cell {
            Cell::Int(number) => Ok(number),
            other @ (Cell::Null | Cell::Text(_) | Cell::Blob(_)) => Err(corrupt("number", &other)),
        }
    }
}

impl Field for String {
    const KIND: ColumnKind = ColumnKind::Text;

    fn to_cell(&self) -> Cell {
        Cell::Text(self.clone())
    }

    fn from_cell(cell: Cell) -> Result<Self, StoreError> {
        match cell {
            Cell::Text(text) => Ok(text),
            other @ (Cell::Null | Cell::Int(_) | Cell::Blob(_)) => Err(corrupt("text", &other)),
        }
    }
}

impl Field for Vec<u8> {
    const KIND: ColumnKind = ColumnKind::Blob;

    fn to_cell(&self) -> Cell {
        Cell::Blob(self.clone())
    }

    fn from_cell(cell: Cell) -> Result<Self, StoreError> {
        match cell {
            Cell::Blob(bytes) => Ok(bytes),
            other @ (Cell::Null | Cell::Int(_) | Cell::Text(_)) => Err(corrupt("bytes", &other)),
        }
    }
}

impl<const N: usize> Field for [u8; N] {
    const KIND: ColumnKind = ColumnKind::Blob;

    fn to_cell(&self) -> Cell {
        Cell::Blob(self.to_vec())
    }

    fn from_cell(cell: Cell) -> Result<Self, StoreError> {
        let bytes = Vec::from_cell(cell)?;
        bytes
            .try_into()
            .map_err(|bytes| corrupt("digest", &Cell::Blob(bytes)))
    }
}

impl Field for Fingerprint {
    const KIND: ColumnKind = ColumnKind::Blob;

    fn to_cell(&self) -> Cell {
        self.0.to_cell()
    }

    fn from_cell(cell: Cell) -> Result<Self, StoreError> {
        Field::from_cell(cell).map(Self)
    }
}

impl<T: Field> Field for Option<T> {
    const KIND: ColumnKind = T::KIND;
    const PRESENCE: Presence = Presence::Sometimes;

    fn to_cell(&self) -> Cell {
        self.as_ref().map_or(Cell::Null, T::to_cell)
    }

    fn from_cell(cell: Cell) -> Result<Self, StoreError> {
        match cell {
            Cell::Null => Ok(None),
            some @ (Cell::Int(_) | Cell::Text(_) | Cell::Blob(_)) => T::from_cell(some).map(Some),
        }
    }
}

impl Field for bool {
    const KIND: ColumnKind = ColumnKind::Int;

    fn to_cell(&self) -> Cell {
        Cell::Int(i64::from(*self))
    }

    fn from_cell(cell: Cell) -> Result<Self, StoreError> {
        match cell {
            Cell::Int(0) => Ok(false),
            Cell::Int(1) => Ok(true),
            other @ (Cell::Null | Cell::Int(_) | Cell::Text(_) | Cell::Blob(_)) => {
                Err(corrupt("yes or no", &other))
            }
        }
    }
}

macro_rules! unsigned {
    ($($number:ty),*) => {$(
        impl Field for $number {
            const KIND: ColumnKind = ColumnKind::Int;

            fn to_cell(&self) -> Cell {
                let number = i64::try_from(*self);
                Cell::Int(number.expect("numbers of the books stay below 2^63"))
            }

            fn from_cell(cell: Cell) -> Result<Self, StoreError> {
                let number = i64::from_cell(cell)?;
                Self::try_from(number).map_err(|_| corrupt("count", &Cell::Int(number)))
            }
        }
    )*};
}

unsigned!(u8, u16, u32, u64);

macro_rules! integers {
    ($($name:ty: $inner:ty, |$value:ident| $inward:expr, |$number:ident| $outward:expr;)*) => {$(
        impl Field for $name {
            const KIND: ColumnKind = ColumnKind::Int;

            fn to_cell(&self) -> Cell {
                let $value = self;
                let number: $inner = $inward;
                number.to_cell()
            }

            fn from_cell(cell: Cell) -> Result<Self, StoreError> {
                let $number = <$inner>::from_cell(cell)?;
                $outward
            }
        }
    )*};
}

integers! {
    Timestamp: i64, |time| time.unix_micros(), |micros| Ok(Self::from_unix_micros(micros));
    MicroUsd: i64, |money| money.micros(), |micros| Ok(Self::from_micros(micros));
    Amount: i64, |amount| amount.micros(), |micros| {
        Self::new(MicroUsd::from_micros(micros))
            .ok_or_else(|| corrupt("amount", &Cell::Int(micros)))
    };
    Price: i64, |price| price.micros(), |micros| {
        Self::new(MicroUsd::from_micros(micros))
            .ok_or_else(|| corrupt("price", &Cell::Int(micros)))
    };
    VcpuMicros: u64, |used| used.micros(), |micros| Ok(Self::from_micros(micros));
    AccountNo: u32, |no| no.0, |no| Ok(Self(no));
    Seq: u64, |seq| seq.0, |seq| Ok(Self(seq));
    // One integer, in the order of time.
    EntryNo: u64, |no| no.seq.0 << IDX_BITS | u64::from(no.idx), |number| {
        let idx = number & ((1 << IDX_BITS) - 1);
        Ok(Self {
            seq: Seq(number >> IDX_BITS),
            idx: u32::try_from(idx).expect("few bits"),
        })
    };
}

macro_rules! names {
    ($($name:ty, $what:literal;)*) => {$(
        impl Field for $name {
            const KIND: ColumnKind = ColumnKind::Text;

            fn to_cell(&self) -> Cell {
                Cell::Text(self.as_str().to_owned())
            }

            fn from_cell(cell: Cell) -> Result<Self, StoreError> {
                let text = String::from_cell(cell)?;
                Self::parse(&text).map_err(unparsed($what, &text))
            }
        }
    )*};
}

names! {
    AccountId, "account id";
    AccountName, "account";
    ClientId, "client id";
    IdempotencyKey, "idempotency key";
    Note, "note";
    NodeId, "node id";
    AppName, "app";
}

macro_rules! words {
    ($($name:ty, $what:literal;)*) => {$(
        impl Field for $name {
            const KIND: ColumnKind = ColumnKind::Int;

            fn to_cell(&self) -> Cell {
                self.number().to_cell()
            }

            fn from_cell(cell: Cell) -> Result<Self, StoreError> {
                let number = u8::from_cell(cell)?;
                let word = Self::from_number(number);
                word.ok_or_else(|| corrupt($what, &number.to_cell()))
            }
        }
    )*};
}

words! {
    AccountKind, "kind of account";
    TransferKind, "kind of transfer";
    LockMode, "mode of a lock";
    LockState, "state of a lock";
    UsageState, "state of usage";
    StakeTier, "tier";
    Verdict, "verdict";
    SettlementState, "state of a settlement";
    ReportState, "state of a report";
    Decision, "decision";
    SlashReason, "reason of a slash";
    Ending, "ending";
    FactKind, "kind of fact";
}

/// What is only kept and given back whole, never asked by: its canonical encoding.
macro_rules! encoded {
    ($($name:ty, $what:literal;)*) => {$(
        impl Field for $name {
            const KIND: ColumnKind = ColumnKind::Blob;

            fn to_cell(&self) -> Cell {
                Cell::Blob(self.encoded())
            }

            fn from_cell(cell: Cell) -> Result<Self, StoreError> {
                let bytes = Vec::from_cell(cell)?;
                Self::decoded(&bytes).map_err(|_| corrupt($what, &Cell::Blob(bytes)))
            }
        }
    )*};
}

encoded! {
    Result<Outcome, Refusal>, "answer";
    Vec<ReasonRow>, "list of reasons";
    Vec<DayRevenue>, "list of days";
    Policy, "policy";
}

impl Field for Network {
    const KIND: ColumnKind = ColumnKind::Text;

    fn to_cell(&self) -> Cell {
        Cell::Text(self.as_str().to_owned())
    }

    fn from_cell(cell: Cell) -> Result<Self, StoreError> {
        let text = String::from_cell(cell)?;
        text.parse().map_err(unparsed("network", &text))
    }
}

/// `system`, `role:3`, `account:alice`, `node:n1`: readable, and sorted by what it is.
impl Field for Principal {
    const KIND: ColumnKind = ColumnKind::Text;

    fn to_cell(&self) -> Cell {
        Cell::Text(match self {
            Self::System => "system".to_owned(),
            Self::Role(role) => format!("role:{}", *role as u8),
            Self::Account(id) => format!("account:{id}"),
            Self::Node(id) => format!("node:{id}"),
        })
    }

    fn from_cell(cell: Cell) -> Result<Self, StoreError> {
        let text = String::from_cell(cell)?;
        let parsed = match text.split_once(':') {
            None => (text == "system").then_some(Self::System),
            Some(("role", number)) => {
                let number = number.parse().ok();
                number.and_then(Role::from_number).map(Self::Role)
            }
            Some(("account", id)) => AccountId::parse(id).ok().map(Self::Account),
            Some(("node", id)) => AccountId::parse(id).ok().map(Self::Node),
            Some(_) => None,
        };
        parsed.ok_or_else(|| corrupt("principal", &Cell::Text(text)))
    }
}
