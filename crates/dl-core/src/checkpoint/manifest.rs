//! What a checkpoint consists of, and the sums that prove it whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{CheckpointError, Values};

/// The file's name.
pub(super) const MANIFEST: &str = "manifest.json";

/// The newest format that is written and read.
pub(super) const FORMAT: u32 = 1;

/// The content of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    pub format: u32,
    /// The version of this crate that wrote it.
    pub version: String,
    /// Optimizer steps taken.
    pub step: usize,
    pub(super) metrics: Values,
    /// Every other file.
    pub files: BTreeMap<String, FileSum>,
}

/// Size and checksum of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal digits, as `sha256sum` prints it.
    pub sha256: String,
}

impl Manifest {
    /// The metrics of the evaluation before the checkpoint.
    pub fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.metrics.0
    }

    /// Reads the manifest of a checkpoint without looking at the other files.
    pub fn read(checkpoint: &Path) -> Result<Self, CheckpointError> {
        let path = checkpoint.join(MANIFEST);
        let damaged = |reason: String| CheckpointError::Damaged {
            path: path.clone(),
            reason,
        };
        let text = std::fs::read(&path).map_err(|error| damaged(error.to_string()))?;
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if manifest.format > FORMAT {
            let (wanted, came) = (FORMAT, manifest.format);
            return Err(CheckpointError::Format { path, wanted, came });
        }
        Ok(manifest)
    }

    /// Compares every file with its sum.
    pub fn verify(&self, checkpoint: &Path) -> Result<(), CheckpointError> {
        for (name, wanted) in &self.files {
            let path = checkpoint.join(name);
            let came = sum_of(&path);
            let reason = match came {
                Err(error) => error.to_string(),
                Ok(came) if came.bytes != wanted.bytes => {
                    format!("it has {} bytes, not {}", came.bytes, wanted.bytes)
                }
                Ok(came) if came.sha256 != wanted.sha256 => {
                    format!("its SHA-256 is {}, not {}", came.sha256, wanted.sha256)
                }
                Ok(_) => continue,
            };
            return Err(CheckpointError::Damaged { path, reason });
        }
        Ok(())
    }
}

fn sum_of(path: &Path) -> io::Result<FileSum> {
    let (mut file, mut summing) = (File::open(path)?, Summing::new(io::sink()));
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(summing.finish().1),
            n => summing.write_all(&buffer[..n])?,
        }
    }
}

/// A writer that sums up what goes through it.
pub(super) struct Summing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Summing<W> {
    pub(super) fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    pub(super) fn finish(self) -> (W, FileSum) {
        let digest = self.hash.finalize();
        let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = self.bytes;
        (self.inner, FileSum { bytes, sha256 })
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
