//! Grey to colour.

use super::{Draw, Transform};
use crate::data::{DataError, Image};

/// Repeats a grey channel three times, so that pretrained colour models can see it.
///
/// A colour image stays as it is.
///
/// ```
/// use dl_core::data::{Draw, Image, ToRgb, Transform};
/// let image = Image::new(1, 2, 1, vec![7, 9])?;
/// assert_eq!(ToRgb.apply(image, &mut Draw::new(0, 0, 0))?.pixels(), [7, 7, 7, 9, 9, 9]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToRgb;

impl Transform<Image> for ToRgb {
    fn apply(&self, image: Image, _: &mut Draw) -> Result<Image, DataError> {
        let [channels, height, width] = image.shape();
        match channels {
            1 => {
                let pixels = image.pixels().iter().flat_map(|&grey| [grey; 3]);
                Image::new(height, width, 3, pixels.collect())
            }
            3 => Ok(image),
            came => Err(DataError::Channels {
                transform: "to rgb",
                wanted: "1 or 3".to_owned(),
                came,
            }),
        }
    }
}
