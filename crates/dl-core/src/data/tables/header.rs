//! The columns of a table.

use std::path::{Path, PathBuf};

use csv::{ByteRecord, StringRecord};

use crate::data::DataError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub path: PathBuf,
    pub columns: Vec<String>,
}

impl Header {
    pub fn new(path: &Path, columns: impl Iterator<Item = String>) -> Self {
        Self {
            path: path.to_owned(),
            columns: columns.collect(),
        }
    }

    /// The place of a column; fails unless exactly one is called so.
    pub fn find(&self, name: &str) -> Result<usize, DataError> {
        let mut found = self
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| *column == name);
        match (found.next(), found.count()) {
            (Some((place, _)), 0) => Ok(place),
            (first, more) => Err(DataError::Column {
                path: self.path.clone(),
                name: name.to_owned(),
                count: more + usize::from(first.is_some()),
                known: self.columns.clone(),
            }),
        }
    }

    pub fn find_all(&self, names: &[&str]) -> Result<Vec<usize>, DataError> {
        names.iter().map(|name| self.find(name)).collect()
    }

    /// Fails on a row that has not as many cells as there are columns, or is not UTF-8.
    pub fn check(&self, record: ByteRecord) -> Result<StringRecord, DataError> {
        if record.len() != self.columns.len() {
            let (wanted, came) = (self.columns.len(), record.len());
            return Err(line_error(
                &self.path,
                &record,
                format!("{wanted} cells"),
                came.to_string(),
            ));
        }
        text(&self.path, record)
    }
}

/// Fails on a cell that is not UTF-8.
pub(super) fn text(path: &Path, record: ByteRecord) -> Result<StringRecord, DataError> {
    StringRecord::from_byte_record(record).map_err(|error| {
        let (cell, at) = (
            error.utf8_error().field() + 1,
            error.utf8_error().valid_up_to(),
        );
        let came = format!("another byte at {at} of cell {cell}");
        line_error(path, &error.into_byte_record(), "UTF-8".to_owned(), came)
    })
}

pub(super) fn line_error(
    path: &Path,
    record: &ByteRecord,
    wanted: String,
    came: String,
) -> DataError {
    DataError::Line {
        path: path.to_owned(),
        line: record.position().map_or(0, csv::Position::line),
        wanted,
        came,
    }
}
