//! Reads of byte ranges from one open file, checked against its length before memory is taken.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// An open file and its length at the time it was opened.
#[derive(Debug)]
pub(crate) struct ByteFile {
    file: Mutex<File>,
    len: u64,
}

impl ByteFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(Error::new(ErrorKind::IsADirectory, "is a directory"));
        }
        let len = metadata.len();
        Ok(Self {
            file: Mutex::new(file),
            len,
        })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The first `len` bytes, fewer if the file is shorter.
    pub(crate) fn head(&self, len: u64) -> Result<Vec<u8>> {
        self.read(0, len.min(self.len))
    }

    /// `len` bytes from `start`; an error, before anything is allocated, if the file has fewer.
    pub(crate) fn read(&self, start: u64, len: u64) -> Result<Vec<u8>> {
        let inside = start.checked_add(len).is_some_and(|end| end <= self.len);
        let len = usize::try_from(len).ok().filter(|_| inside);
        let Some(len) = len else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        let mut bytes = vec![0; len];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// A second handle on the file, at its beginning.
    pub(crate) fn reader(&self) -> Result<File> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut copy = file.try_clone()?;
        copy.seek(SeekFrom::Start(0))?;
        Ok(copy)
    }
}
