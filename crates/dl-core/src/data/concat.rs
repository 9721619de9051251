//! Data sets one after the other.

use super::{DataError, Dataset, Labelled};

/// The items of several data sets, those of the first first.
///
/// Sets of different kinds go together as `Box<dyn Dataset<Item = T>>`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::data::{Concat, Dataset, TensorDataset};
/// let part = |n: u32| {
///     let x = Tensor::arange(n, n + 3, &Device::Cpu)?;
///     TensorDataset::new(x.clone(), x)
/// };
/// let both = Concat::new(vec![part(0)?, part(10)?]);
/// assert_eq!(both.len(), 6);
/// assert_eq!(both.get(4)?.0.to_scalar::<u32>()?, 11);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Concat<D> {
    parts: Vec<D>,
    /// Where each part ends.
    ends: Vec<usize>,
}

impl<D: Dataset> Concat<D> {
    /// Joins the parts in their order.
    pub fn new(parts: Vec<D>) -> Self {
        let ends = parts.iter().scan(0usize, |end, part| {
            *end = end.saturating_add(part.len());
            Some(*end)
        });
        let ends = ends.collect();
        Self { parts, ends }
    }

    /// The data sets that were joined.
    pub fn parts(&self) -> &[D] {
        &self.parts
    }

    /// The labels of all items, where the parts know them.
    pub fn labels(&self) -> Vec<u32>
    where
        D: Labelled,
    {
        let labels = self.parts.iter().map(D::labels);
        labels.collect::<Vec<_>>().concat()
    }

    /// The part that holds an index, and the index within it.
    fn find(&self, index: usize) -> Option<(&D, usize)> {
        let n = self.ends.partition_point(|&end| end <= index);
        let start = n.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.parts.get(n).map(|part| (part, index - start))
    }
}

impl<D: Dataset> Dataset for Concat<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn get(&self, index: usize) -> Result<D::Item, DataError> {
        let len = self.len();
        match self.find(index) {
            Some((part, index)) => part.get(index),
            None => Err(DataError::OutOfRange { index, len }),
        }
    }

    fn name(&self, index: usize) -> String {
        match self.find(index) {
            Some((part, index)) => part.name(index),
            None => format!("#{index}"),
        }
    }
}
