//! What a run is made of at one step.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::CheckpointError;

/// One thing's state: tensors by name, and what is not a tensor.
///
/// ```
/// use dl_core::checkpoint::Part;
/// let part = Part::values(&("patience", 3))?;
/// assert_eq!(part.read::<(String, usize)>("early_stopping")?.1, 3);
/// # Ok::<(), dl_core::checkpoint::CheckpointError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Everything else, as JSON.
    pub values: Value,
}

impl Part {
    /// A part of tensors only.
    pub fn tensors(tensors: BTreeMap<String, Tensor>) -> Self {
        Self {
            tensors,
            values: Value::Null,
        }
    }

    /// A part without tensors. Fails on what JSON cannot hold, such as a map whose keys are not text.
    pub fn values(values: &impl Serialize) -> std::result::Result<Self, CheckpointError> {
        Ok(Self {
            tensors: BTreeMap::new(),
            values: serde_json::to_value(values)
                .map_err(|reason| CheckpointError::Unwritable { reason })?,
        })
    }

    /// The values as they were before; `part` is the name in the error if they are something else.
    pub fn read<T: DeserializeOwned>(&self, part: &str) -> std::result::Result<T, CheckpointError> {
        serde_json::from_value(self.values.clone()).map_err(|reason| CheckpointError::Part {
            part: part.to_string(),
            reason: reason.to_string(),
        })
    }

    pub(super) fn copied(&self) -> Result<Self> {
        let copies = self.tensors.iter();
        let copies = copies.map(|(name, tensor)| Ok((name.clone(), tensor.detach().copy()?)));
        Ok(Self {
            tensors: copies.collect::<Result<_>>()?,
            values: self.values.clone(),
        })
    }
}

/// Everything a run needs to go on: its parts by name.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Optimizer steps taken.
    pub step: usize,
    /// The metrics of the last evaluation, by which the best checkpoint is found.
    pub metrics: BTreeMap<String, f64>,
    /// The parts; their names become file names.
    pub parts: BTreeMap<String, Part>,
}

impl Snapshot {
    /// The part of this name.
    pub fn part(&self, name: &str) -> std::result::Result<&Part, CheckpointError> {
        self.parts
            .get(name)
            .ok_or_else(|| CheckpointError::MissingPart {
                part: name.to_string(),
                known: self.parts.keys().cloned().collect(),
            })
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        let tensors = self.parts.values().flat_map(|part| part.tensors.values());
        let size = |t: &Tensor| (t.elem_count() * t.dtype().size_in_bytes()) as u64;
        tensors.map(size).sum()
    }

    /// A copy that later steps do not change.
    pub fn copied(&self) -> Result<Self> {
        let parts = self.parts.iter();
        let parts = parts.map(|(name, part)| Ok((name.clone(), part.copied()?)));
        Ok(Self {
            step: self.step,
            metrics: self.metrics.clone(),
            parts: parts.collect::<Result<_>>()?,
        })
    }
}
