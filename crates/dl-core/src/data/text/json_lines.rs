//! JSON lines as a data set.

use std::path::Path;
use std::sync::Arc;

use super::JsonRecord;
use super::lines::Lines;
use crate::data::{DataError, Dataset};

/// One item for each line of a `.jsonl` file, plain or compressed, held in memory; blank lines are
/// passed over.
///
/// A line is parsed when it is asked for, on the thread that asks, and fails then unless it is a JSON
/// object.
///
/// ```
/// use dl_core::data::{Dataset, JsonLines};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("reviews.jsonl");
/// std::fs::write(&path, "{\"text\": \"good\", \"label\": 1}\n{\"text\": \"bad\", \"label\": 0}\n")?;
/// let reviews = JsonLines::open(&path)?.map(|r| Ok((r.text("text")?.to_owned(), r.index("label")?)));
/// assert_eq!(reviews.get(0)?, ("good".to_owned(), 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct JsonLines {
    lines: Lines,
    path: Arc<Path>,
}

impl JsonLines {
    /// Reads the file; fails when it cannot be read or has only blank lines.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let lines = Lines::open(path.as_ref(), |line| !line.is_blank())?;
        let path = Arc::from(lines.path());
        Ok(Self { lines, path })
    }
}

impl Dataset for JsonLines {
    type Item = JsonRecord;

    fn len(&self) -> usize {
        self.lines.len()
    }

    fn get(&self, index: usize) -> Result<JsonRecord, DataError> {
        JsonRecord::parse(self.lines.get(index)?, &self.path)
    }

    fn name(&self, index: usize) -> String {
        self.lines.name(index)
    }
}
