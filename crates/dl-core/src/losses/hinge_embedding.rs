//! Distances of like and unlike pairs.

use candle_core::{Result, Tensor};
use dl_autograd::{PointwiseLoss, pointwise_loss};

use super::Reduction;

/// PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HingeEmbeddingOptions {
    /// The distance that unlike pairs should have. Default `1`.
    pub margin: f64,
}

impl Default for HingeEmbeddingOptions {
    fn default() -> Self {
        Self { margin: 1. }
    }
}

/// Draws like pairs together and unlike ones apart, as `torch.nn.functional.hinge_embedding_loss`.
///
/// `distance`, `target` of 1 for like and −1 for unlike pairs, of one shape → a scalar, or their
/// shape unreduced
///
/// ```text
/// ℓ = x where t = 1        ℓ = max(0, margin − x) where t = −1
/// ```
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{Reduction, hinge_embedding_loss};
/// let x = Tensor::new(&[0.25f32, 0.25], &Device::Cpu)?;
/// let t = Tensor::new(&[1f32, -1.], &Device::Cpu)?;
/// let loss = hinge_embedding_loss(&x, &t, Default::default(), Reduction::None)?;
/// assert_eq!(loss.to_vec1::<f32>()?, [0.25, 0.75]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn hinge_embedding_loss(
    distance: &Tensor,
    target: &Tensor,
    options: HingeEmbeddingOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    let loss = PointwiseLoss::HingeEmbedding {
        margin: options.margin,
    };
    pointwise_loss(distance, target, loss, reduction)
}
