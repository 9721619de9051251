//! The absolute error with a round tip.

use candle_core::{Result, Tensor};
use dl_autograd::{PointwiseLoss, pointwise_loss};

use super::Reduction;

/// PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothL1Options {
    /// β, where the line begins, `≥ 0`; 0 is the absolute error. Default `1`.
    pub beta: f64,
}

impl Default for SmoothL1Options {
    fn default() -> Self {
        Self { beta: 1. }
    }
}

/// The absolute error with a round tip, as `torch.nn.functional.smooth_l1_loss`.
///
/// `prediction`, `target` of one shape → a scalar, or their shape unreduced
///
/// ```text
/// d = |x − t|        ℓ = d²/(2β) where d < β, d − β/2 elsewhere
/// ```
///
/// Source: Girshick, "Fast R-CNN", 2015.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{Reduction, smooth_l1_loss};
/// let x = Tensor::new(&[1f32, 5.], &Device::Cpu)?;
/// let t = Tensor::new(&[0.5f32, 2.], &Device::Cpu)?;
/// let loss = smooth_l1_loss(&x, &t, Default::default(), Reduction::Sum)?;
/// assert_eq!(loss.to_scalar::<f32>()?, 0.125 + 2.5);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn smooth_l1_loss(
    prediction: &Tensor,
    target: &Tensor,
    options: SmoothL1Options,
    reduction: Reduction,
) -> Result<Tensor> {
    let loss = PointwiseLoss::SmoothL1 { beta: options.beta };
    pointwise_loss(prediction, target, loss, reduction)
}
