//! JSON lines as a stream.

use std::path::PathBuf;

use super::{IterableDataset, Records, TextRecord, TextStream};
use crate::data::{DataError, JsonRecord};

/// One item for each line of `.jsonl` files, as [`JsonLines`](crate::data::JsonLines) reads them and
/// [`TextStream`] opens them; lines are parsed on the workers.
///
/// ```
/// use dl_core::data::{IterableDataset, JsonStream};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("x.jsonl");
/// std::fs::write(&path, "{\"x\": 1}\n\n{\"x\": 2}\n")?;
/// let stream = JsonStream::new([&path]).map(|record| record.number("x"));
/// let second = stream.records(0, 0)?.nth(1).unwrap()?;
/// assert_eq!(stream.item(&second)?, 2.);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct JsonStream {
    text: TextStream,
}

impl JsonStream {
    /// The lines of these files, one after the other. Nothing is opened yet.
    pub fn new<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        let text = TextStream::new(paths);
        Self { text }
    }
}

impl IterableDataset for JsonStream {
    type Record = TextRecord;
    type Item = JsonRecord;

    fn shards(&self) -> usize {
        self.text.shards()
    }

    fn records(&self, shard: usize, epoch: u64) -> Result<Records<TextRecord>, DataError> {
        let is_blank = |record: &TextRecord| record.line().is_blank();
        let lines = self.text.records(shard, epoch)?;
        Ok(Box::new(
            lines.filter(move |line| !line.as_ref().is_ok_and(is_blank)),
        ))
    }

    fn item(&self, record: &TextRecord) -> Result<JsonRecord, DataError> {
        JsonRecord::parse(record.line(), &record.path)
    }

    fn name(&self, record: &TextRecord) -> Option<String> {
        self.text.name(record)
    }
}
