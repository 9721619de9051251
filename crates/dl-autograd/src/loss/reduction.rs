//! What becomes of the losses of a batch.

use candle_core::{Result, Tensor};

use crate::sum::sum;
use crate::view::scale;

/// How the losses of a batch are put together. The default is PyTorch's.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::Reduction;
/// let losses = Tensor::new(&[1f32, 3.], &Device::Cpu)?;
/// assert_eq!(Reduction::Mean.apply(&losses)?.to_scalar::<f32>()?, 2.);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean, a scalar. NaN of no losses at all.
    #[default]
    Mean,
    /// Their sum, a scalar.
    Sum,
    /// Their sum divided by the size of the first dimension, a scalar: `batchmean` of PyTorch's
    /// `kl_div`, which is what the divergence is defined as.
    BatchMean,
    /// Each loss by itself.
    None,
}

impl Reduction {
    /// Reduces losses of any shape.
    pub fn apply(self, losses: &Tensor) -> Result<Tensor> {
        let batch = losses.dims().first().copied().unwrap_or(1);
        match self.divisor(losses.elem_count() as f64, batch) {
            Some(divisor) => scale(&sum(losses)?, 1. / divisor),
            None => Ok(losses.clone()),
        }
    }

    /// What the sum is divided by, where there is one; a mean is over `count` losses.
    pub(super) fn divisor(self, count: f64, batch: usize) -> Option<f64> {
        match self {
            Self::Mean => Some(count),
            Self::Sum => Some(1.),
            Self::BatchMean => Some(batch as f64),
            Self::None => None,
        }
    }
}
