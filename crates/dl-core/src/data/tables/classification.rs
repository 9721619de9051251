//! A table with a column of classes.

use candle_core::{Device, Tensor};

use super::{ClassLabels, Table};
use crate::data::{DataError, Dataset, Labelled};

/// Numbers and a class for each row, made by [`Table::classification`]: `f32 (features,)`, `u32 ()`.
///
/// ```
/// use dl_core::data::{DataLoader, StackTensors, Table, TableFormat};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("t.csv");
/// std::fs::write(&path, "x,kind\n1,b\n2,a\n3,b\n")?;
/// let data = Table::open(&path, &TableFormat::csv())?.classification(&["x"], "kind")?;
/// let loader = DataLoader::new(data, StackTensors).batch_size(3);
/// let (x, kinds) = loader.epoch(0)?.next().unwrap()?;
/// assert_eq!(x.dims(), [3, 1]);
/// assert_eq!(kinds.to_vec1::<u32>()?, [1, 0, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TableClassification {
    table: Table,
    features: Vec<usize>,
    classes: ClassLabels,
}

impl TableClassification {
    pub(super) fn new(table: Table, features: Vec<usize>, classes: ClassLabels) -> Self {
        Self {
            table,
            features,
            classes,
        }
    }
}

impl Dataset for TableClassification {
    type Item = (Tensor, Tensor);

    fn len(&self) -> usize {
        self.table.len()
    }

    fn get(&self, index: usize) -> Result<(Tensor, Tensor), DataError> {
        let numbers = self.table.row(index)?.numbers_at(&self.features)?;
        let label = self.classes.labels.get(index).copied();
        let len = self.len();
        let label = label.ok_or(DataError::OutOfRange { index, len })?;
        Ok((
            Tensor::from_vec(numbers, self.features.len(), &Device::Cpu)?,
            Tensor::new(label, &Device::Cpu)?,
        ))
    }

    fn name(&self, index: usize) -> String {
        self.table.name(index)
    }
}

impl Labelled for TableClassification {
    fn labels(&self) -> &[u32] {
        &self.classes.labels
    }

    fn class_names(&self) -> &[String] {
        &self.classes.names
    }
}
