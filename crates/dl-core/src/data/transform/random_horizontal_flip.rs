//! Left and right exchanged at random.

use super::{Draw, Transform};
use crate::data::option::probability;
use crate::data::{DataError, Image};

/// Mirrors an image left to right with probability `p`.
///
/// ```
/// use dl_core::data::{Draw, Image, RandomHorizontalFlip, Transform};
/// let image = Image::new(1, 2, 3, vec![1, 2, 3, 4, 5, 6])?;
/// let flipped = RandomHorizontalFlip { p: 1. }.apply(image, &mut Draw::new(0, 0, 0))?;
/// assert_eq!(flipped.pixels(), [4, 5, 6, 1, 2, 3]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomHorizontalFlip {
    /// Probability of a flip, in `[0, 1]`. Default `0.5`.
    pub p: f64,
}

impl Default for RandomHorizontalFlip {
    fn default() -> Self {
        Self { p: 0.5 }
    }
}

impl Transform<Image> for RandomHorizontalFlip {
    fn apply(&self, image: Image, draw: &mut Draw) -> Result<Image, DataError> {
        probability("the probability of a horizontal flip", self.p)?;
        if draw.chance(self.p) {
            mirrored(&image)
        } else {
            Ok(image)
        }
    }
}

fn mirrored(image: &Image) -> Result<Image, DataError> {
    let [channels, height, width] = image.shape();
    let mut pixels = Vec::with_capacity(image.pixels().len());
    for y in 0..height {
        for pixel in image.row(y).chunks_exact(channels).rev() {
            pixels.extend_from_slice(pixel);
        }
    }
    Image::new(height, width, channels, pixels)
}
