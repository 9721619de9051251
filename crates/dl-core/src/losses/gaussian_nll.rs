//! The likelihood of values with a variance of their own.

use candle_core::{D, DType, Result, Tensor, bail};
use dl_autograd::{PointwiseLoss, add, pointwise_loss, scale};

use super::Reduction;
use super::same_shape::same_shape;

/// PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaussianNllOptions {
    /// Whether `log(2π)/2` is added. Default `false`.
    pub full: bool,
    /// ε, the least variance, `> 0`. Default `1e-6`.
    pub eps: f64,
}

impl Default for GaussianNllOptions {
    fn default() -> Self {
        Self {
            full: false,
            eps: 1e-6,
        }
    }
}

/// The negative log-likelihood of values from normal distributions whose variance is predicted too,
/// as `torch.nn.functional.gaussian_nll_loss`.
///
/// `prediction`, `target` of one shape, `variance` of that shape, or with 1 in place of its last
/// dimension or without it → a scalar, or their shape unreduced
///
/// ```text
/// v = max(variance, ε)        ℓ = (log v + (x − t)²/v)/2
/// ```
///
/// As in PyTorch the gradient of the variance passes where it is clamped. An error if the shapes do
/// not fit or a variance is negative.
///
/// Source: Nix, Weigend, "Estimating the mean and variance of the target probability distribution",
/// 1994.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{Reduction, gaussian_nll_loss};
/// let x = Tensor::new(&[3f32], &Device::Cpu)?;
/// let t = Tensor::new(&[1f32], &Device::Cpu)?;
/// let one = Tensor::new(&[1f32], &Device::Cpu)?;
/// let loss = gaussian_nll_loss(&x, &t, &one, Default::default(), Reduction::Mean)?;
/// assert_eq!(loss.to_scalar::<f32>()?, 2.);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn gaussian_nll_loss(
    prediction: &Tensor,
    target: &Tensor,
    variance: &Tensor,
    options: GaussianNllOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    let name = "gaussian_nll_loss";
    same_shape(name, ("prediction", prediction), ("target", target))?;
    let deviation = add(prediction, &scale(target, -1.)?)?;
    let variance = spread(variance, prediction)?;
    let GaussianNllOptions { full, eps } = options;
    let loss = PointwiseLoss::GaussianNll { full, eps };
    pointwise_loss(&deviation, &variance, loss, reduction)
}

fn spread(variance: &Tensor, prediction: &Tensor) -> Result<Tensor> {
    if variance.elem_count() > 0 && variance.dtype().is_float() {
        let least = variance.detach().to_dtype(DType::F64)?.flatten_all()?;
        let least = least.min(0)?.to_scalar::<f64>()?;
        if least < 0. {
            bail!("gaussian_nll_loss takes a variance ≥ 0, got {least}")
        }
    }
    let (wanted, got) = (prediction.dims(), variance.dims());
    if got == wanted {
        return Ok(variance.clone());
    }
    let variance = match wanted.split_last() {
        Some((_, front)) if got == front => variance.unsqueeze(D::Minus1)?,
        Some((_, front)) if got.split_last() == Some((&1, front)) => variance.clone(),
        _ => {
            bail!("gaussian_nll_loss of prediction {wanted:?} takes a variance alike, got {got:?}")
        }
    };
    variance.broadcast_as(wanted)
}
