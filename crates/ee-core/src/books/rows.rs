//! The rows of the books, one struct a table of LEDGER 12. What the store keeps, the books hold.

mod judgement;
mod money;
mod words;

pub use judgement::*;
pub use money::*;
pub use words::*;
