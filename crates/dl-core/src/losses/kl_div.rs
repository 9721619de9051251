//! The divergence of two distributions.

use candle_core::{Result, Tensor};
use dl_autograd::{PointwiseLoss, pointwise_loss};

use super::Reduction;

/// PyTorch's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KlDivOptions {
    /// Whether the target is the logarithm of probabilities too. Default `false`.
    pub log_target: bool,
}

/// The Kullback–Leibler divergence of a prediction from a target, as `torch.nn.functional.kl_div`.
///
/// `log_probabilities`, `target` of one shape → a scalar, or their shape unreduced
///
/// ```text
/// ℓ = t·(log t − x), 0 where t = 0        ℓ = eᵗ·(t − x) of the logarithm of a target
/// ```
///
/// The divergence is the sum over the classes: [`Reduction::BatchMean`] gives its mean over the
/// batch, [`Reduction::Mean`] divides by the number of classes as well.
///
/// Source: Kullback, Leibler, "On information and sufficiency", 1951.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{Reduction, kl_div};
/// let x = Tensor::new(&[[0.5f64.ln(), 0.5f64.ln()]], &Device::Cpu)?;
/// let t = Tensor::new(&[[1f64, 0.]], &Device::Cpu)?;
/// let loss = kl_div(&x, &t, Default::default(), Reduction::BatchMean)?;
/// assert!((loss.to_scalar::<f64>()? - 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn kl_div(
    log_probabilities: &Tensor,
    target: &Tensor,
    options: KlDivOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    let loss = match options.log_target {
        true => PointwiseLoss::KlDivOfLog,
        false => PointwiseLoss::KlDiv,
    };
    pointwise_loss(log_probabilities, target, loss, reduction)
}
