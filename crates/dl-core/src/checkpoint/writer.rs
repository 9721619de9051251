//! Checkpoints written while the training goes on.

use std::path::PathBuf;
use std::thread::JoinHandle;

use super::{CheckpointError, Checkpoints, Snapshot};

type Result<T> = std::result::Result<T, CheckpointError>;

/// Writes checkpoints on a thread of its own, one at a time.
///
/// The caller waits only while the tensors are copied, and for the checkpoint before if that is
/// still being written. An error of a write is returned by the next call; dropping the writer waits
/// and logs it.
///
/// ```
/// use dl_core::checkpoint::{Checkpoints, Keep, Snapshot, Writer};
/// let folder = std::env::temp_dir().join(format!("writer-{}", std::process::id()));
/// let checkpoints = Checkpoints::create(&folder, Keep::default())?;
/// let mut writer = Writer::new(checkpoints.clone());
/// writer.save(&Snapshot { step: 1, ..Default::default() })?;
/// let path = writer.finish()?;
/// assert_eq!(path, Some(folder.join("step-00000001")));
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok::<(), dl_core::checkpoint::CheckpointError>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    checkpoints: Checkpoints,
    writing: Option<JoinHandle<Result<PathBuf>>>,
}

impl Writer {
    /// A writer into this folder.
    pub fn new(checkpoints: Checkpoints) -> Self {
        Self {
            checkpoints,
            writing: None,
        }
    }

    /// Copies the snapshot and begins to write it. Returns the checkpoint that was finished before.
    pub fn save(&mut self, snapshot: &Snapshot) -> Result<Option<PathBuf>> {
        let before = self.finish()?;
        let (snapshot, checkpoints) = (snapshot.copied()?, self.checkpoints.clone());
        let thread = std::thread::Builder::new().name("checkpoint".to_string());
        let spawned = thread.spawn(move || checkpoints.save(&snapshot));
        self.writing = Some(spawned.map_err(|source| CheckpointError::Io {
            path: self.checkpoints.folder().to_path_buf(),
            source,
        })?);
        Ok(before)
    }

    /// Waits until nothing is being written, and returns what was.
    pub fn finish(&mut self) -> Result<Option<PathBuf>> {
        let Some(writing) = self.writing.take() else {
            return Ok(None);
        };
        let path = writing.join().map_err(|_| CheckpointError::WriterGone)?;
        path.map(Some)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!("{error}");
        }
    }
}
