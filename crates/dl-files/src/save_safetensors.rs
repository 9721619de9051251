//! Tensors as safetensors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::{AtomicFile, Error};

/// The header's key for the metadata, which no tensor can have.
const METADATA: &str = "__metadata__";

/// Writes tensors and metadata as one safetensors file, replacing `path` in one step.
///
/// `"format": "pt"` is always in the metadata: transformers refuses files without it. The bytes
/// depend on the tensors and metadata only: names are sorted, data lies by falling element size
/// and then by name, so that every tensor is aligned.
///
/// If anything fails (no space, no permission), what was at `path` stays untouched and nothing else
/// is left behind.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let path = std::env::temp_dir().join(format!("save-{}.safetensors", std::process::id()));
/// let bias = Tensor::new(&[0.5f32, -1.], &Device::Cpu)?;
/// dl_files::save_safetensors(&path, [("fc.bias", &bias)], &[("epoch", "3")])?;
/// let read = candle_core::safetensors::load(&path, &Device::Cpu)?;
/// assert_eq!(read["fc.bias"].to_vec1::<f32>()?, [0.5, -1.]);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save_safetensors<N: Into<String>, T: AsRef<Tensor>>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (N, T)>,
    metadata: &[(&str, &str)],
) -> Result<(), Error> {
    let path = path.as_ref();
    let io = |source| Error::Io {
        path: path.to_path_buf(),
        source,
    };
    let contents = Contents::new(tensors, metadata)?;
    let mut file = AtomicFile::create(path).map_err(io)?;
    contents.write(&mut file, &io)?;
    file.commit().map_err(io)
}

/// Writes the bytes of [`save_safetensors()`] anywhere; `path` is what errors call it.
pub fn write_safetensors<N: Into<String>, T: AsRef<Tensor>>(
    writer: &mut impl Write,
    path: &Path,
    tensors: impl IntoIterator<Item = (N, T)>,
    metadata: &[(&str, &str)],
) -> Result<(), Error> {
    let io = |source| Error::Io {
        path: path.to_path_buf(),
        source,
    };
    Contents::new(tensors, metadata)?.write(writer, &io)
}

/// A file before it is written.
struct Contents {
    header: String,
    /// In the order of their data.
    tensors: Vec<(String, Tensor)>,
}

impl Contents {
    fn new<N: Into<String>, T: AsRef<Tensor>>(
        tensors: impl IntoIterator<Item = (N, T)>,
        metadata: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let mut tensors: Vec<_> = by_name(tensors)?.into_iter().collect();
        // Stable: equal sizes stay in name order.
        tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size_in_bytes()));
        let header = header(&tensors, metadata)?;
        Ok(Self { header, tensors })
    }

    fn write(
        &self,
        writer: &mut impl Write,
        io: &impl Fn(std::io::Error) -> Error,
    ) -> Result<(), Error> {
        let length = (self.header.len() as u64).to_le_bytes();
        writer.write_all(&length).map_err(io)?;
        writer.write_all(self.header.as_bytes()).map_err(io)?;
        for (_, tensor) in &self.tensors {
            let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
            with_bytes(&tensor, |bytes| writer.write_all(bytes).map_err(io))?;
        }
        Ok(())
    }
}

fn by_name<N: Into<String>, T: AsRef<Tensor>>(
    tensors: impl IntoIterator<Item = (N, T)>,
) -> Result<BTreeMap<String, Tensor>, Error> {
    let mut sorted = BTreeMap::new();
    for (name, tensor) in tensors {
        let (name, tensor) = (name.into(), tensor.as_ref());
        if name == METADATA {
            return Err(Error::ReservedName { name });
        }
        let dtype = tensor.dtype();
        if !is_saved(dtype) {
            return Err(Error::UnsupportedDType { dtype });
        }
        // Detached and shared: no data is copied here.
        if sorted.insert(name.clone(), tensor.detach()).is_some() {
            return Err(Error::DuplicateName { name });
        }
    }
    Ok(sorted)
}

fn is_saved(dtype: DType) -> bool {
    use DType::*;
    matches!(dtype, U8 | U32 | I16 | I32 | I64 | BF16 | F16 | F32 | F64)
}

fn header(tensors: &[(String, Tensor)], metadata: &[(&str, &str)]) -> Result<String, Error> {
    let mut fields: BTreeMap<&str, &str> = metadata.iter().copied().collect();
    fields.insert("format", "pt");
    let mut offset = 0;
    let mut entries: BTreeMap<&str, Value> = BTreeMap::new();
    for (name, tensor) in tensors {
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

/// Lends the elements of a contiguous tensor on the CPU as little-endian bytes.
fn with_bytes(
    tensor: &Tensor,
    write: impl FnOnce(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let (storage, layout) = tensor.storage_and_layout();
    let range = layout.start_offset()..layout.start_offset() + layout.shape().elem_count();
    let Storage::Cpu(storage) = &*storage else {
        return Err(Error::Candle(candle_core::Error::Msg(
            "a tensor that was moved to the CPU is not there".to_string(),
        )));
    };
    let bytes = match storage {
        CpuStorage::U8(all) => little_endian(&all[range]),
        CpuStorage::U32(all) => little_endian(&all[range]),
        CpuStorage::I16(all) => little_endian(&all[range]),
        CpuStorage::I32(all) => little_endian(&all[range]),
        CpuStorage::I64(all) => little_endian(&all[range]),
        CpuStorage::BF16(all) => little_endian(&all[range]),
        CpuStorage::F16(all) => little_endian(&all[range]),
        CpuStorage::F32(all) => little_endian(&all[range]),
        CpuStorage::F64(all) => little_endian(&all[range]),
        _ => {
            let dtype = tensor.dtype();
            return Err(Error::UnsupportedDType { dtype });
        }
    };
    write(&bytes)
}

fn little_endian<T: bytemuck::Pod>(values: &[T]) -> Cow<'_, [u8]> {
    let bytes = bytemuck::cast_slice(values);
    if cfg!(target_endian = "little") {
        return Cow::Borrowed(bytes);
    }
    let mut bytes = bytes.to_vec();
    for value in bytes.chunks_exact_mut(size_of::<T>()) {
        value.reverse();
    }
    Cow::Owned(bytes)
}
