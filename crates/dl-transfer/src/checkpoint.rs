//! A file of named tensors, whatever its format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Shape, Tensor};

use crate::byte_file::ByteFile;
use crate::contents::Contents;
use crate::error::Error;
use crate::nearest_name::nearest_name;
use crate::pth::legacy::{self, is_pickle};
use crate::pth::zip_archive::{self, is_zip};
use crate::safetensors_header::{self, HeaderError, is_safetensors};

/// The container of a [`Checkpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `.safetensors`.
    Safetensors,
    /// `torch.save` before PyTorch 1.6, or with `_use_new_zipfile_serialization=False`.
    LegacyPth,
    /// `torch.save` since PyTorch 1.6.
    ZipPth,
}

/// What a file says about one of its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// The dtype of the candle tensor. Booleans become `U8`, signed bytes `I16`, unsigned 16-bit
    /// integers `U32`, because candle has no such dtypes.
    pub dtype: DType,
    /// The shape.
    pub shape: Shape,
}

/// An open file of named tensors: safetensors or a PyTorch `.pth`/`.pt`/`.bin`, told by content.
///
/// Opening reads and checks the whole table of contents; the data stays on disk and is read one
/// tensor at a time. A damaged or hostile file gives an error that names what is wrong, never a
/// panic and never more memory than the file's own size (16 MiB for tensors that repeat their
/// elements). Nothing of a pickle is run.
///
/// Differs from `torch.load`: only tensors and plain data are read. Tensors in nested dicts and
/// lists get dotted names; if the file has no tensors at the top but an entry `state_dict`,
/// `model_state_dict`, `model_state`, `model`, `net` or `weights`, that entry is the checkpoint.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_transfer::{Checkpoint, save_safetensors};
/// let path = std::env::temp_dir().join(format!("checkpoint-{}.safetensors", std::process::id()));
/// let weight = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// save_safetensors(&path, [("fc.weight", &weight)], &[])?;
///
/// let file = Checkpoint::open(&path)?;
/// assert_eq!(file.names().collect::<Vec<_>>(), ["fc.weight"]);
/// assert_eq!(file.info("fc.weight").map(|i| i.shape.dims().to_vec()), Some(vec![2, 2]));
/// let read = file.tensor("fc.weight", &Device::Cpu)?;
/// assert_eq!(read.to_vec2::<f32>()?, [[1., 2.], [3., 4.]]);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    format: Format,
    file: ByteFile,
    contents: Contents,
}

impl Checkpoint {
    /// Opens a file and reads its table of contents.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_within(path.as_ref(), None)
    }

    /// Opens one entry of a PyTorch file that holds several, such as `state_dict_ema`. Of a
    /// safetensors file, which has no entries, the tensors whose names begin with `key.`.
    pub fn open_entry(path: impl AsRef<Path>, key: &str) -> Result<Self, Error> {
        Self::open_within(path.as_ref(), Some(key))
    }

    fn open_within(path: &Path, key: Option<&str>) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: path.to_path_buf(),
            source,
        };
        let file = ByteFile::open(path).map_err(io)?;
        let head = file.head(64).map_err(io)?;
        let format = Format::of(&head, file.len()).ok_or_else(|| Error::UnknownFormat {
            path: path.to_path_buf(),
            looks_like: looks_like(&head),
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            format,
            contents: read_contents(format, path, &file, key)?,
            file,
        })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The container.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The metadata of a safetensors file, or the plain top-level values (`epoch`, `arch`, …) of
    /// a PyTorch file as text.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.contents.metadata
    }

    /// The integers that an optimizer's state has beside its tensors.
    pub(crate) fn numbers(&self) -> &BTreeMap<String, i64> {
        &self.contents.numbers
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.contents.entries.len()
    }

    /// Whether the file holds no tensors.
    pub fn is_empty(&self) -> bool {
        self.contents.entries.is_empty()
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.contents.entries.keys().map(String::as_str)
    }

    /// Dtype and shape of a tensor, without reading it.
    pub fn info(&self, name: &str) -> Option<TensorInfo> {
        let entry = self.contents.entries.get(name)?;
        Some(TensorInfo {
            dtype: entry.element.dtype(),
            shape: Shape::from(entry.shape.as_slice()),
        })
    }

    /// Reads one tensor, in the file's dtype. An unknown name is an error that tells the nearest.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor, Error> {
        let entry = self.contents.entries.get(name);
        let entry = entry.ok_or_else(|| Error::NoSuchTensor {
            name: name.to_string(),
            nearest: nearest_name(name, self.names()),
            path: self.path.clone(),
        })?;
        let bytes = entry.read(&self.file).map_err(|source| Error::Io {
            path: self.path.clone(),
            source,
        })?;
        Ok(entry.element.decode(&bytes, &entry.shape, device)?)
    }
}

impl Format {
    /// The format of a file of `len` bytes that begins with `head`.
    fn of(head: &[u8], len: u64) -> Option<Self> {
        // First by its stricter test: a pickle's first bytes can be read as a header length.
        if is_safetensors(head, len) {
            Some(Self::Safetensors)
        } else if is_zip(head) {
            Some(Self::ZipPth)
        } else if is_pickle(head) {
            Some(Self::LegacyPth)
        } else {
            None
        }
    }
}

fn read_contents(
    format: Format,
    path: &Path,
    file: &ByteFile,
    key: Option<&str>,
) -> Result<Contents, Error> {
    let pth = |source| Error::Pth {
        path: path.to_path_buf(),
        source,
    };
    match format {
        Format::LegacyPth => legacy::read(file, key).map_err(pth),
        Format::ZipPth => zip_archive::read(file, key).map_err(pth),
        Format::Safetensors => safetensors_header::read(file, key).map_err(|e| match e {
            HeaderError::Damaged(source) => Error::Safetensors {
                path: path.to_path_buf(),
                source,
            },
            HeaderError::UnsupportedDtype { name, dtype } => Error::UnsupportedDtype {
                path: path.to_path_buf(),
                name,
                dtype,
            },
        }),
    }
}

/// What people most often have instead of weights.
fn looks_like(head: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(head).to_lowercase();
    let text = text.trim_start();
    if head.is_empty() {
        "the file is empty"
    } else if text.starts_with("version https://git-lfs") {
        "this is a git-lfs pointer; fetch the file itself with `git lfs pull`"
    } else if text.starts_with("<!doctype") || text.starts_with("<html") {
        "this is a web page; the download went wrong"
    } else if text.starts_with("gguf") {
        "this is a GGUF file"
    } else if head.starts_with(&[0x1f, 0x8b]) {
        "this is a gzip file; unpack it first"
    } else if head.starts_with(b"\x93NUMPY") {
        "this is a NumPy array"
    } else {
        "its first bytes are unknown"
    }
}
