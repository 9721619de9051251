//! A part of a data set.

use super::{DataError, Dataset, Labelled};

/// The items of another data set at chosen indices, in their order.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::data::{Dataset, Subset, TensorDataset};
/// let x = Tensor::arange(0u32, 9, &Device::Cpu)?;
/// let subset = Subset::new(TensorDataset::new(x.clone(), x)?, vec![8, 2])?;
/// assert_eq!(subset.len(), 2);
/// assert_eq!(subset.get(0)?.0.to_scalar::<u32>()?, 8);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Subset<D> {
    dataset: D,
    indices: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// Chooses; `D` may be an `Arc` so that several subsets share one data set. Fails on an index
    /// beyond its end.
    pub fn new(dataset: D, indices: Vec<usize>) -> Result<Self, DataError> {
        let len = dataset.len();
        match indices.iter().find(|&&index| index >= len) {
            Some(&index) => Err(DataError::OutOfRange { index, len }),
            None => Ok(Self { dataset, indices }),
        }
    }

    /// The chosen indices.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// The labels of the chosen items, where the data set knows them.
    pub fn labels(&self) -> Vec<u32>
    where
        D: Labelled,
    {
        let labels = self.dataset.labels();
        let label = |&index: &usize| labels.get(index).copied();
        self.indices.iter().filter_map(label).collect()
    }

    /// The data set that was chosen from.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn get(&self, index: usize) -> Result<D::Item, DataError> {
        let len = self.len();
        match self.indices.get(index) {
            Some(&inner) => self.dataset.get(inner),
            None => Err(DataError::OutOfRange { index, len }),
        }
    }

    fn name(&self, index: usize) -> String {
        match self.indices.get(index) {
            Some(&inner) => self.dataset.name(inner),
            None => format!("#{index}"),
        }
    }
}
