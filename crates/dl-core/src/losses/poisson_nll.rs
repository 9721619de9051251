//! The likelihood of counts.

use candle_core::{Result, Tensor};
use dl_autograd::{PointwiseLoss, pointwise_loss};

use super::Reduction;

/// PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoissonNllOptions {
    /// Whether the prediction is the logarithm of the rate. Default `true`.
    pub log_input: bool,
    /// Whether Stirling's form of `log t!` is added where `t > 1`. Default `false`.
    pub full: bool,
    /// ε, added to a rate before its logarithm, `> 0`. Default `1e-8`.
    pub eps: f64,
}

impl Default for PoissonNllOptions {
    fn default() -> Self {
        Self {
            log_input: true,
            full: false,
            eps: 1e-8,
        }
    }
}

/// The negative log-likelihood of counts from a Poisson distribution, as
/// `torch.nn.functional.poisson_nll_loss`.
///
/// `prediction`, `target` of one shape → a scalar, or their shape unreduced
///
/// ```text
/// ℓ = eˣ − t·x        ℓ = x − t·log(x + ε) of a rate that is no logarithm
/// log t! ≈ t·log t − t + log(2πt)/2
/// ```
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{Reduction, poisson_nll_loss};
/// let x = Tensor::new(&[0f32, 0.], &Device::Cpu)?;
/// let t = Tensor::new(&[3f32, 1.], &Device::Cpu)?;
/// let loss = poisson_nll_loss(&x, &t, Default::default(), Reduction::Mean)?;
/// assert_eq!(loss.to_scalar::<f32>()?, 1.);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn poisson_nll_loss(
    prediction: &Tensor,
    target: &Tensor,
    options: PoissonNllOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    let PoissonNllOptions {
        log_input,
        full,
        eps,
    } = options;
    let loss = PointwiseLoss::PoissonNll {
        log_input,
        full,
        eps,
    };
    pointwise_loss(prediction, target, loss, reduction)
}
