//! Colour to grey.

use super::{Draw, Transform};
use crate::data::{DataError, Image};

/// Turns red, green and blue into one grey channel, `L = 0.299 R + 0.587 G + 0.114 B` in PIL's fixed point.
///
/// A grey image stays as it is.
///
/// ```
/// use dl_core::data::{Draw, Grayscale, Image, Transform};
/// let image = Image::new(1, 1, 3, vec![255, 128, 0])?;
/// assert_eq!(Grayscale.apply(image, &mut Draw::new(0, 0, 0))?.pixels(), [151]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grayscale;

impl Transform<Image> for Grayscale {
    fn apply(&self, image: Image, _: &mut Draw) -> Result<Image, DataError> {
        let [channels, height, width] = image.shape();
        match channels {
            1 => Ok(image),
            3 => {
                let pixels = image.pixels().as_chunks::<3>().0;
                Image::new(height, width, 1, pixels.iter().map(luma).collect())
            }
            came => Err(DataError::Channels {
                transform: "grayscale",
                wanted: "1 or 3".to_owned(),
                came,
            }),
        }
    }
}

fn luma(&[r, g, b]: &[u8; 3]) -> u8 {
    let sum = u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000;
    (sum >> 16) as u8
}
