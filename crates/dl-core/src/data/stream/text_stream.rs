//! The lines of text files as a stream.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{IterableDataset, Records};
use crate::data::text::{Line, without_end};
use crate::data::{DataError, plain_or_gzip};

/// One line of a file, read and not looked at.
///
/// ```
/// use dl_core::data::{IterableDataset, TextStream};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("words.txt");
/// std::fs::write(&path, "one\ntwo")?;
/// let record = TextStream::new([&path]).records(0, 0)?.nth(1).unwrap()?;
/// assert_eq!(record.number(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRecord {
    pub(super) path: Arc<Path>,
    number: u64,
    bytes: Vec<u8>,
}

impl TextRecord {
    /// The line of the file, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn line(&self) -> Line<'_> {
        Line {
            path: &self.path,
            number: self.number,
            bytes: &self.bytes,
        }
    }
}

/// One item for each line of the files, which may be compressed and larger than the memory; every file
/// is a shard.
///
/// Lines are those of [`TextLines`](crate::data::TextLines). A file is opened when its turn comes; one
/// that cannot be read, or ends too soon, is an error in the place of one item, for the loader to stop
/// at or to skip.
///
/// ```
/// use dl_core::data::{IterableDataset, TextStream};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("words.txt");
/// std::fs::write(&path, "one\ntwo\n")?;
/// let stream = TextStream::new([&path]);
/// let lines = stream.records(0, 0)?.map(|record| stream.item(&record?));
/// assert_eq!(lines.collect::<Result<Vec<_>, _>>()?, ["one", "two"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TextStream {
    paths: Vec<Arc<Path>>,
}

impl TextStream {
    /// The lines of these files, one after the other. Nothing is opened yet.
    pub fn new<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        let shared = |path: P| Arc::from(path.into());
        Self {
            paths: paths.into_iter().map(shared).collect(),
        }
    }

    fn lines(&self, shard: usize) -> Result<Lines, DataError> {
        let (index, len) = (shard, self.paths.len());
        let path = self
            .paths
            .get(shard)
            .ok_or(DataError::OutOfRange { index, len })?;
        Ok(Lines {
            file: Some(plain_or_gzip::open_text(path)?),
            path: Arc::clone(path),
            number: 0,
        })
    }
}

impl IterableDataset for TextStream {
    type Record = TextRecord;
    type Item = String;

    fn shards(&self) -> usize {
        self.paths.len()
    }

    fn records(&self, shard: usize, _: u64) -> Result<Records<TextRecord>, DataError> {
        Ok(Box::new(self.lines(shard)?))
    }

    fn item(&self, record: &TextRecord) -> Result<String, DataError> {
        Ok(record.line().text()?.to_owned())
    }

    fn name(&self, record: &TextRecord) -> Option<String> {
        Some(record.line().to_string())
    }
}

/// The rest of a file.
struct Lines {
    /// Nothing behind the end and behind an error.
    file: Option<Box<dyn BufRead + Send>>,
    path: Arc<Path>,
    number: u64,
}

impl Iterator for Lines {
    type Item = Result<TextRecord, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        match self.file.as_mut()?.read_until(b'\n', &mut bytes) {
            Ok(0) => {
                self.file = None;
                None
            }
            Ok(_) => {
                self.number += 1;
                bytes.truncate(without_end(&bytes).len());
                let (path, number) = (Arc::clone(&self.path), self.number);
                Some(Ok(TextRecord {
                    path,
                    number,
                    bytes,
                }))
            }
            Err(reason) => {
                self.file = None;
                Some(Err(DataError::read(&self.path)(reason)))
            }
        }
    }
}
