//! An anchor nearer to its like than to its unlike.

use candle_core::{D, Result, Tensor, bail};
use dl_autograd::{PointwiseLoss, pointwise_loss};

use super::Reduction;
use super::same_shape::same_shape;

/// PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TripletMarginOptions {
    /// How much farther the unlike should be, `> 0`. Default `1`.
    pub margin: f64,
    /// The exponent of the norm, `≥ 1`. Default `2`.
    pub p: f64,
    /// Added to each difference, so that equal points have a gradient. Default `1e-6`.
    pub eps: f64,
    /// Whether the distance from the positive to the negative counts if it is the smaller one
    /// (Balntas et al., 2016). Default `false`.
    pub swap: bool,
}

impl Default for TripletMarginOptions {
    fn default() -> Self {
        Self {
            margin: 1.,
            p: 2.,
            eps: 1e-6,
            swap: false,
        }
    }
}

/// Draws an anchor nearer to the positive than to the negative, as
/// `torch.nn.functional.triplet_margin_loss`.
///
/// `anchor`, `positive`, `negative (…, d)` → a scalar, or `(…)` unreduced
///
/// ```text
/// d(x, y) = ‖x − y + ε‖ₚ        ℓ = max(0, margin + d(a, p) − d(a, n))
/// ```
///
/// Source: Schroff, Kalenichenko, Philbin, "FaceNet", 2015.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{Reduction, triplet_margin_loss};
/// let at = |x: f64, y: f64| Tensor::new(&[[x, y]], &Device::Cpu);
/// let (a, p, n) = (at(0., 0.)?, at(3., 4.)?, at(0., 2.)?);
/// let loss = triplet_margin_loss(&a, &p, &n, Default::default(), Reduction::Mean)?;
/// assert!((loss.to_scalar::<f64>()? - 4.).abs() < 1e-5);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn triplet_margin_loss(
    anchor: &Tensor,
    positive: &Tensor,
    negative: &Tensor,
    options: TripletMarginOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    let name = "triplet_margin_loss";
    same_shape(name, ("anchor", anchor), ("positive", positive))?;
    same_shape(name, ("anchor", anchor), ("negative", negative))?;
    let TripletMarginOptions { margin, p, eps, .. } = options;
    if !(p >= 1. && p.is_finite()) || margin <= 0. || anchor.rank() == 0 {
        bail!(
            "{name} takes anchor (…, d), a finite p ≥ 1 and a margin > 0, got {:?}, {p} and {margin}",
            anchor.shape()
        )
    }
    let near = distance(anchor, positive, p, eps)?;
    let far = distance(anchor, negative, p, eps)?;
    let far = match options.swap {
        true => far.minimum(&distance(positive, negative, p, eps)?)?,
        false => far,
    };
    let loss = PointwiseLoss::MarginRanking { margin };
    let farther = (far - near)?;
    pointwise_loss(&farther, &farther.ones_like()?.detach(), loss, reduction)
}

fn distance(a: &Tensor, b: &Tensor, p: f64, eps: f64) -> Result<Tensor> {
    let d = ((a - b)? + eps)?;
    if p == 2. {
        return d.sqr()?.sum(D::Minus1)?.sqrt();
    }
    let total = match p == 1. {
        true => return d.abs()?.sum(D::Minus1),
        false => d.abs()?.powf(p)?.sum(D::Minus1)?,
    };
    total.powf(1. / p)
}
