//! One transform after the other.

use super::{Draw, Transform};
use crate::data::{DataError, Image, Sample};

/// Applies image transforms in the order they were added, to an image or to the image of a sample.
///
/// ```
/// use dl_core::data::{CenterCrop, Compose, Draw, Image, Resize, Transform};
/// let transform = Compose::new()
///     .then(Resize::Shorter(256))
///     .then(CenterCrop { height: 224, width: 224 });
/// let image = Image::new(30, 40, 3, vec![128; 3600])?;
/// let image = transform.apply(image, &mut Draw::new(0, 0, 0))?;
/// assert_eq!(image.shape(), [3, 224, 224]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Default)]
pub struct Compose {
    transforms: Vec<Box<dyn Transform<Image>>>,
}

impl Compose {
    /// Does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a transform that is applied last.
    pub fn then(mut self, transform: impl Transform<Image> + 'static) -> Self {
        self.transforms.push(Box::new(transform));
        self
    }
}

impl Transform<Image> for Compose {
    fn apply(&self, image: Image, draw: &mut Draw) -> Result<Image, DataError> {
        let mut transforms = self.transforms.iter();
        transforms.try_fold(image, |image, transform| transform.apply(image, draw))
    }
}

impl Transform<Sample> for Compose {
    fn apply(&self, sample: Sample, draw: &mut Draw) -> Result<Sample, DataError> {
        let image = self.apply(sample.image, draw)?;
        Ok(Sample { image, ..sample })
    }
}
