//! A table, its columns and the rows of the books, declared in one place.

use crate::{
    error::StoreError,
    ledger::{Row, Table},
};

/// What a table holds.
pub(crate) trait Stored: Sized {
    /// The table.
    const TABLE: &'static Table;

    /// The row's cells.
    fn to_row(&self) -> Row;

    /// The row that these cells are.
    ///
    /// # Errors
    /// When no server wrote them.
    fn from_row(row: Row) -> Result<Self, StoreError>;
}

/// Declares a table and the way between its rows and the books' own: columns with their types and
/// where their values come from, then what the values make.
macro_rules! stored {
    ($(
        $table:ident = $name:literal, key $key:literal $(fixed $fixed:literal)?, $discipline:ident, $kind:ty, |$row:ident| {
            $($column:ident: $type:ty = $value:expr),* $(,)?
        } => $made:expr;
    )*) => {$(
        #[doc = concat!("The table `", $name, "`.")]
        pub static $table: $crate::ledger::Table = $crate::ledger::Table {
            name: $name,
            columns: &[$($crate::ledger::Column {
                name: stringify!($column),
                kind: <$type as $crate::ledger::rows::field::Field>::KIND,
                presence: <$type as $crate::ledger::rows::field::Field>::PRESENCE,
            }),*],
            order: &[$(stringify!($column)),*],
            key: $key,
            fixed: [$key $(, $fixed)?][[$key $(, $fixed)?].len() - 1],
            discipline: $crate::ledger::Discipline::$discipline,
        };

        impl $crate::ledger::rows::stored::Stored for $kind {
            const TABLE: &'static $crate::ledger::Table = &$table;

            fn to_row(&self) -> $crate::ledger::Row {
                let $row = self;
                vec![$(<$type as $crate::ledger::rows::field::Field>::to_cell(&$value)),*]
            }

            fn from_row(row: $crate::ledger::Row) -> Result<Self, $crate::StoreError> {
                let mut cells = row.into_iter();
                $(let $column = <$type as $crate::ledger::rows::field::Field>::from_cell(
                    cells.next().unwrap_or($crate::ledger::Cell::Null),
                )?;)*
                Ok($made)
            }
        }
    )*};
}

pub(crate) use stored;
