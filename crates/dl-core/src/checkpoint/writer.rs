//! Checkpoints written while the training goes on.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
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
    worker: Option<Worker>,
    writing: bool,
}

/// One thread for the whole run: a new one for every checkpoint would take its memory from another
/// arena of the allocator each time.
#[derive(Debug)]
struct Worker {
    snapshots: Sender<Snapshot>,
    written: Receiver<Result<PathBuf>>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn spawn(checkpoints: Checkpoints) -> std::io::Result<Self> {
        let (snapshots, to_write) = channel::<Snapshot>();
        let (done, written) = channel();
        let thread = std::thread::Builder::new().name("checkpoint".to_string());
        let thread = thread.spawn(move || {
            for snapshot in to_write {
                let result = checkpoints.save(&snapshot);
                drop(snapshot);
                if done.send(result).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            snapshots,
            written,
            thread,
        })
    }
}

impl Writer {
    /// A writer into this folder.
    pub fn new(checkpoints: Checkpoints) -> Self {
        Self {
            checkpoints,
            worker: None,
            writing: false,
        }
    }

    /// Copies the snapshot and begins to write it. Returns the checkpoint that was finished before.
    pub fn save(&mut self, snapshot: &Snapshot) -> Result<Option<PathBuf>> {
        let before = self.finish()?;
        let snapshot = snapshot.copied()?;
        let sent = self.worker()?.snapshots.send(snapshot);
        sent.map_err(|_| CheckpointError::WriterGone)?;
        self.writing = true;
        Ok(before)
    }

    fn worker(&mut self) -> Result<&Worker> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::spawn(self.checkpoints.clone()).map_err(|source| {
                let path = self.checkpoints.folder().to_path_buf();
                CheckpointError::Io { path, source }
            })?,
        };
        Ok(self.worker.insert(worker))
    }

    /// Waits until nothing is being written, and returns what was.
    pub fn finish(&mut self) -> Result<Option<PathBuf>> {
        if !std::mem::take(&mut self.writing) {
            return Ok(None);
        }
        let written = self.worker()?.written.recv();
        match written {
            Ok(path) => path.map(Some),
            Err(_) => {
                // It panicked; the next checkpoint gets a new one.
                self.worker = None;
                Err(CheckpointError::WriterGone)
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!("{error}");
        }
        if let Some(Worker {
            snapshots, thread, ..
        }) = self.worker.take()
        {
            drop(snapshots);
            let _ = thread.join();
        }
    }
}
