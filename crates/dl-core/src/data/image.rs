//! A decoded image.

use super::DataError;

/// Eight-bit pixels in rows, `(height, width, channels)`, as decoders give and PIL keeps them.
///
/// ```
/// use dl_core::data::Image;
/// let image = Image::new(1, 2, 3, vec![1, 2, 3, 4, 5, 6])?;
/// assert_eq!(image.pixel(0, 1), [4, 5, 6]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    height: usize,
    width: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl Image {
    /// Wraps pixels; fails when a size is 0 or their number is not `height · width · channels`.
    pub fn new(
        height: usize,
        width: usize,
        channels: usize,
        pixels: Vec<u8>,
    ) -> Result<Self, DataError> {
        let wanted = height.saturating_mul(width).saturating_mul(channels);
        if wanted == 0 || wanted != pixels.len() {
            return Err(DataError::ImageSize {
                height,
                width,
                channels,
                wanted,
                came: pixels.len(),
            });
        }
        Ok(Self {
            height,
            width,
            channels,
            pixels,
        })
    }

    /// Rows, `> 0`.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns, `> 0`.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Values of a pixel: 1 is grey, 3 is red, green, blue.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// `[channels, height, width]`, as the tensor of the image will have it.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// All values, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The values of row `y`; empty beyond the last row.
    pub fn row(&self, y: usize) -> &[u8] {
        let row = self.width * self.channels;
        self.pixels.get(y * row..(y + 1) * row).unwrap_or_default()
    }

    /// The values of one pixel; empty outside of the image.
    pub fn pixel(&self, y: usize, x: usize) -> &[u8] {
        let first = x * self.channels;
        self.row(y)
            .get(first..first + self.channels)
            .unwrap_or_default()
    }
}
