//! The rows of tables as a stream.

use std::path::PathBuf;

use super::{IterableDataset, Records};
use crate::data::tables::Rows;
use crate::data::{DataError, Row, TableFormat};

/// One item for each row of CSV or TSV files, as [`Table`](crate::data::Table) reads them, without
/// holding them in memory; every file is a shard and has its own header.
///
/// A damaged row is an error in its place: the loader's
/// [`on_error`](crate::data::StreamLoader::on_error) decides, not the format's.
///
/// ```
/// use dl_core::data::{IterableDataset, TableFormat, TableStream};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("t.csv");
/// std::fs::write(&path, "x,y\n1,2\n3,4\n")?;
/// let stream = TableStream::new([&path], TableFormat::csv()).map(|row| row.number("y"));
/// let second = stream.records(0, 0)?.nth(1).unwrap()?;
/// assert_eq!(stream.item(&second)?, 4.);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TableStream {
    paths: Vec<PathBuf>,
    format: TableFormat,
}

impl TableStream {
    /// The rows of these files, one after the other. Nothing is opened yet.
    pub fn new<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>, format: TableFormat) -> Self {
        Self {
            paths: paths.into_iter().map(Into::into).collect(),
            format,
        }
    }
}

impl IterableDataset for TableStream {
    type Record = Row;
    type Item = Row;

    fn shards(&self) -> usize {
        self.paths.len()
    }

    fn records(&self, shard: usize, _: u64) -> Result<Records<Row>, DataError> {
        let (index, len) = (shard, self.paths.len());
        let path = self
            .paths
            .get(shard)
            .ok_or(DataError::OutOfRange { index, len })?;
        Ok(Box::new(Rows::open(path, &self.format)?))
    }

    fn item(&self, record: &Row) -> Result<Row, DataError> {
        Ok(record.clone())
    }

    fn name(&self, record: &Row) -> Option<String> {
        Some(record.place())
    }
}
