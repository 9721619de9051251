//! One line of a file.

use std::fmt;
use std::path::Path;

use crate::data::DataError;
use crate::data::error::shown;

/// The bytes of a line, without its end, and where they are.
#[derive(Clone, Copy, Debug)]
pub(in crate::data) struct Line<'a> {
    pub path: &'a Path,
    /// From 1.
    pub number: u64,
    pub bytes: &'a [u8],
}

impl<'a> Line<'a> {
    /// Fails on bytes that are not UTF-8.
    pub fn text(self) -> Result<&'a str, DataError> {
        std::str::from_utf8(self.bytes).map_err(|error| {
            let at = error.valid_up_to();
            let byte = self.bytes.get(at).copied().unwrap_or_default();
            self.error("UTF-8", format!("the byte {byte:02x} at {at}"))
        })
    }

    /// Fails unless the line is a JSON object.
    pub fn object(self) -> Result<serde_json::Map<String, serde_json::Value>, DataError> {
        let text = self.text()?;
        serde_json::from_str(text).map_err(|reason| {
            let came = format!("{} ({reason})", shown(text));
            self.error("a JSON object", came)
        })
    }

    pub fn is_blank(self) -> bool {
        self.bytes.trim_ascii().is_empty()
    }

    fn error(self, wanted: &str, came: String) -> DataError {
        DataError::Line {
            path: self.path.to_owned(),
            line: self.number,
            wanted: wanted.to_owned(),
            came,
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.number)
    }
}

/// Takes the end of a line off.
pub(in crate::data) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
