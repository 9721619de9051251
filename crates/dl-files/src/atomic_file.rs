//! Files that are either the old one or the new one, whatever happens in between.

use std::fs::{self, File};
use std::io::{BufWriter, Result, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file beside its final place, which takes that place whole or is removed.
///
/// [`AtomicFile::commit`] syncs it, renames it and syncs the folder, so a crash at any moment leaves
/// the old file or the new one. Dropped before that, it leaves what was there.
///
/// ```
/// use std::io::Write;
/// let path = std::env::temp_dir().join(format!("atomic-{}.txt", std::process::id()));
/// let mut file = dl_files::AtomicFile::create(&path)?;
/// file.write_all(b"whole")?;
/// assert!(!path.exists());
/// file.commit()?;
/// assert_eq!(std::fs::read(&path)?, b"whole");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    /// `None` once the file is closed.
    writer: Option<BufWriter<File>>,
    temporary: PathBuf,
    path: PathBuf,
}

impl AtomicFile {
    /// Begins a file that is to be at `path`. Its folder must exist.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let path = path.as_ref();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.{number}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        // Never an existing file: it could be another process's, or a link to somewhere else.
        let file = File::create_new(&temporary)?;
        Ok(Self {
            writer: Some(BufWriter::with_capacity(1 << 20, file)),
            temporary,
            path: path.to_path_buf(),
        })
    }

    /// Puts the file in its place.
    pub fn commit(mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            writer
                .into_inner()
                .map_err(|error| error.into_error())?
                .sync_all()?;
        }
        fs::rename(&self.temporary, &self.path)?;
        sync_folder(self.path.parent().unwrap_or(Path::new("")))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match &mut self.writer {
            Some(writer) => writer.write(bytes),
            None => Ok(0),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // Closed first, unflushed: Windows removes no open file. After the rename nothing is there
        // to remove.
        if let Some(writer) = self.writer.take() {
            drop(writer.into_parts());
        }
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Makes `bytes` the content of the file at `path`, in one step.
pub fn replace(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Makes renames in a folder durable; the empty path is the current folder. Only Unix can.
pub fn sync_folder(folder: &Path) -> Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let current = folder.as_os_str().is_empty();
    File::open(if current { Path::new(".") } else { folder })?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn listing(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_that_is_given_up_half_way_leaves_the_old_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        replace(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"ne").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(listing(folder.path()), ["state"]);
    }

    #[test]
    fn a_path_without_a_file_name_is_an_error_and_leaves_nothing() {
        assert!(replace("/", b"x").is_err());
    }

    #[test]
    fn two_writers_of_one_path_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut one = AtomicFile::create(&path).unwrap();
        let mut two = AtomicFile::create(&path).unwrap();
        one.write_all(b"first").unwrap();
        two.write_all(b"second").unwrap();
        two.commit().unwrap();
        one.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(listing(folder.path()), ["state"]);
    }
}
