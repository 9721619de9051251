//! Binary cross-entropy that passes over what is easy.

use candle_core::{Result, Tensor};
use dl_autograd::{PointwiseLoss, pointwise_loss};

use super::Reduction;

/// torchvision's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FocalOptions {
    /// α, the weight of the positive class, in `[0, 1]`; without it both weigh 1. Default `0.25`.
    pub alpha: Option<f64>,
    /// γ, how much less easy examples count, `≥ 0`. Default `2`.
    pub gamma: f64,
}

impl Default for FocalOptions {
    fn default() -> Self {
        Self {
            alpha: Some(0.25),
            gamma: 2.,
        }
    }
}

/// Binary cross-entropy in which easy examples count less, as
/// `torchvision.ops.sigmoid_focal_loss` (whose `alpha=-1` is `None`).
///
/// `logits`, `targets` in `[0, 1]` of one shape → a scalar, or their shape unreduced
///
/// ```text
/// p = σ(x)        pₜ = p·t + (1 − p)·(1 − t)        αₜ = α·t + (1 − α)·(1 − t)
/// ℓ = αₜ·(1 − pₜ)ᵞ·binary_cross_entropy(x, t)
/// ```
///
/// Source: Lin, Goyal, Girshick, He, Dollár, "Focal loss for dense object detection", 2017.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{Reduction, sigmoid_focal_loss};
/// let x = Tensor::new(&[0f64], &Device::Cpu)?;
/// let t = Tensor::new(&[1f64], &Device::Cpu)?;
/// let loss = sigmoid_focal_loss(&x, &t, Default::default(), Reduction::Mean)?;
/// assert!((loss.to_scalar::<f64>()? - 0.25 * 0.25 * 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn sigmoid_focal_loss(
    logits: &Tensor,
    targets: &Tensor,
    options: FocalOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    let FocalOptions { alpha, gamma } = options;
    let loss = PointwiseLoss::Focal { alpha, gamma };
    pointwise_loss(logits, targets, loss, reduction)
}
