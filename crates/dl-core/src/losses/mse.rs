//! The squared error.

use candle_core::{Result, Tensor};
use dl_autograd::{PointwiseLoss, pointwise_loss};

use super::Reduction;

/// `(x − t)²`, as `torch.nn.functional.mse_loss`.
///
/// `prediction`, `target` of one shape → a scalar, or their shape unreduced. An error if the shapes
/// differ: PyTorch broadcasts, which hides mistakes.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{Reduction, mse_loss};
/// let x = Tensor::new(&[1f32, 5.], &Device::Cpu)?;
/// let t = Tensor::new(&[0f32, 2.], &Device::Cpu)?;
/// assert_eq!(mse_loss(&x, &t, Reduction::Mean)?.to_scalar::<f32>()?, 5.);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn mse_loss(prediction: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    pointwise_loss(prediction, target, PointwiseLoss::Squared, reduction)
}
