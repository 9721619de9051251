//! Angles of like and unlike pairs.

use candle_core::{D, Result, Tensor, bail};
use dl_autograd::{PointwiseLoss, mul, pointwise_loss};

use super::Reduction;
use super::same_shape::same_shape;

/// Added to each squared length, as PyTorch does.
const EPSILON: f64 = 1e-12;

/// PyTorch's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CosineEmbeddingOptions {
    /// The cosine below which unlike pairs are left alone, in `[-1, 1]`. Default `0`.
    pub margin: f64,
}

/// Turns like pairs the same way and unlike ones apart, as
/// `torch.nn.functional.cosine_embedding_loss`.
///
/// `first`, `second (n, d)` or `(d,)`, `target (n,)` or `()` of 1 or −1 in their type → a scalar, or
/// the shape of the target unreduced
///
/// ```text
/// ℓ = 1 − cos where t = 1        ℓ = max(0, cos − margin) where t = −1
/// cos = x₁·x₂ / √((‖x₁‖² + 1e-12)·(‖x₂‖² + 1e-12))
/// ```
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{Reduction, cosine_embedding_loss};
/// let a = Tensor::new(&[[1f32, 0.], [3., 4.]], &Device::Cpu)?;
/// let b = Tensor::new(&[[0f32, 1.], [3., 4.]], &Device::Cpu)?;
/// let t = Tensor::new(&[1f32, -1.], &Device::Cpu)?;
/// let loss = cosine_embedding_loss(&a, &b, &t, Default::default(), Reduction::None)?;
/// assert_eq!(loss.to_vec1::<f32>()?, [1., 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn cosine_embedding_loss(
    first: &Tensor,
    second: &Tensor,
    target: &Tensor,
    options: CosineEmbeddingOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    let name = "cosine_embedding_loss";
    same_shape(name, ("first", first), ("second", second))?;
    if !matches!(first.rank(), 1 | 2) {
        bail!("{name} takes first (n, d) or (d,), got {:?}", first.shape())
    }
    let dot = |a: &Tensor, b: &Tensor| mul(a, b)?.sum(D::Minus1);
    let length = |a: &Tensor| dot(a, a)? + EPSILON;
    let lengths = (length(first)? * length(second)?)?.sqrt()?;
    // As a distance: 0 for pairs that point the same way.
    let distance = (dot(first, second)? / lengths)?.affine(-1., 1.)?;
    let loss = PointwiseLoss::HingeEmbedding {
        margin: 1. - options.margin,
    };
    pointwise_loss(&distance, target, loss, reduction)
}
