//! Tensors in memory as a data set.

use candle_core::Tensor;

use super::{DataError, Dataset};

/// Pairs of rows of two tensors: `inputs (n, …)`, `targets (n, …)` → `((…), (…))`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::data::{Dataset, TensorDataset};
/// let x = Tensor::arange(0f32, 6., &Device::Cpu)?.reshape((3, 2))?;
/// let y = Tensor::new(&[0u32, 1, 0], &Device::Cpu)?;
/// let dataset = TensorDataset::new(x, y)?;
/// let (input, target) = dataset.get(1)?;
/// assert_eq!(input.to_vec1::<f32>()?, [2., 3.]);
/// assert_eq!(target.to_scalar::<u32>()?, 1);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TensorDataset {
    inputs: Tensor,
    targets: Tensor,
    len: usize,
}

impl TensorDataset {
    /// Takes two tensors; fails unless they have the same first dimension.
    pub fn new(inputs: Tensor, targets: Tensor) -> Result<Self, DataError> {
        let (rows, wanted) = (inputs.dims().first(), targets.dims().first());
        match (rows, wanted) {
            (Some(&len), Some(&targets_len)) if len == targets_len => Ok(Self {
                inputs,
                targets,
                len,
            }),
            _ => Err(DataError::Shape {
                name: "the tensor of targets".to_owned(),
                wanted: inputs.dims().to_vec(),
                came: targets.dims().to_vec(),
            }),
        }
    }
}

impl Dataset for TensorDataset {
    type Item = (Tensor, Tensor);

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Result<(Tensor, Tensor), DataError> {
        if index >= self.len {
            let len = self.len;
            return Err(DataError::OutOfRange { index, len });
        }
        Ok((self.inputs.get(index)?, self.targets.get(index)?))
    }
}
