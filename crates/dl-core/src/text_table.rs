//! Text in aligned columns.

use std::fmt;

/// Rows of cells; the columns from `right` on are numbers and end at the same place.
pub(crate) struct TextTable<const N: usize> {
    rows: Vec<[String; N]>,
    right: usize,
}

impl<const N: usize> TextTable<N> {
    pub(crate) fn new(header: [&str; N], right: usize) -> Self {
        Self {
            rows: vec![header.map(String::from)],
            right,
        }
    }

    pub(crate) fn push(&mut self, row: [String; N]) {
        self.rows.push(row);
    }
}

impl<const N: usize> fmt::Display for TextTable<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |i: usize| self.rows.iter().map(|row| row[i].chars().count()).max();
        let widths: [usize; N] = std::array::from_fn(|i| width(i).unwrap_or(0));
        for row in &self.rows {
            let cells = row.iter().zip(widths).enumerate();
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
