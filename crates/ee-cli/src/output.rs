//! How results are printed: a table for people, JSON for programs. Data goes to standard output,
//! everything else to standard error.

use ee_protocol::time::Timestamp;
use serde::Serialize;

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with room: further columns where a table has some.
    Wide,
    /// One JSON value, the API's own type.
    Json,
    /// One line of JSON; of a list, one line an item.
    Jsonl,
}

impl Format {
    /// Whether there is room for further columns.
    pub fn is_wide(self) -> bool {
        self == Self::Wide
    }
}

/// Prints a value: as JSON, or as the text that `table` makes of it.
pub fn print<T: Serialize>(format: Format, value: &T, table: impl FnOnce(&T) -> String) {
    print_list(format, value, std::slice::from_ref(value), table);
}

/// Prints a list: as one value, as a line an item, or as the text that `table` makes of it.
pub fn print_list<T: Serialize, I: Serialize>(
    format: Format,
    list: &T,
    items: &[I],
    table: impl FnOnce(&T) -> String,
) {
    match format {
        Format::Table | Format::Wide => line(table(list).trim_end()),
        Format::Json => line(&serde_json::to_string_pretty(list).expect(PLAIN)),
        Format::Jsonl => {
            for item in items {
                line(&serde_json::to_string(item).expect(PLAIN));
            }
        }
    }
}

/// Why results can always be written as JSON.
const PLAIN: &str = "results hold text, numbers and lists";

/// Names and values, one pair a line.
pub fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = rows
        .iter()
        .map(|(name, value)| format!("{name:width$}  {value}").trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// An instant as people read it in tables: UTC, to the second. JSON keeps what the API said.
pub fn time(text: &str) -> String {
    match Timestamp::parse_rfc3339(text) {
        Some(at) => at.rfc3339_seconds(),
        None => text.to_owned(),
    }
}

/// Prints a line of data. A closed pipe is no error: `easyenclave app ls | head -1` is fine.
pub fn line(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Says something that is no data, on standard error.
pub fn note(text: &str) {
    use std::io::Write;
    // Without standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Rows in columns, as wide as their widest cell, two spaces apart.
pub fn columns(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let body = rows
        .iter()
        .map(|row| line(row.iter().map(String::as_str).collect()));
    [line(head.to_vec())]
        .into_iter()
        .chain(body)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_form() {
        for text in ["2026-11-22T14:03:17.000006+00:00", "2026-11-22T14:03:17Z"] {
            assert_eq!(time(text), "2026-11-22T14:03:17Z");
        }
        assert_eq!(time("never"), "never");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["hello".into(), "2".into()],
            vec!["a".into(), "10".into()],
        ];
        assert_eq!(
            columns(&["APP", "NODES"], &rows),
            "APP    NODES\nhello  2\na      10"
        );
    }
}
