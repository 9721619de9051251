//! The table of contents of a PyTorch file: the pickled views on the storages' bytes.

use std::collections::BTreeMap;

use super::PthError;
use super::object::SavedObject;
use super::pickle::Pickle;
use super::tensor_view::TensorView;
use crate::contents::{Contents, Entry};

/// An expanded tensor is larger than its storage; up to this many bytes it is always read.
const MAX_EXPANDED: u64 = 16 << 20;

/// A range of bytes in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Data {
    pub start: u64,
    pub len: u64,
}

/// Checks every tensor against its storage's data, so that reading it later fails on I/O only.
pub(crate) fn contents(
    object: &Pickle,
    key: Option<&str>,
    data: &BTreeMap<String, Data>,
    file_len: u64,
) -> Result<Contents, PthError> {
    let saved = SavedObject::read(object, key)?;
    let mut entries = BTreeMap::new();
    for (name, view) in saved.tensors {
        view.check(&name, file_len.max(MAX_EXPANDED))?;
        let storage = stored(&view, data)?;
        entries.insert(name, entry(view, storage));
    }
    Ok(Contents {
        entries,
        metadata: saved.scalars,
        numbers: saved.numbers,
    })
}

fn stored(view: &TensorView, data: &BTreeMap<String, Data>) -> Result<Data, PthError> {
    let storage = &view.storage;
    let found = data.get(&storage.key).copied();
    let wanted = storage.len.saturating_mul(storage.element.bytes());
    let whole = found.filter(|data| data.len == wanted);
    whole.ok_or_else(|| PthError::StorageData {
        key: storage.key.clone(),
        found: found.map_or(0, |data| data.len),
        wanted,
    })
}

fn entry(view: TensorView, storage: Data) -> Entry {
    let (offset, len) = view.span();
    Entry {
        element: view.storage.element,
        shape: view.shape.clone(),
        start: storage.start.saturating_add(offset),
        len,
        view: (!view.is_contiguous()).then_some(view),
    }
}
