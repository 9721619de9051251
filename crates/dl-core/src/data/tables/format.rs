//! How a table is written.

use crate::data::OnError;

/// Delimiter, header and quotes of a table, and what becomes of its damaged rows.
///
/// ```
/// use dl_core::data::TableFormat;
/// assert_eq!(TableFormat::csv().delimiter, b',');
/// assert!(!TableFormat::tsv().quoted);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFormat {
    /// What stands between two cells, an ASCII character. Default a comma.
    pub delimiter: u8,
    /// Whether the first row holds the names of the columns; else they are called `0`, `1`, and so on.
    /// Default `true`.
    pub header: bool,
    /// Whether a cell that begins with `"` ends with the next lone one, whatever it holds, and `""` in
    /// it is one quote (RFC 4180). Default `true`.
    pub quoted: bool,
    /// What becomes of a row that has more or fewer cells than the first, or is not UTF-8: the opening
    /// fails and names it, or it is left out, logged and counted. Default [`OnError::Stop`].
    pub on_error: OnError,
}

impl Default for TableFormat {
    fn default() -> Self {
        Self::csv()
    }
}

impl TableFormat {
    /// Commas, a header, quotes.
    pub fn csv() -> Self {
        Self {
            delimiter: b',',
            header: true,
            quoted: true,
            on_error: OnError::Stop,
        }
    }

    /// Tabs, a header, no quotes: `text/tab-separated-values` has none, so that a text may begin with
    /// one.
    pub fn tsv() -> Self {
        Self {
            delimiter: b'\t',
            quoted: false,
            ..Self::csv()
        }
    }

    /// Columns without names.
    pub fn without_header(self) -> Self {
        Self {
            header: false,
            ..self
        }
    }
}
