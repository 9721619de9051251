//! A random part of an image at a fixed size.

use super::resize::resized;
use super::window::Window;
use super::{Draw, Transform};
use crate::data::{DataError, Image};

/// Cuts a rectangle of random area and aspect at a random place and resizes it: how ImageNet is trained on.
///
/// ```text
/// area = s · height · width, s ~ U(scale)      width / height = r, ln r ~ U(ln ratio)
/// ```
///
/// After ten rectangles that do not fit, the largest central one with an allowed aspect is taken.
/// The rule is torchvision's; the random numbers are ours.
/// Source: Szegedy et al., "Going deeper with convolutions", 2014.
///
/// ```
/// use dl_core::data::{Draw, Image, RandomResizedCrop, Transform};
/// let crop = RandomResizedCrop { height: 224, width: 224, ..Default::default() };
/// let image = Image::new(30, 40, 3, vec![128; 3600])?;
/// assert_eq!(crop.apply(image, &mut Draw::new(0, 0, 0))?.shape(), [3, 224, 224]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomResizedCrop {
    /// Rows of the result, `> 0`. Default 224.
    pub height: usize,
    /// Columns of the result, `> 0`. Default 224.
    pub width: usize,
    /// Least and largest share of the area, `0 < least ≤ largest ≤ 1`. Default `(0.08, 1)`.
    pub scale: (f64, f64),
    /// Least and largest `width / height`, `0 < least ≤ largest`. Default `(3/4, 4/3)`.
    pub ratio: (f64, f64),
}

impl Default for RandomResizedCrop {
    fn default() -> Self {
        Self {
            height: 224,
            width: 224,
            scale: (0.08, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
        }
    }
}

impl RandomResizedCrop {
    fn validate(&self) -> Result<(), DataError> {
        let (option, wanted, came) = if !is_range(self.scale, 1.0) {
            let wanted = "0 < least <= largest <= 1";
            ("scale of random resized crop", wanted, self.scale)
        } else if !is_range(self.ratio, f64::MAX) {
            let wanted = "0 < least <= largest";
            ("ratio of random resized crop", wanted, self.ratio)
        } else {
            return Ok(());
        };
        Err(DataError::Option {
            option,
            wanted,
            came: format!("{came:?}"),
        })
    }

    fn window(&self, image: &Image, draw: &mut Draw) -> Window {
        const TRIES: usize = 10;
        let area = image.height() as f64 * image.width() as f64;
        for _ in 0..TRIES {
            let target = area * draw.between(self.scale.0, self.scale.1);
            let aspect = draw.between(self.ratio.0.ln(), self.ratio.1.ln()).exp();
            let width = (target * aspect).sqrt().round_ties_even() as usize;
            let height = (target / aspect).sqrt().round_ties_even() as usize;
            let fits = |size, whole| 0 < size && size <= whole;
            if fits(width, image.width()) && fits(height, image.height()) {
                return Window {
                    top: draw.below(image.height() - height + 1),
                    left: draw.below(image.width() - width + 1),
                    height,
                    width,
                };
            }
        }
        self.central(image)
    }

    fn central(&self, image: &Image) -> Window {
        let (whole_height, whole_width) = (image.height(), image.width());
        let aspect = whole_width as f64 / whole_height as f64;
        let scaled = |size: f64, most| (size.round_ties_even() as usize).clamp(1, most);
        let height = if aspect < self.ratio.0 {
            scaled(whole_width as f64 / self.ratio.0, whole_height)
        } else {
            whole_height
        };
        let width = if aspect > self.ratio.1 {
            scaled(whole_height as f64 * self.ratio.1, whole_width)
        } else {
            whole_width
        };
        Window {
            top: (whole_height - height) / 2,
            left: (whole_width - width) / 2,
            height,
            width,
        }
    }
}

impl Transform<Image> for RandomResizedCrop {
    fn apply(&self, image: Image, draw: &mut Draw) -> Result<Image, DataError> {
        self.validate()?;
        let window = self.window(&image, draw);
        let part = window.cut(&image)?;
        resized(&part, self.height, self.width)
    }
}

fn is_range((least, largest): (f64, f64), most: f64) -> bool {
    0.0 < least && least <= largest && largest <= most
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn windows_lie_inside_and_keep_area_and_aspect() {
        let crop = RandomResizedCrop::default();
        let image = Image::new(120, 160, 1, vec![0; 120 * 160]).unwrap();
        for index in 0..2000 {
            let window = crop.window(&image, &mut Draw::new(3, 1, index));
            assert!(window.top + window.height <= 120 && window.left + window.width <= 160);
            let share = (window.height * window.width) as f64 / (120.0 * 160.0);
            // Both sides are rounded to whole pixels: at the least area, 39 pixels a side, 1/2 in 39.
            assert!((0.08 * 0.97..=1.0).contains(&share), "{window:?}");
            let aspect = window.width as f64 / window.height as f64;
            assert!(
                (0.75 * 0.97..=4.0 / 3.0 * 1.03).contains(&aspect),
                "{window:?}"
            );
        }
    }

    #[test]
    fn where_no_rectangle_fits_the_central_one_is_taken() {
        // 4×400 at the whole area: an aspect of at most 4/3 would need 35 rows, so every try fails.
        let crop = RandomResizedCrop {
            scale: (1.0, 1.0),
            ..Default::default()
        };
        let image = Image::new(4, 400, 1, vec![0; 1600]).unwrap();
        let window = crop.window(&image, &mut Draw::new(0, 0, 0));
        // 4 · 4/3 = 5.33 columns from (400 − 5) / 2.
        assert_eq!((window.height, window.width), (4, 5));
        assert_eq!((window.top, window.left), (0, 197));
    }

    #[test]
    fn impossible_ranges_are_named() {
        let image = Image::new(2, 2, 1, vec![0; 4]).unwrap();
        for scale in [(0.0, 1.0), (0.5, 0.2), (0.5, 1.5), (f64::NAN, 1.0)] {
            let crop = RandomResizedCrop {
                scale,
                ..Default::default()
            };
            let error = crop.apply(image.clone(), &mut Draw::new(0, 0, 0));
            assert!(error.unwrap_err().to_string().starts_with("scale of"));
        }
    }
}
