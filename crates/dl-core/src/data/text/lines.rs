//! The lines of a file in memory.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::line::{Line, without_end};
use crate::data::{DataError, plain_or_gzip};

/// A file that is kept as it is, and where its lines are.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    path: PathBuf,
    bytes: Vec<u8>,
    /// The number of each line that is kept, and its bytes.
    spans: Vec<(u64, Range<usize>)>,
}

impl Lines {
    /// Fails when nothing is kept.
    pub fn open(path: &Path, keep: fn(Line) -> bool) -> Result<Self, DataError> {
        let bytes = plain_or_gzip::read_text(path)?;
        let (mut spans, mut start) = (Vec::new(), 0);
        for (number, whole) in (1..).zip(bytes.split_inclusive(|&byte| byte == b'\n')) {
            let bytes = without_end(whole);
            if keep(Line {
                path,
                number,
                bytes,
            }) {
                spans.push((number, start..start + bytes.len()));
            }
            start += whole.len();
        }
        let path = path.to_owned();
        match spans.is_empty() {
            true => Err(DataError::EmptyFile {
                path,
                wanted: "at least one line",
            }),
            false => Ok(Self { path, bytes, spans }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn get(&self, index: usize) -> Result<Line<'_>, DataError> {
        let len = self.len();
        let (number, span) = self
            .spans
            .get(index)
            .ok_or(DataError::OutOfRange { index, len })?;
        Ok(Line {
            path: &self.path,
            number: *number,
            bytes: &self.bytes[span.clone()],
        })
    }

    pub fn name(&self, index: usize) -> String {
        match self.get(index) {
            Ok(line) => line.to_string(),
            Err(_) => format!("#{index}"),
        }
    }
}
