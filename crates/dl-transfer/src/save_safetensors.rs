//! Safetensors files that appear whole or not at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Result as IoResult, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::error::Error;

/// The header's key for the metadata, which no tensor can have.
const METADATA: &str = "__metadata__";

/// Writes tensors and metadata as one safetensors file, replacing `path` in one step.
///
/// `"format": "pt"` is always in the metadata: transformers refuses files without it. The bytes
/// depend on the tensors and metadata only: names are sorted, data lies by falling element size
/// and then by name, so that every tensor is aligned.
///
/// The file is written to a sibling, synced, renamed, and the folder is synced. If anything fails
/// (no space, no permission), the sibling is removed and what was at `path` stays untouched.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_transfer::{Checkpoint, save_safetensors};
/// let path = std::env::temp_dir().join(format!("save-{}.safetensors", std::process::id()));
/// let bias = Tensor::new(&[0.5f32, -1.], &Device::Cpu)?;
/// save_safetensors(&path, [("fc.bias", &bias)], &[("epoch", "3")])?;
/// let file = Checkpoint::open(&path)?;
/// assert_eq!(file.metadata()["format"], "pt");
/// assert_eq!(file.metadata()["epoch"], "3");
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save_safetensors<N: Into<String>, T: AsRef<Tensor>>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (N, T)>,
    metadata: &[(&str, &str)],
) -> Result<(), Error> {
    let path = path.as_ref();
    let tensors = by_name(tensors)?;
    let order = data_order(&tensors);
    let header = header(&order, metadata)?;
    let mut sibling = Sibling::create(path).map_err(io(path))?;
    sibling.write(&(header.len() as u64).to_le_bytes())?;
    sibling.write(header.as_bytes())?;
    for (_, tensor) in order {
        sibling.write(&bytes(tensor)?)?;
    }
    sibling.replace()
}

fn by_name<N: Into<String>, T: AsRef<Tensor>>(
    tensors: impl IntoIterator<Item = (N, T)>,
) -> Result<BTreeMap<String, Tensor>, Error> {
    let mut sorted = BTreeMap::new();
    for (name, tensor) in tensors {
        let name = name.into();
        if name == METADATA {
            return Err(Error::ReservedName { name });
        }
        // Detached and shared: no data is copied here.
        if sorted
            .insert(name.clone(), tensor.as_ref().detach())
            .is_some()
        {
            return Err(Error::DuplicateName { name });
        }
    }
    Ok(sorted)
}

fn data_order(tensors: &BTreeMap<String, Tensor>) -> Vec<(&String, &Tensor)> {
    let mut order: Vec<_> = tensors.iter().collect();
    // Stable: equal sizes stay in name order.
    order.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size_in_bytes()));
    order
}

fn header(order: &[(&String, &Tensor)], metadata: &[(&str, &str)]) -> Result<String, Error> {
    let mut fields: BTreeMap<&str, &str> = metadata.iter().copied().collect();
    fields.insert("format", "pt");
    let mut offset = 0;
    let mut entries: BTreeMap<&str, Value> = BTreeMap::new();
    for (name, tensor) in order {
        let end = offset + tensor.elem_count() * tensor.dtype().size_in_bytes();
        let dtype = Dtype::from(tensor.dtype()).to_string();
        let entry = json!({"dtype": dtype, "shape": tensor.dims(), "data_offsets": [offset, end]});
        entries.insert(name, entry);
        offset = end;
    }
    let mut object = serde_json::Map::new();
    object.insert(METADATA.into(), json!(fields));
    object.extend(
        entries
            .into_iter()
            .map(|(name, entry)| (name.to_string(), entry)),
    );
    let mut text = Value::Object(object).to_string();
    // Spaces up to a multiple of eight, so that the data that follows is aligned.
    text.extend(std::iter::repeat_n(
        ' ',
        text.len().next_multiple_of(8) - text.len(),
    ));
    Ok(text)
}

/// The elements in row-major order, little-endian.
fn bytes(tensor: &Tensor) -> Result<Vec<u8>, Error> {
    let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
    macro_rules! little_endian {
        ($kind:ty) => {
            flat.to_vec1::<$kind>()?
                .into_iter()
                .flat_map(|x| x.to_le_bytes())
                .collect()
        };
    }
    Ok(match tensor.dtype() {
        DType::U8 => flat.to_vec1::<u8>()?,
        DType::U32 => little_endian!(u32),
        DType::I16 => little_endian!(i16),
        DType::I32 => little_endian!(i32),
        DType::I64 => little_endian!(i64),
        DType::BF16 => little_endian!(bf16),
        DType::F16 => little_endian!(f16),
        DType::F32 => little_endian!(f32),
        DType::F64 => little_endian!(f64),
        dtype => return Err(Error::UnsupportedSave { dtype }),
    })
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io { path, source }
}

/// A file beside its final place that is removed unless it gets there.
struct Sibling {
    writer: Option<BufWriter<File>>,
    temporary: PathBuf,
    path: PathBuf,
}

impl Sibling {
    fn create(path: &Path) -> IoResult<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
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

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match &mut self.writer {
            Some(writer) => writer.write_all(bytes).map_err(io(&self.path)),
            None => Ok(()),
        }
    }

    fn replace(mut self) -> Result<(), Error> {
        let writer = self.writer.take();
        let path = self.path.clone();
        self.sync_and_rename(writer).map_err(io(&path))
    }

    fn sync_and_rename(&mut self, writer: Option<BufWriter<File>>) -> IoResult<()> {
        if let Some(writer) = writer {
            writer
                .into_inner()
                .map_err(|e| e.into_error())?
                .sync_all()?;
        }
        std::fs::rename(&self.temporary, &self.path)?;
        sync_folder(&self.path)
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        // Closed first, unflushed: Windows removes no open file. After the rename nothing is
        // there to remove.
        if let Some(writer) = self.writer.take() {
            drop(writer.into_parts());
        }
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// Makes the rename itself durable. Only Unix can sync a folder.
fn sync_folder(path: &Path) -> IoResult<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
