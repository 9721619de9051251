//! A rectangle blotted out at random.

use super::{Draw, Transform};
use crate::data::option::probability;
use crate::data::{DataError, Image};

/// Fills a rectangle of random area, aspect and place with one value, with probability `p`.
///
/// ```text
/// area = s · height · width, s ~ U(scale)      height / width = r, ln r ~ U(ln ratio)
/// ```
///
/// After ten rectangles that do not fit the image stays as it is, as in torchvision. Unlike there, the
/// image still has eight bits and is not normalised: black is 0, the mean of ImageNet about 114.
/// Source: Zhong, Zheng, Kang, Li, Yang, "Random erasing data augmentation", 2017.
///
/// ```
/// use dl_core::data::{Draw, Image, RandomErasing, Transform};
/// let erase = RandomErasing { p: 1., scale: (0.25, 0.25), ratio: (1., 1.), value: 0 };
/// let image = Image::new(8, 8, 1, vec![255; 64])?;
/// let image = erase.apply(image, &mut Draw::new(0, 0, 0))?;
/// assert_eq!(image.pixels().iter().filter(|&&p| p == 0).count(), 16);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomErasing {
    /// Probability of a rectangle, in `[0, 1]`. Default `0.5`.
    pub p: f64,
    /// Least and largest share of the area, `0 < least ≤ largest ≤ 1`. Default `(0.02, 0.33)`.
    pub scale: (f64, f64),
    /// Least and largest `height / width`, `0 < least ≤ largest`. Default `(0.3, 3.3)`.
    pub ratio: (f64, f64),
    /// What the rectangle is filled with. Default `0`.
    pub value: u8,
}

impl Default for RandomErasing {
    fn default() -> Self {
        Self {
            p: 0.5,
            scale: (0.02, 0.33),
            ratio: (0.3, 3.3),
            value: 0,
        }
    }
}

impl RandomErasing {
    fn validate(&self) -> Result<(), DataError> {
        probability("the probability of random erasing", self.p)?;
        let ranges = [
            ("scale of random erasing", self.scale, 1.0),
            ("ratio of random erasing", self.ratio, f64::MAX),
        ];
        let bad = |&(_, (least, largest), most): &(_, (f64, f64), f64)| {
            !(0.0 < least && least <= largest && largest <= most)
        };
        match ranges.into_iter().find(bad) {
            Some((option, came, _)) => Err(DataError::Option {
                option,
                wanted: "0 < least <= largest, a scale at most 1",
                came: format!("{came:?}"),
            }),
            None => Ok(()),
        }
    }

    /// Height and width, if a rectangle fits.
    fn size(&self, height: usize, width: usize, draw: &mut Draw) -> Option<(usize, usize)> {
        const TRIES: usize = 10;
        let area = height as f64 * width as f64;
        (0..TRIES).find_map(|_| {
            let target = area * draw.between(self.scale.0, self.scale.1);
            let aspect = draw.between(self.ratio.0.ln(), self.ratio.1.ln()).exp();
            let tall = (target * aspect).sqrt().round_ties_even() as usize;
            let wide = (target / aspect).sqrt().round_ties_even() as usize;
            (tall < height && wide < width).then_some((tall, wide))
        })
    }
}

impl Transform<Image> for RandomErasing {
    fn apply(&self, image: Image, draw: &mut Draw) -> Result<Image, DataError> {
        self.validate()?;
        let [channels, height, width] = image.shape();
        if !draw.chance(self.p) {
            return Ok(image);
        }
        let Some((tall, wide)) = self.size(height, width, draw) else {
            return Ok(image);
        };
        let top = draw.below(height - tall + 1);
        let left = draw.below(width - wide + 1);
        let mut pixels = image.pixels().to_vec();
        for y in top..top + tall {
            let first = (y * width + left) * channels;
            pixels[first..first + wide * channels].fill(self.value);
        }
        Image::new(height, width, channels, pixels)
    }
}
