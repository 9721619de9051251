//! A rectangle of an image, which may reach beyond it.

use crate::data::{DataError, Image};

/// Top, left, height and width of a rectangle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

impl Window {
    /// Copies a rectangle that lies within the image.
    pub fn cut(self, image: &Image) -> Result<Image, DataError> {
        let channels = image.channels();
        let (first, last) = (self.left * channels, (self.left + self.width) * channels);
        let mut pixels = Vec::with_capacity(self.height * self.width * channels);
        for y in self.top..self.top + self.height {
            pixels.extend_from_slice(image.row(y).get(first..last).unwrap_or_default());
        }
        Image::new(self.height, self.width, channels, pixels)
    }
}

/// Puts black margins around an image: top, bottom, left, right.
pub(super) fn pad(image: &Image, margins: [usize; 4]) -> Result<Image, DataError> {
    let [top, bottom, left, right] = margins;
    let [channels, height, width] = image.shape();
    let (out_height, out_width) = (top + height + bottom, left + width + right);
    let row = out_width * channels;
    let mut pixels = vec![0; out_height * row];
    for y in 0..height {
        let start = (top + y) * row + left * channels;
        pixels[start..start + width * channels].copy_from_slice(image.row(y));
    }
    Image::new(out_height, out_width, channels, pixels)
}

/// Refuses sizes that are 0 or so large that a typing error is likelier than an image.
pub(super) fn check_size(
    transform: &'static str,
    image: &Image,
    height: usize,
    width: usize,
) -> Result<(), DataError> {
    const MOST: usize = 1 << 27;
    if height == 0 || width == 0 {
        return Err(DataError::Option {
            option: transform,
            wanted: "of a height and a width above 0",
            came: format!("{height}x{width}"),
        });
    }
    let values = height
        .saturating_mul(width)
        .saturating_mul(image.channels());
    if values > MOST {
        return Err(DataError::ImageTooLarge {
            transform,
            height,
            width,
            from_height: image.height(),
            from_width: image.width(),
        });
    }
    Ok(())
}
