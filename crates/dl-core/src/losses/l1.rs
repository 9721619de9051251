//! The absolute error.

use candle_core::{Result, Tensor};
use dl_autograd::{PointwiseLoss, pointwise_loss};

use super::Reduction;

/// `|x − t|`, as `torch.nn.functional.l1_loss`, with the derivative 0 where they are equal.
///
/// `prediction`, `target` of one shape → a scalar, or their shape unreduced. An error if the shapes
/// differ.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{Reduction, l1_loss};
/// let x = Tensor::new(&[1f32, 5.], &Device::Cpu)?;
/// let t = Tensor::new(&[0f32, 2.], &Device::Cpu)?;
/// assert_eq!(l1_loss(&x, &t, Reduction::Mean)?.to_scalar::<f32>()?, 2.);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn l1_loss(prediction: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    pointwise_loss(prediction, target, PointwiseLoss::Absolute, reduction)
}
