//! The squared error that outliers cannot dominate.

use candle_core::{Result, Tensor};
use dl_autograd::{PointwiseLoss, pointwise_loss};

use super::Reduction;

/// PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HuberOptions {
    /// δ, where the line begins, `> 0`. Default `1`.
    pub delta: f64,
}

impl Default for HuberOptions {
    fn default() -> Self {
        Self { delta: 1. }
    }
}

/// The squared error near the target and the absolute one far off, as
/// `torch.nn.functional.huber_loss`.
///
/// `prediction`, `target` of one shape → a scalar, or their shape unreduced
///
/// ```text
/// d = |x − t|        ℓ = d²/2 where d ≤ δ, δ·(d − δ/2) elsewhere
/// ```
///
/// Source: Huber, "Robust estimation of a location parameter", 1964.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{HuberOptions, Reduction, huber_loss};
/// let x = Tensor::new(&[1f32, 5.], &Device::Cpu)?;
/// let t = Tensor::new(&[0f32, 1.], &Device::Cpu)?;
/// let loss = huber_loss(&x, &t, HuberOptions { delta: 2. }, Reduction::Sum)?;
/// assert_eq!(loss.to_scalar::<f32>()?, 0.5 + 6.);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn huber_loss(
    prediction: &Tensor,
    target: &Tensor,
    options: HuberOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    let loss = PointwiseLoss::Huber {
        delta: options.delta,
    };
    pointwise_loss(prediction, target, loss, reduction)
}
