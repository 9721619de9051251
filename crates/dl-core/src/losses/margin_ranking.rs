//! Which of two is the larger.

use candle_core::{Result, Tensor};
use dl_autograd::{PointwiseLoss, add, pointwise_loss, scale};

use super::Reduction;
use super::same_shape::same_shape;

/// PyTorch's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MarginRankingOptions {
    /// The difference that is wanted. Default `0`.
    pub margin: f64,
}

/// Ranks `first` above `second` where the target is 1 and below where it is −1, as
/// `torch.nn.functional.margin_ranking_loss`.
///
/// `first`, `second`, `target` of one shape → a scalar, or their shape unreduced
///
/// ```text
/// ℓ = max(0, margin − t·(x₁ − x₂))
/// ```
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{MarginRankingOptions, Reduction, margin_ranking_loss};
/// let a = Tensor::new(&[1f32, 3.], &Device::Cpu)?;
/// let b = Tensor::new(&[2f32, 1.], &Device::Cpu)?;
/// let t = Tensor::new(&[1f32, 1.], &Device::Cpu)?;
/// let options = MarginRankingOptions { margin: 0.5 };
/// let loss = margin_ranking_loss(&a, &b, &t, options, Reduction::None)?;
/// assert_eq!(loss.to_vec1::<f32>()?, [1.5, 0.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn margin_ranking_loss(
    first: &Tensor,
    second: &Tensor,
    target: &Tensor,
    options: MarginRankingOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    same_shape("margin_ranking_loss", ("first", first), ("second", second))?;
    let loss = PointwiseLoss::MarginRanking {
        margin: options.margin,
    };
    let difference = add(first, &scale(second, -1.)?)?;
    pointwise_loss(&difference, target, loss, reduction)
}
