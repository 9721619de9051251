//! Brightness, contrast and saturation changed at random.

use super::{Draw, Transform};
use crate::data::{DataError, Image};

/// Changes brightness, contrast and saturation by random factors, in random order.
///
/// ```text
/// brightness  p · f        contrast  m + (p − m) · f        saturation  g + (p − g) · f
/// f ~ U(max(0, 1 − strength), 1 + strength)      g the grey of the pixel, m the mean grey of the image
/// ```
///
/// torchvision's, without hue. Grey images have no saturation. Grey is `0.299 r + 0.587 g + 0.114 b`.
///
/// ```
/// use dl_core::data::{ColorJitter, Draw, Image, Transform};
/// let jitter = ColorJitter { brightness: 0.5, contrast: 0., saturation: 0. };
/// let image = Image::new(1, 2, 3, vec![100, 50, 0, 200, 20, 2])?;
/// let image = jitter.apply(image, &mut Draw::new(0, 0, 0))?;
/// assert!((50..=150).contains(&image.pixel(0, 0)[0]));
/// assert!(image.pixel(0, 0)[0].abs_diff(2 * image.pixel(0, 0)[1]) <= 1);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ColorJitter {
    /// Strength, `≥ 0`. Default `0`.
    pub brightness: f64,
    /// Strength, `≥ 0`. Default `0`.
    pub contrast: f64,
    /// Strength, `≥ 0`. Default `0`.
    pub saturation: f64,
}

impl Transform<Image> for ColorJitter {
    fn apply(&self, mut image: Image, draw: &mut Draw) -> Result<Image, DataError> {
        let strengths = [self.brightness, self.contrast, self.saturation];
        if let Some(came) = strengths.iter().find(|s| !(s.is_finite() && **s >= 0.0)) {
            return Err(DataError::Option {
                option: "a strength of color jitter",
                wanted: "finite and at least 0",
                came: came.to_string(),
            });
        }
        for change in draw.permutation(strengths.len()) {
            let strength = strengths[change];
            let factor = draw.between((1.0 - strength).max(0.0), 1.0 + strength);
            if strength > 0.0 {
                image = changed(&image, change, factor)?;
            }
        }
        Ok(image)
    }
}

/// 0 changes the brightness, 1 the contrast, 2 the saturation.
fn changed(image: &Image, change: usize, factor: f64) -> Result<Image, DataError> {
    let [channels, height, width] = image.shape();
    let pixels = image.pixels().chunks_exact(channels);
    let mean = match change {
        1 => pixels.clone().map(grey).sum::<f64>() / (height * width) as f64,
        _ => 0.0,
    };
    let out = pixels.flat_map(|pixel| {
        let from = match change {
            2 => grey(pixel),
            _ => mean,
        };
        // A float that is cast to a byte is clipped to its range.
        let change = move |&p: &u8| (from + (f64::from(p) - from) * factor).round() as u8;
        pixel.iter().map(change)
    });
    Image::new(height, width, channels, out.collect())
}

fn grey(pixel: &[u8]) -> f64 {
    match pixel {
        [r, g, b] => 0.299 * f64::from(*r) + 0.587 * f64::from(*g) + 0.114 * f64::from(*b),
        _ => pixel.iter().map(|&p| f64::from(p)).sum::<f64>() / pixel.len() as f64,
    }
}
