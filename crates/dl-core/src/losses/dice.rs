//! The overlap of masks.

use candle_core::{D, Result, Tensor, bail};
use dl_autograd::{mul, reshape};

use super::Reduction;
use super::same_shape::same_shape;

/// What is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiceOptions {
    /// Added above and below the line, so that two empty masks overlap wholly, `> 0`. Default `1`.
    pub smooth: f64,
}

impl Default for DiceOptions {
    fn default() -> Self {
        Self { smooth: 1. }
    }
}

/// How far masks are from overlapping. PyTorch has none.
///
/// `probabilities`, `target (n, c, d1, …)` in `[0, 1]` → a scalar, or `(n, c)` unreduced
///
/// ```text
/// ℓ = 1 − (2·Σ p·t + s)/(Σ p + Σ t + s)        sums over all dimensions behind c
/// ```
///
/// An error if the shapes differ or there is no dimension behind the channels.
///
/// Source: Milletari, Navab, Ahmadi, "V-Net", 2016, with plain sums below the line as in Sudre et
/// al., 2017.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{Reduction, dice_loss};
/// let p = Tensor::new(&[[[1f32, 1., 0.]]], &Device::Cpu)?;
/// let t = Tensor::new(&[[[0f32, 1., 1.]]], &Device::Cpu)?;
/// let loss = dice_loss(&p, &t, Default::default(), Reduction::Mean)?;
/// assert!((loss.to_scalar::<f32>()? - 0.4).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn dice_loss(
    probabilities: &Tensor,
    target: &Tensor,
    options: DiceOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    let (name, s) = ("dice_loss", options.smooth);
    same_shape(name, ("probabilities", probabilities), ("target", target))?;
    let &[n, c, _, ..] = probabilities.dims() else {
        bail!(
            "{name} takes probabilities (n, c, d1, …), got {:?}",
            probabilities.shape()
        )
    };
    if !(s > 0. && s.is_finite()) {
        bail!("{name} needs a finite smooth > 0, got {s}")
    }
    let pixels = probabilities.dims()[2..].iter().product::<usize>();
    let total = |x: &Tensor| reshape(x, (n, c, pixels))?.sum(D::Minus1);
    let overlap = total(&mul(probabilities, target)?)?.affine(2., s)?;
    let size = ((total(probabilities)? + total(target)?)? + s)?;
    reduction.apply(&(overlap / size)?.affine(-1., 1.)?)
}
