//! The table of contents of a file: what each tensor is and where its bytes lie.

use std::collections::BTreeMap;
use std::io::Result;

use crate::byte_file::ByteFile;
use crate::element::Element;
use crate::pth::tensor_view::TensorView;

/// The tensors and the metadata of a file, both by name.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub entries: BTreeMap<String, Entry>,
    pub metadata: BTreeMap<String, String>,
    /// Integers that an optimizer's state has beside its tensors.
    pub numbers: BTreeMap<String, i64>,
}

/// One tensor of a file.
#[derive(Debug)]
pub(crate) struct Entry {
    pub element: Element,
    pub shape: Vec<usize>,
    /// First byte in the file.
    pub start: u64,
    /// Bytes in the file.
    pub len: u64,
    /// The strides, where the elements do not simply follow each other.
    pub view: Option<TensorView>,
}

impl Entry {
    /// The elements in row-major order.
    pub(crate) fn read(&self, file: &ByteFile) -> Result<Vec<u8>> {
        let bytes = file.read(self.start, self.len)?;
        Ok(match &self.view {
            Some(view) => view.gather(&bytes).into_owned(),
            None => bytes,
        })
    }
}
