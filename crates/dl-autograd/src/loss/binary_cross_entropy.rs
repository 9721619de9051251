//! The binary cross-entropy of logits.

use candle_core::{Result, Tensor, bail};

use super::class_targets::constant;
use super::pointwise::apply;
use super::{PointwiseLoss, Reduction};
use crate::host::widen;

/// PyTorch's defaults.
#[derive(Clone, Debug, Default)]
pub struct BinaryCrossEntropyOptions {
    /// Weight of each loss, a constant that broadcasts to the logits. Default 1.
    pub weight: Option<Tensor>,
    /// Weight of the positive part, a constant that broadcasts to the logits: above 1 it raises
    /// recall. Default 1.
    pub pos_weight: Option<Tensor>,
}

/// The binary cross-entropy of logits, as `torch.nn.functional.binary_cross_entropy_with_logits`.
///
/// `logits`, `targets` in `[0, 1]` of one shape and type → a scalar, or their shape unreduced
///
/// ```text
/// ℓ = w·(p·t·log(1 + e⁻ˣ) + (1 − t)·log(1 + eˣ))       p the weight of positives
/// ∂ℓ/∂x = w·((1 + (p − 1)·t)·σ(x) − p·t)                ∂ℓ/∂t = w·((p − 1)·log(1 + e⁻ˣ) − x)
/// ```
///
/// Neither exponential overflows, and unlike PyTorch's form a small loss keeps its digits. The mean
/// is over all elements, whatever their weights; of no elements it is NaN. An error if shapes or
/// types do not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{Reduction, binary_cross_entropy_with_logits};
/// let x = Tensor::new(&[0f64, 1e3], &Device::Cpu)?;
/// let t = Tensor::new(&[1f64, 1.], &Device::Cpu)?;
/// let loss = binary_cross_entropy_with_logits(&x, &t, &Default::default(), Reduction::Sum)?;
/// assert!((loss.to_scalar::<f64>()? - 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn binary_cross_entropy_with_logits(
    logits: &Tensor,
    targets: &Tensor,
    options: &BinaryCrossEntropyOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    let constants = match (&options.weight, &options.pos_weight) {
        (None, None) => None,
        (weight, positive) => Some((
            spread("weight", weight.as_ref(), logits)?,
            spread("pos_weight", positive.as_ref(), logits)?,
        )),
    };
    apply(
        logits,
        targets,
        PointwiseLoss::Logistic,
        constants,
        reduction,
    )
}

/// A weight for every element, in the type that the loss is computed in.
fn spread(what: &str, weight: Option<&Tensor>, logits: &Tensor) -> Result<Tensor> {
    let name = "binary_cross_entropy_with_logits";
    let Some(weight) = weight else {
        return widen(logits.detach().ones_like()?);
    };
    constant(name, what, weight)?;
    if weight.rank() > logits.rank() || weight.broadcast_as(logits.shape()).is_err() {
        bail!(
            "{name} of {:?} takes a {what} that broadcasts to it, got {:?}",
            logits.shape(),
            weight.shape()
        )
    }
    let weight = weight.to_dtype(logits.dtype())?;
    widen(weight.broadcast_as(logits.shape())?.contiguous()?)
}
