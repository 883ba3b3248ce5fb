//! Markdown tables, and how their cells are spelt.

use std::time::Duration;

/// Rows of text under a head, printed with aligned columns.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub fn markdown(&self) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        let mut text = line(&self.rows[0]);
        text.push_str(&line(&rule));
        for row in &self.rows[1..] {
            text.push_str(&line(row));
        }
        text
    }
}

/// A number of bytes.
pub fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

/// A latency.
pub fn duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    if micros < 1_000 {
        format!("{micros} us")
    } else {
        format!("{:.1} ms", duration.as_secs_f64() * 1e3)
    }
}

/// A longer time.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!(size(100), "100 B");
        assert_eq!(size(65_536), "64 KiB");
        assert_eq!(size(1_048_576), "1 MiB");
        assert_eq!(duration(Duration::from_micros(950)), "950 us");
        assert_eq!(duration(Duration::from_micros(1_250)), "1.2 ms");
        assert_eq!(seconds(Duration::from_millis(14_960)), "15.0 s");
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["a", "long"]);
        table.row(vec!["1.25".to_owned(), "2".to_owned()]);
        assert_eq!(
            table.markdown(),
            "| a    | long |\n| ---- | ---- |\n| 1.25 | 2    |\n"
        );
    }
}
