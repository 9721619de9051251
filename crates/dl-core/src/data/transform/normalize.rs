//! Eight-bit values to numbers around 0.

use crate::data::{DataError, Image};

/// Turns pixels into floats and shifts and scales each channel: `ToTensor` and `Normalize` in one pass.
///
/// ```text
/// y = (x / 255 − mean) / std
/// ```
///
/// ```
/// use dl_core::data::{Image, Normalize};
/// let image = Image::new(1, 2, 1, vec![0, 255])?;
/// let mut out = [0f32; 2];
/// Normalize::new([0.5], [0.25])?.write(&image, &mut out)?;
/// assert_eq!(out, [-2., 2.]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    /// One for each channel, or a single one for any number of channels: `y` for each `x` in 0..=255.
    tables: Vec<[f32; 256]>,
}

impl Normalize {
    /// A mean and a deviation for each channel, in the scale of 0 to 1; a single pair serves all channels.
    ///
    /// Fails when their numbers differ, or one is not finite, or a deviation is not above 0.
    pub fn new<const N: usize>(mean: [f32; N], std: [f32; N]) -> Result<Self, DataError> {
        Self::from_slices(&mean, &std)
    }

    /// As [`Normalize::new`], for numbers known at run time, such as those of a preprocessor config.
    pub fn from_slices(mean: &[f32], std: &[f32]) -> Result<Self, DataError> {
        let sound = |(m, s): (&f32, &f32)| m.is_finite() && s.is_finite() && *s > 0.0;
        let same = mean.len() == std.len() && !mean.is_empty();
        if !same || !mean.iter().zip(std).all(sound) {
            return Err(DataError::Option {
                option: "mean and std",
                wanted: "one finite mean and one std above 0 for each channel",
                came: format!("mean {mean:?}, std {std:?}"),
            });
        }
        let tables = mean.iter().zip(std).map(|(&m, &s)| table(m, s));
        Ok(Self {
            tables: tables.collect(),
        })
    }

    /// Pixels as they are, in the scale of 0 to 1: torchvision's `ToTensor`.
    pub fn unit() -> Self {
        Self {
            tables: vec![table(0.0, 1.0)],
        }
    }

    /// Mean and deviation of ImageNet's training images, which most pretrained models expect.
    pub fn imagenet() -> Self {
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let tables = mean.into_iter().zip(std).map(|(m, s)| table(m, s));
        Self {
            tables: tables.collect(),
        }
    }

    /// Writes an image as `(channels, height, width)` into `out`.
    ///
    /// Fails when the channels are not those of the means, or `out` is not of the image's size.
    pub fn write(&self, image: &Image, out: &mut [f32]) -> Result<(), DataError> {
        let [channels, height, width] = image.shape();
        if self.tables.len() != channels && self.tables.len() != 1 {
            return Err(DataError::Channels {
                transform: "normalize",
                wanted: self.tables.len().to_string(),
                came: channels,
            });
        }
        if out.len() != image.pixels().len() {
            return Err(DataError::ImageSize {
                height,
                width,
                channels,
                wanted: image.pixels().len(),
                came: out.len(),
            });
        }
        let planes = out.chunks_exact_mut(height * width);
        for (channel, plane) in planes.enumerate() {
            let table = &self.tables[channel % self.tables.len()];
            let values = image.pixels()[channel..].iter().step_by(channels);
            plane
                .iter_mut()
                .zip(values)
                .for_each(|(out, &value)| *out = table[usize::from(value)]);
        }
        Ok(())
    }
}

fn table(mean: f32, std: f32) -> [f32; 256] {
    // The order of operations is torchvision's, so that the bits are too.
    std::array::from_fn(|x| (x as f32 / 255.0 - mean) / std)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn channels_become_planes() {
        let image = Image::new(1, 2, 3, vec![0, 51, 102, 153, 204, 255]).unwrap();
        let mut out = [0.0; 6];
        Normalize::unit().write(&image, &mut out).unwrap();
        // Multiples of 51 are fifths of 255, and the nearest f32 to a fifth is what division gives.
        assert_eq!(out, [0.0, 0.6, 0.2, 0.8, 0.4, 1.0]);
    }

    #[test]
    fn means_for_other_channels_are_refused() {
        let image = Image::new(1, 1, 1, vec![0]).unwrap();
        let error = Normalize::imagenet().write(&image, &mut [0.0]).unwrap_err();
        assert_eq!(error.to_string(), "normalize wants 3 channels, came 1");
        assert!(Normalize::new([0.5], [0.0]).is_err());
        assert!(Normalize::from_slices(&[0.5, 0.5], &[1.0]).is_err());
    }
}
