//! What becomes of the losses of the samples.

use candle_core::{Result, Tensor};

/// How the losses of a batch are put together. The default is PyTorch's.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::Reduction;
/// let losses = Tensor::new(&[1f32, 3.], &Device::Cpu)?;
/// assert_eq!(Reduction::Mean.apply(&losses)?.to_scalar::<f32>()?, 2.);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean, a scalar.
    #[default]
    Mean,
    /// Their sum, a scalar.
    Sum,
    /// One loss a sample.
    None,
}

impl Reduction {
    /// Reduces `(n,)` losses.
    pub fn apply(self, losses: &Tensor) -> Result<Tensor> {
        match self {
            Self::Mean => losses.mean_all(),
            Self::Sum => losses.sum_all(),
            Self::None => Ok(losses.clone()),
        }
    }
}
