//! The middle of an image.

use super::window::{Window, check_size, pad};
use super::{Draw, Transform};
use crate::data::{DataError, Image};

/// Cuts the middle out of an image; a smaller image gets black margins first, as in torchvision.
///
/// ```
/// use dl_core::data::{CenterCrop, Draw, Image, Transform};
/// let image = Image::new(3, 3, 1, (1..=9).collect())?;
/// let middle = CenterCrop { height: 1, width: 3 }.apply(image, &mut Draw::new(0, 0, 0))?;
/// assert_eq!(middle.pixels(), [4, 5, 6]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CenterCrop {
    /// Rows that stay, `> 0`.
    pub height: usize,
    /// Columns that stay, `> 0`.
    pub width: usize,
}

impl Transform<Image> for CenterCrop {
    fn apply(&self, image: Image, _: &mut Draw) -> Result<Image, DataError> {
        let Self { height, width } = *self;
        check_size("center crop", &image, height, width)?;
        let (tall, wide) = (image.height().max(height), image.width().max(width));
        check_size("center crop", &image, tall, wide)?;
        let (more_rows, more_columns) = (tall - image.height(), wide - image.width());
        let image = match (more_rows, more_columns) {
            (0, 0) => image,
            (v, h) => pad(&image, [v / 2, v - v / 2, h / 2, h - h / 2])?,
        };
        let window = Window {
            top: half_even(tall - height),
            left: half_even(wide - width),
            height,
            width,
        };
        window.cut(&image)
    }
}

/// `n / 2` with halves rounded to even, as Python rounds: torchvision's choice decides by one pixel.
fn half_even(n: usize) -> usize {
    n / 2 + usize::from(n % 4 == 3)
}
