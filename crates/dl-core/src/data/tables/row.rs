//! One row of a table.

use std::str::FromStr;
use std::sync::Arc;

use csv::StringRecord;

use super::header::Header;
use crate::data::DataError;
use crate::data::error::shown;

/// The cells of one row, by the names of their columns; what is wrong with one is an error that names
/// file, line and column.
///
/// ```
/// use dl_core::data::{Dataset, Table, TableFormat};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("t.csv");
/// std::fs::write(&path, "size,name\n1.5,cat\nbig,dog\n")?;
/// let table = Table::open(&path, &TableFormat::csv())?;
/// assert_eq!(table.get(0)?.number("size")?, 1.5);
/// let error = table.get(1)?.number("size").unwrap_err().to_string();
/// assert!(error.ends_with(r#"t.csv:3, `size`: wanted a number that an f32 can hold, came "big""#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    header: Arc<Header>,
    cells: Arc<StringRecord>,
}

impl Row {
    pub(super) fn new(header: Arc<Header>, cells: StringRecord) -> Self {
        let cells = Arc::new(cells);
        Self { header, cells }
    }

    /// The line of the file at which the row begins, from 1.
    pub fn line(&self) -> u64 {
        self.cells.position().map_or(0, csv::Position::line)
    }

    /// The file and the line, for messages.
    pub(in crate::data) fn place(&self) -> String {
        format!("{}:{}", self.header.path.display(), self.line())
    }

    /// All cells, in the order of the columns.
    pub fn cells(&self) -> impl Iterator<Item = &str> {
        self.cells.iter()
    }

    /// A cell as it is.
    pub fn text(&self, column: &str) -> Result<&str, DataError> {
        Ok(self.cell(self.header.find(column)?))
    }

    /// A cell that is a number which an f32 can hold, spaces around it aside.
    pub fn number(&self, column: &str) -> Result<f32, DataError> {
        self.number_at(self.header.find(column)?)
    }

    /// A cell that is a whole number, such as a class or a token.
    pub fn index(&self, column: &str) -> Result<u32, DataError> {
        let place = self.header.find(column)?;
        self.parsed(place, "a whole number from 0 to 4294967295", |_| true)
    }

    pub(super) fn number_at(&self, place: usize) -> Result<f32, DataError> {
        self.parsed(place, "a number that an f32 can hold", |x: &f32| {
            x.is_finite()
        })
    }

    pub(super) fn numbers_at(&self, places: &[usize]) -> Result<Vec<f32>, DataError> {
        places.iter().map(|&place| self.number_at(place)).collect()
    }

    pub(super) fn cell(&self, place: usize) -> &str {
        self.cells.get(place).unwrap_or_default()
    }

    fn parsed<T: FromStr>(
        &self,
        place: usize,
        wanted: &str,
        sound: fn(&T) -> bool,
    ) -> Result<T, DataError> {
        let parsed = self.cell(place).trim().parse().ok().filter(sound);
        parsed.ok_or_else(|| self.error(place, wanted))
    }

    pub(super) fn error(&self, place: usize, wanted: &str) -> DataError {
        DataError::Cell {
            path: self.header.path.clone(),
            line: self.line(),
            column: self.header.columns.get(place).cloned().unwrap_or_default(),
            wanted: wanted.to_owned(),
            came: match self.cell(place).trim() {
                "" => "an empty cell".to_owned(),
                _ => shown(self.cell(place)),
            },
        }
    }
}
