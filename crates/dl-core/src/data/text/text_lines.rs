//! The lines of a text file as a data set.

use std::path::Path;

use super::lines::Lines;
use crate::data::{DataError, Dataset};

/// One item for each line of a file, plain or compressed, held in memory.
///
/// Empty lines are items too, so that line n is item n − 1; `.filter(|line| !line.is_empty())` leaves
/// them out. A line that is not UTF-8 fails when it is asked for.
///
/// ```
/// use dl_core::data::{Dataset, TextLines};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("words.txt");
/// std::fs::write(&path, "one\ntwo\r\nthree")?;
/// let lines = TextLines::open(&path)?;
/// assert_eq!(lines.len(), 3);
/// assert_eq!(lines.get(1)?, "two");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TextLines {
    lines: Lines,
}

impl TextLines {
    /// Reads the file; fails when it cannot be read or is empty.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let lines = Lines::open(path.as_ref(), |_| true)?;
        Ok(Self { lines })
    }
}

impl Dataset for TextLines {
    type Item = String;

    fn len(&self) -> usize {
        self.lines.len()
    }

    fn get(&self, index: usize) -> Result<String, DataError> {
        Ok(self.lines.get(index)?.text()?.to_owned())
    }

    fn name(&self, index: usize) -> String {
        self.lines.name(index)
    }
}
