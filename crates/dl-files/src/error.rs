//! Why tensors could not be written.

use std::path::PathBuf;

/// A file that could not be written; what was at its path is untouched.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[1f32], &Device::Cpu)?;
/// let error = dl_files::save_safetensors("no/such/folder/x.safetensors", [("x", &x)], &[]).unwrap_err();
/// assert!(error.to_string().starts_with("no/such/folder/x.safetensors: "));
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused; nothing half-written is left behind.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The same name was given twice.
    #[error("tensor `{name}` is given twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A name that the safetensors format keeps for itself.
    #[error("a tensor cannot be named `{name}` in a safetensors file")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// A dtype that is not written to files.
    #[error("saving tensors of dtype {dtype:?} is not supported; cast them first")]
    UnsupportedDType {
        /// The dtype.
        dtype: candle_core::DType,
    },
    /// A tensor could not be brought to the CPU.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
