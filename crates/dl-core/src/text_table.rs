//! Text in aligned columns.

use std::fmt;

/// Rows of as many cells as the header has; the columns from `right` on are numbers and end at the
/// same place.
pub(crate) struct TextTable {
    rows: Vec<Vec<String>>,
    right: usize,
}

impl TextTable {
    pub(crate) fn new<'a>(header: impl IntoIterator<Item = &'a str>, right: usize) -> Self {
        Self {
            rows: vec![header.into_iter().map(String::from).collect()],
            right,
        }
    }

    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

impl fmt::Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let widths: Vec<usize> = (0..columns).map(|i| self.width(i)).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(i, (cell, width))| match i < self.right {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let found = [0, 12, 123, 1234, 123_456, 1_234_567].map(thousands);
        assert_eq!(found, ["0", "12", "123", "1,234", "123,456", "1,234,567"]);
    }

    #[test]
    fn words_begin_and_numbers_end_at_the_same_place() {
        let mut table = TextTable::new(["a", "n"], 1);
        table.push(["größe".into(), "7".into()]);
        table.push(["x".into(), "100".into()]);
        assert_eq!(table.to_string(), "a        n\ngröße    7\nx      100\n");
    }
}
