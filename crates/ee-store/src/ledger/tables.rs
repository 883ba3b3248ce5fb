//! The tables of the books, in the words of [`Table`]; the scripts of both dialects spell the same
//! out as SQL, and a test compares them.

pub use super::rows::tables::{
    ABUSE, ACCOUNT, CLAIM, CLIENT, FACT, HOLD, LOCK, METER, NODE, NODE_PRICE, OBSERVER, PAYER,
    POLICY, REQUEST, SETTLEMENT, SLASH, TRANSFER, UNBONDING, USAGE,
};

use super::cell::{Column, Discipline, Table};

/// Every batch: header, records, and the chain's value after it.
pub static JOURNAL: Table = Table {
    name: "journal",
    columns: &[
        Column::int("batch"),
        Column::int("first_seq"),
        Column::int("count"),
        Column::int("at_us"),
        Column::int("epoch"),
        Column::int("watermark_us"),
        Column::blob("body"),
        Column::blob("root"),
    ],
    order: &[
        "batch",
        "first_seq",
        "count",
        "at_us",
        "epoch",
        "watermark_us",
        "body",
        "root",
    ],
    key: 1,
    fixed: 8,
    discipline: Discipline::Appended,
};

/// How far the account rows are behind the books: one row, none before the first round
/// (`super::behind`). Which rows lag is no part of the books, so nothing compares it.
pub static SWEEP: Table = Table {
    name: "sweep",
    columns: &[Column::int("id"), Column::int("through")],
    order: &["id", "through"],
    key: 1,
    fixed: 1,
    discipline: Discipline::Kept,
};

/// Every table of the books but the head, in the order in which a batch writes them.
pub static TABLES: &[&Table] = &[
    &JOURNAL,
    &ACCOUNT,
    &TRANSFER,
    &METER,
    &LOCK,
    &USAGE,
    &PAYER,
    &CLIENT,
    &REQUEST,
    &POLICY,
    &NODE,
    &NODE_PRICE,
    &FACT,
    &OBSERVER,
    &SETTLEMENT,
    &ABUSE,
    &SLASH,
    &UNBONDING,
    &HOLD,
    &CLAIM,
];
