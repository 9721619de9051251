//! One file of events.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Histogram, event, record};
use crate::train::TrainError;

/// Writes numbers, histograms and texts of steps for TensorBoard; PyTorch's `SummaryWriter`.
///
/// Every event is handed to the system at once, so a run that is killed loses none.
///
/// ```
/// use dl_core::train::EventFile;
/// let folder = std::env::temp_dir().join(format!("events-{}", std::process::id()));
/// let mut file = EventFile::create(&folder)?;
/// file.scalars(1, &[("train/loss".to_string(), 0.5)])?;
/// // The version, 40 bytes, and the event, 48.
/// assert_eq!(std::fs::metadata(file.path())?.len(), 88);
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

const PREFIX: &str = "events.out.tfevents.";

impl EventFile {
    /// A new file in a folder, which is made if it is missing.
    pub fn create(folder: impl AsRef<Path>) -> Result<Self, TrainError> {
        let folder = folder.as_ref();
        let path = folder.join(file_name());
        let create = || -> io::Result<File> {
            fs::create_dir_all(folder)?;
            File::create_new(&path)
        };
        let file = create().map_err(failed(&path))?;
        let mut file = Self { path, file };
        file.write(&event::version(now()))?;
        Ok(file)
    }

    /// Takes what is behind a step off the files of a folder, and a last event that was cut off, so that
    /// a run which goes on from that step writes none of them twice; without a step, the files.
    pub fn cut(folder: impl AsRef<Path>, step: Option<u64>) -> Result<(), TrainError> {
        let folder = folder.as_ref();
        let names = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            names => names.map_err(failed(folder))?,
        };
        for entry in names {
            let path = entry.map_err(failed(folder))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy());
            if name.is_some_and(|name| name.starts_with(PREFIX)) {
                let cut = step.map_or_else(|| fs::remove_file(&path), |step| cut_file(&path, step));
                cut.map_err(failed(&path))?;
            }
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Numbers of a step by tag; the part of a tag before a `/` is its heading.
    pub fn scalars(&mut self, step: u64, values: &[(String, f64)]) -> Result<(), TrainError> {
        self.write(&event::scalars(now(), step, values))
    }

    /// How values are spread at a step.
    pub fn histogram(
        &mut self,
        step: u64,
        tag: &str,
        histogram: &Histogram,
    ) -> Result<(), TrainError> {
        self.write(&event::histogram(now(), step, tag, histogram))
    }

    /// A text in Markdown.
    pub fn text(&mut self, step: u64, tag: &str, text: &str) -> Result<(), TrainError> {
        self.write(&event::text(now(), step, tag, text))
    }

    /// Tells a TensorBoard that is running to forget what it has shown from `step` on.
    pub fn forget_from(&mut self, step: u64) -> Result<(), TrainError> {
        self.write(&event::session_start(now(), step))
    }

    fn write(&mut self, event: &[u8]) -> Result<(), TrainError> {
        let written = self.file.write_all(&record::record(event));
        written.map_err(failed(&self.path))
    }
}

/// Files are read in the order of their names.
fn file_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let host = sysinfo::System::host_name().unwrap_or_else(|| "localhost".to_string());
    let (seconds, process) = (now() as u64, std::process::id());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{seconds:010}.{host}.{process}.{count}")
}

fn cut_file(path: &Path, step: u64) -> io::Result<()> {
    let bytes = fs::read(path)?;
    let mut rest = &bytes[..];
    while let Some((event, behind)) = record::split(rest) {
        if event::step_of(event).is_none_or(|at| at > step) {
            break;
        }
        rest = behind;
    }
    if rest.is_empty() {
        return Ok(());
    }
    let file = File::options().write(true).open(path)?;
    file.set_len((bytes.len() - rest.len()) as u64)
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0., |since| since.as_secs_f64())
}

fn failed(path: &Path) -> impl Fn(io::Error) -> TrainError {
    move |reason| TrainError::Write {
        path: path.to_path_buf(),
        reason,
    }
}
