//! What the rows of the tables mean: from the books' own rows to cells, and back.

pub(crate) mod field;
pub(crate) mod stored;
pub mod tables;
