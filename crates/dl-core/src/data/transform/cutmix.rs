//! Rectangles exchanged within a batch.

use candle_core::{Device, Tensor};

use super::soft_targets::{blend, check_alpha, reordered, soft_targets};
use super::{Draw, Transform};
use crate::data::DataError;

/// Pastes a rectangle of another image into every image of a batch; targets are blended by area.
///
/// `(b, c, h, w)` of floats and `u32 (b,)` or `f32 (b, classes)` → `(b, c, h, w)` and
/// `f32 (b, classes)`
///
/// ```text
/// rectangle of √(1 − λ)·h × √(1 − λ)·w about a random centre, clipped      λ ~ Beta(α, α)
/// ỹᵢ = λ' yᵢ + (1 − λ') y_π(i)                        λ' = 1 − area of the rectangle / (h·w)
/// ```
///
/// One rectangle and one π for the batch, drawn from (seed, epoch, batch).
/// Source: Yun, Han, Oh, Chun, Choe, Yoo, "CutMix: Regularization strategy to train strong classifiers
/// with localizable features", 2019.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::data::{Cutmix, Draw, Transform};
/// let zeros = Tensor::zeros((1, 1, 8, 8), candle_core::DType::F32, &Device::Cpu)?;
/// let x = Tensor::cat(&[&zeros, &zeros.ones_like()?], 0)?;
/// let y = Tensor::new(&[0u32, 1], &Device::Cpu)?;
/// let (x, y) = Cutmix { alpha: 1., classes: 2 }.apply((x, y), &mut Draw::of_batch(3, 0, 0))?;
/// // A share of each image is of the class whose images are all ones.
/// assert_eq!(x.mean((1, 2, 3))?.to_vec1::<f32>()?, y.get_on_dim(1, 1)?.to_vec1::<f32>()?);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cutmix {
    /// Both parameters of the beta distribution, `> 0`. The paper's is `1`, any area alike.
    pub alpha: f64,
    /// Number of classes, `> 0`.
    pub classes: usize,
}

impl Transform<(Tensor, Tensor)> for Cutmix {
    fn apply(
        &self,
        (inputs, targets): (Tensor, Tensor),
        draw: &mut Draw,
    ) -> Result<(Tensor, Tensor), DataError> {
        check_alpha("alpha of cutmix", self.alpha)?;
        let targets = soft_targets(&targets, self.classes)?;
        let (b, _, height, width) = inputs.dims4()?;
        let share = (1.0 - draw.beta(self.alpha)).sqrt();
        let (top, bottom) = side(height, share, draw);
        let (left, right) = side(width, share, draw);
        let order = draw.permutation(b);
        let inside = |i: usize| {
            let (y, x) = (i / width, i % width);
            u8::from((top..bottom).contains(&y) && (left..right).contains(&x))
        };
        let mask: Vec<u8> = (0..height * width).map(inside).collect();
        let mask = Tensor::from_vec(mask, (1, 1, height, width), &Device::Cpu)?;
        let mask = mask
            .to_device(inputs.device())?
            .broadcast_as(inputs.shape())?;
        let pasted = (bottom - top) * (right - left);
        let lambda = 1.0 - pasted as f64 / (height * width) as f64;
        Ok((
            mask.where_cond(&reordered(&inputs, &order)?, &inputs)?,
            blend(&targets, &reordered(&targets, &order)?, lambda)?,
        ))
    }
}

/// First and end of a rectangle's side about a random centre, clipped.
fn side(length: usize, share: f64, draw: &mut Draw) -> (usize, usize) {
    let half = (share * length as f64) as usize / 2;
    let centre = draw.below(length);
    (centre.saturating_sub(half), (centre + half).min(length))
}
