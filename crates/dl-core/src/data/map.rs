//! A data set whose items are made of another's.

use super::{DataError, Dataset};

/// The items of a data set, each passed through a function; made by [`Dataset::map`].
///
/// ```
/// use dl_core::data::{DataError, Dataset, TensorDataset};
/// use candle_core::{Device, Tensor};
/// let x = Tensor::arange(0u32, 3, &Device::Cpu)?;
/// let doubled = TensorDataset::new(x.clone(), x)?.map(|(x, _)| Ok(x.to_scalar::<u32>()? * 2));
/// assert_eq!(doubled.get(2)?, 4);
/// # Ok::<(), DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Map<D, F> {
    dataset: D,
    change: F,
}

impl<D, F> Map<D, F> {
    pub(super) fn new(dataset: D, change: F) -> Self {
        Self { dataset, change }
    }
}

impl<D, F, T> Dataset for Map<D, F>
where
    D: Dataset,
    F: Fn(D::Item) -> Result<T, DataError> + Send + Sync,
{
    type Item = T;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn get(&self, index: usize) -> Result<T, DataError> {
        (self.change)(self.dataset.get(index)?)
    }

    fn name(&self, index: usize) -> String {
        self.dataset.name(index)
    }
}
