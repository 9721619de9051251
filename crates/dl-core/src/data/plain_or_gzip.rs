//! Files that may be compressed.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::DataError;

/// Opens a file; one whose content begins as gzip's does is decompressed, whatever its name.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, DataError> {
    let mut file = BufReader::new(File::open(path).map_err(DataError::read(path))?);
    let start = file.fill_buf().map_err(DataError::read(path))?;
    Ok(match start.starts_with(&[0x1f, 0x8b]) {
        true => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        false => Box::new(file),
    })
}

/// Opens a file of text, behind the byte order mark it may begin with.
pub(super) fn open_text(path: &Path) -> Result<Box<dyn BufRead + Send>, DataError> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let mut file = open(path)?;
    // A compressed file may hand over fewer bytes than the mark has.
    let mut start = Vec::new();
    let three = MARK.len() as u64;
    file.by_ref()
        .take(three)
        .read_to_end(&mut start)
        .map_err(DataError::read(path))?;
    if start == MARK {
        start.clear();
    }
    Ok(Box::new(Cursor::new(start).chain(file)))
}

/// The whole file, without a byte order mark.
pub(super) fn read_text(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let mut file = open_text(path)?;
    file.read_to_end(&mut bytes)
        .map_err(DataError::read(path))?;
    Ok(bytes)
}
