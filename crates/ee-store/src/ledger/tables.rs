//! The tables of the books, in the words of [`Table`]; the scripts of both dialects spell the same
//! out as SQL, and a test compares them.

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
    key: 1,
    discipline: Discipline::Appended,
};

/// What was answered under an idempotency key.
pub static REQUEST: Table = Table {
    name: "request",
    columns: &[
        Column::text("principal"),
        Column::text("route"),
        Column::text("key"),
        Column::blob("fingerprint"),
        Column::blob("outcome"),
        Column::int("seq"),
        Column::int("at_us"),
    ],
    key: 3,
    discipline: Discipline::Kept,
};

/// Every table but the head, in the order in which a batch writes them.
pub static TABLES: &[&Table] = &[&JOURNAL, &REQUEST];
