//! A random rectangle of fixed size.

use super::window::{Window, check_size, pad};
use super::{Draw, Transform};
use crate::data::{DataError, Image};

/// Adds black margins and cuts a rectangle at a random place, as usual for small images.
///
/// An image that is smaller than the rectangle with its margins is an error.
///
/// ```
/// use dl_core::data::{Draw, Image, RandomCrop, Transform};
/// let crop = RandomCrop { height: 28, width: 28, padding: 2 };
/// let image = Image::new(28, 28, 1, vec![255; 784])?;
/// assert_eq!(crop.apply(image, &mut Draw::new(0, 0, 0))?.shape(), [1, 28, 28]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomCrop {
    /// Rows of the rectangle, `> 0`.
    pub height: usize,
    /// Columns of the rectangle, `> 0`.
    pub width: usize,
    /// Black pixels on each side, `≥ 0`.
    pub padding: usize,
}

impl Transform<Image> for RandomCrop {
    fn apply(&self, image: Image, draw: &mut Draw) -> Result<Image, DataError> {
        let Self {
            height,
            width,
            padding,
        } = *self;
        check_size("random crop", &image, height, width)?;
        let margin = padding.saturating_mul(2);
        let tall = image.height().saturating_add(margin);
        let wide = image.width().saturating_add(margin);
        check_size("random crop", &image, tall, wide)?;
        if tall < height || wide < width {
            return Err(DataError::Option {
                option: "random crop",
                wanted: "no larger than the image with its padding",
                came: format!("{height}x{width} of {tall}x{wide}"),
            });
        }
        let image = match padding {
            0 => image,
            p => pad(&image, [p; 4])?,
        };
        let window = Window {
            top: draw.below(tall - height + 1),
            left: draw.below(wide - width + 1),
            height,
            width,
        };
        window.cut(&image)
    }
}
