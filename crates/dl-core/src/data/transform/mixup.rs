//! Batches blended with themselves.

use candle_core::Tensor;

use super::soft_targets::{blend, check_alpha, reordered, soft_targets};
use super::{Draw, Transform};
use crate::data::DataError;

/// Blends every input of a batch, and its target, with those of another one.
///
/// `(b, …)` of floats and `u32 (b,)` or `f32 (b, classes)` → `(b, …)` and `f32 (b, classes)`
///
/// ```text
/// x̃ᵢ = λ xᵢ + (1 − λ) x_π(i)      ỹᵢ = λ yᵢ + (1 − λ) y_π(i)      λ ~ Beta(α, α), π a permutation
/// ```
///
/// One λ and one π for the batch, drawn from (seed, epoch, batch). The targets are shares of classes,
/// which [`cross_entropy`](crate::losses::cross_entropy) takes as they are. Set with
/// [`DataLoader::batch_transform`](crate::data::DataLoader::batch_transform).
/// Source: Zhang, Cissé, Dauphin, Lopez-Paz, "mixup: Beyond empirical risk minimization", 2017.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::data::{Draw, Mixup, Transform};
/// let x = Tensor::new(&[[0f32], [1.]], &Device::Cpu)?;
/// let y = Tensor::new(&[0u32, 1], &Device::Cpu)?;
/// let (x, y) = Mixup { alpha: 0.2, classes: 2 }.apply((x, y), &mut Draw::of_batch(0, 0, 0))?;
/// // The input is the share of class 1 here, and stays so.
/// assert_eq!(x.flatten_all()?.to_vec1::<f32>()?, y.get_on_dim(1, 1)?.to_vec1::<f32>()?);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixup {
    /// Both parameters of the beta distribution, `> 0`; the smaller, the less is blended. timm trains
    /// ImageNet with `0.2` to `0.8`.
    pub alpha: f64,
    /// Number of classes, `> 0`.
    pub classes: usize,
}

impl Transform<(Tensor, Tensor)> for Mixup {
    fn apply(
        &self,
        (inputs, targets): (Tensor, Tensor),
        draw: &mut Draw,
    ) -> Result<(Tensor, Tensor), DataError> {
        check_alpha("alpha of mixup", self.alpha)?;
        let targets = soft_targets(&targets, self.classes)?;
        let lambda = draw.beta(self.alpha);
        let order = draw.permutation(inputs.dim(0)?);
        Ok((
            blend(&inputs, &reordered(&inputs, &order)?, lambda)?,
            blend(&targets, &reordered(&targets, &order)?, lambda)?,
        ))
    }
}
