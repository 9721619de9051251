//! The header of a safetensors file, checked against the file's length.

use std::collections::BTreeMap;

use safetensors::SafeTensorError;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::byte_file::ByteFile;
use crate::contents::{Contents, Entry};
use crate::element::{Element, element_count};

/// The format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// Why a header was refused.
pub(crate) enum HeaderError {
    Damaged(SafeTensorError),
    UnsupportedDtype { name: String, dtype: String },
}

impl<E: Into<SafeTensorError>> From<E> for HeaderError {
    fn from(error: E) -> Self {
        Self::Damaged(error.into())
    }
}

/// Whether a file of `len` bytes that begins with `head` is safetensors: a header length that
/// fits, then a JSON object.
pub(crate) fn is_safetensors(head: &[u8], len: u64) -> bool {
    match head.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) {
        Some(header) => head.get(8) == Some(&b'{') && header <= len - 8,
        None => false,
    }
}

/// Reads everything but the data. With `key`, only the tensors `key.…`, without that prefix.
pub(crate) fn read(file: &ByteFile, key: Option<&str>) -> Result<Contents, HeaderError> {
    let head = file.head(8)?;
    let len = head.first_chunk().ok_or(SafeTensorError::HeaderTooSmall)?;
    let len = u64::from_le_bytes(*len);
    if len > MAX_HEADER {
        return Err(SafeTensorError::HeaderTooLarge.into());
    }
    let header: Metadata = serde_json::from_slice(&file.read(8, len)?)?;
    let data_start = 8 + len;
    if header.data_len() as u64 != file.len() - data_start {
        return Err(SafeTensorError::MetadataIncompleteBuffer.into());
    }
    let metadata = header.metadata().iter().flatten();
    Ok(Contents {
        entries: entries(&header, key, data_start)?,
        metadata: metadata.map(|(k, v)| (k.clone(), v.clone())).collect(),
        numbers: BTreeMap::new(),
    })
}

fn entries(
    header: &Metadata,
    key: Option<&str>,
    data_start: u64,
) -> Result<BTreeMap<String, Entry>, HeaderError> {
    let mut entries = BTreeMap::new();
    for (full_name, info) in header.tensors() {
        let Some(name) = below(&full_name, key) else {
            continue;
        };
        element_count(&info.shape).ok_or(SafeTensorError::ValidationOverflow)?;
        let entry = entry(info, data_start).ok_or_else(|| HeaderError::UnsupportedDtype {
            name: full_name.clone(),
            dtype: info.dtype.to_string(),
        })?;
        entries.insert(name.to_string(), entry);
    }
    Ok(entries)
}

fn below<'a>(name: &'a str, key: Option<&str>) -> Option<&'a str> {
    match key {
        Some(key) => name.strip_prefix(key)?.strip_prefix('.'),
        None => Some(name),
    }
}

fn entry(info: &TensorInfo, data_start: u64) -> Option<Entry> {
    let (start, end) = info.data_offsets;
    Some(Entry {
        element: Element::of_safetensors(info.dtype)?,
        shape: info.shape.clone(),
        start: data_start + start as u64,
        len: (end - start) as u64,
        view: None,
    })
}
