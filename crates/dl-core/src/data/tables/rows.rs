//! A table, read row by row.

use std::io::{self, BufRead, Chain, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use csv::ByteRecord;

use super::header::{Header, line_error, text};
use super::records::Records;
use super::{Row, TableFormat};
use crate::data::{DataError, plain_or_gzip};

/// Stands behind the end of the file: a quote that was never closed swallows it.
const END: &[u8] = b"\n\0\n";

type Text = Chain<Box<dyn BufRead + Send>, Cursor<&'static [u8]>>;

/// The rows of a table from its first one; what is wrong with one takes its place.
pub(in crate::data) struct Rows {
    header: Arc<Header>,
    records: Records<Text>,
    /// The row that comes next.
    ahead: Option<io::Result<ByteRecord>>,
}

impl Rows {
    /// Fails when the file cannot be opened, or has no row to name or count columns by.
    pub fn open(path: &Path, format: &TableFormat) -> Result<Self, DataError> {
        let file = plain_or_gzip::open_text(path)?.chain(Cursor::new(END));
        let mut records = Records::new(file, format);
        let first = records.read().map_err(DataError::read(path))?;
        let first = first.filter(|first| !is_end(first));
        let first = text(path, first.ok_or_else(|| empty(path))?)?;
        let header = match format.header {
            true => Header::new(path, first.iter().map(str::to_owned)),
            false => Header::new(path, (0..first.len()).map(|place| place.to_string())),
        };
        let ahead = match format.header {
            true => records.read().transpose(),
            false => Some(Ok(first.as_byte_record().clone())),
        };
        match ahead {
            None => Err(unclosed(path, first.as_byte_record())),
            ahead => Ok(Self {
                header: Arc::new(header),
                records,
                ahead,
            }),
        }
    }

    pub(super) fn header(&self) -> &Arc<Header> {
        &self.header
    }

    fn row(&self, record: ByteRecord) -> Result<Row, DataError> {
        if self.ahead.is_none() {
            return Err(unclosed(&self.header.path, &record));
        }
        let record = self.header.check(record)?;
        Ok(Row::new(Arc::clone(&self.header), record))
    }
}

impl Iterator for Rows {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.ahead.take()? {
            Ok(record) => {
                self.ahead = self.records.read().transpose();
                let over = self.ahead.is_none() && is_end(&record);
                (!over).then(|| self.row(record))
            }
            // Nothing can be read behind it.
            Err(reason) => Some(Err(DataError::read(&self.header.path)(reason))),
        }
    }
}

fn is_end(record: &ByteRecord) -> bool {
    record.len() == 1 && &record[0] == b"\0"
}

/// Behind a row not even the mark of the end came.
fn unclosed(path: &Path, record: &ByteRecord) -> DataError {
    let wanted = "a quote at the end of a quoted cell".to_owned();
    line_error(path, record, wanted, "the end of the file".to_owned())
}

pub(super) fn empty(path: &Path) -> DataError {
    DataError::EmptyFile {
        path: path.to_owned(),
        wanted: "at least one row",
    }
}
