//! What a transform is.

use super::Draw;
use crate::data::DataError;

/// A change of one item, random or not; all its randomness comes from the [`Draw`].
///
/// ```
/// use dl_core::data::{DataError, Draw, Image, Transform};
/// struct Invert;
/// impl Transform<Image> for Invert {
///     fn apply(&self, image: Image, _: &mut Draw) -> Result<Image, DataError> {
///         let [channels, height, width] = image.shape();
///         let pixels = image.pixels().iter().map(|p| 255 - p).collect();
///         Image::new(height, width, channels, pixels)
///     }
/// }
/// let image = Image::new(1, 2, 1, vec![0, 55])?;
/// assert_eq!(Invert.apply(image, &mut Draw::new(0, 0, 0))?.pixels(), [255, 200]);
/// # Ok::<(), DataError>(())
/// ```
pub trait Transform<T>: Send + Sync {
    /// Changes the item; called from any thread.
    fn apply(&self, item: T, draw: &mut Draw) -> Result<T, DataError>;
}
