//! What can go wrong with checkpoints.

use std::path::PathBuf;

/// Why a checkpoint could not be written or read.
///
/// ```
/// use dl_core::checkpoint::{CheckpointError, Checkpoints};
/// let error = Checkpoints::load("no/such/step-00000001").unwrap_err();
/// assert!(matches!(error, CheckpointError::Damaged { .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file system has too little room; nothing was written.
    #[error(
        "the checkpoint needs {needed} bytes and {} has {available} free; free space or keep fewer",
        folder.display()
    )]
    NoSpace {
        /// The folder of the checkpoints.
        folder: PathBuf,
        /// Bytes of the checkpoint.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// A file is missing, cut off or changed.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No checkpoint in the folder can be used.
    #[error("no checkpoint in {}{}", folder.display(), tried(damaged))]
    None {
        /// The folder.
        folder: PathBuf,
        /// Those that are there but damaged.
        damaged: Vec<PathBuf>,
    },
    /// No checkpoint has this metric.
    #[error("no checkpoint in {} has the metric `{metric}`", folder.display())]
    NoMetric {
        /// The folder.
        folder: PathBuf,
        /// The metric.
        metric: String,
    },
    /// The checkpoint is of a later format.
    #[error("{} has format {came}, this version reads up to {wanted}", path.display())]
    Format {
        /// The manifest.
        path: PathBuf,
        /// The newest that is read.
        wanted: u32,
        /// The file's.
        came: u32,
    },
    /// The run asks for a part that the checkpoint lacks: another set of callbacks or options.
    #[error("the checkpoint has no part `{part}`; it has {}", known.join(", "))]
    MissingPart {
        /// The part.
        part: String,
        /// The parts that are there.
        known: Vec<String>,
    },
    /// A part is not what the run expects.
    #[error("part `{part}` of the checkpoint does not fit: {reason}")]
    Part {
        /// The part.
        part: String,
        /// What does not fit.
        reason: String,
    },
    /// A value that JSON cannot hold.
    #[error("a state cannot be written as JSON: {reason}")]
    Unwritable {
        /// What serde said.
        reason: serde_json::Error,
    },
    /// A part whose name cannot be a file name.
    #[error(
        "a part of a checkpoint cannot be named `{name}`: letters, digits, `_`, `-` and `.` only"
    )]
    PartName {
        /// The name.
        name: String,
    },
    /// The thread that writes ended without an answer.
    #[error("the thread that writes checkpoints panicked")]
    WriterGone,
    /// Tensors could not be written.
    #[error(transparent)]
    Save(#[from] dl_files::Error),
    /// Tensors could not be copied.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

fn tried(damaged: &[PathBuf]) -> String {
    if damaged.is_empty() {
        return String::new();
    }
    let names: Vec<_> = damaged.iter().map(|p| p.display().to_string()).collect();
    format!(" is whole; damaged: {}", names.join(", "))
}
