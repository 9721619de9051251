//! A sample in a report.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::data::{DataError, Draw, Image, Resize, Transform};
use crate::train::Prediction;

/// What a report shows of a sample.
///
/// ```
/// use dl_core::train::Shown;
/// let text = Shown::Text("a dull film".to_string());
/// assert_eq!(text, Shown::Text("a dull film".to_string()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A picture, which is kept inside the report; its longer side is brought to 192 pixels or less.
    Image(Image),
    /// Words, such as the sentence that was classified.
    Text(String),
}

/// The longer side of a picture.
const SIDE: usize = 192;

/// A prediction with what it was made on.
#[derive(Clone, Debug)]
pub(super) struct SampleCard {
    pub(super) prediction: Prediction,
    pub(super) view: View,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum View {
    /// A PNG as a data URI.
    Png(String),
    Text(String),
}

impl View {
    /// What cannot be shown says so: a report must not fail for one damaged file.
    pub(super) fn of(shown: Result<Shown, DataError>) -> Self {
        let view = match shown {
            Ok(Shown::Text(text)) => return Self::Text(text),
            Ok(Shown::Image(image)) => smaller(image).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match view.and_then(|image| png(&image)) {
            Ok(png) => Self::Png(format!("data:image/png;base64,{}", STANDARD.encode(png))),
            Err(reason) => Self::Text(format!("cannot be shown: {reason}")),
        }
    }
}

fn smaller(image: Image) -> Result<Image, DataError> {
    let longer = image.height().max(image.width());
    if longer <= SIDE {
        return Ok(image);
    }
    let side = |side: usize| (side * SIDE / longer).max(1);
    let (height, width) = (side(image.height()), side(image.width()));
    Resize::Exact { height, width }.apply(image, &mut Draw::new(0, 0, 0))
}

fn png(image: &Image) -> Result<Vec<u8>, String> {
    let color = match image.channels() {
        1 => ExtendedColorType::L8,
        2 => ExtendedColorType::La8,
        3 => ExtendedColorType::Rgb8,
        4 => ExtendedColorType::Rgba8,
        n => return Err(format!("a picture has 1 to 4 channels, came {n}")),
    };
    let mut png = Cursor::new(vec![]);
    let (width, height) = (image.width() as u32, image.height() as u32);
    let encoder = PngEncoder::new(&mut png);
    let written = encoder.write_image(image.pixels(), width, height, color);
    written.map_err(|error| error.to_string())?;
    Ok(png.into_inner())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn decoded(view: &View) -> image::DynamicImage {
        let View::Png(uri) = view else {
            unreachable!("{view:?}")
        };
        let text = uri.strip_prefix("data:image/png;base64,").unwrap();
        image::load_from_memory(&STANDARD.decode(text).unwrap()).unwrap()
    }

    #[test]
    fn small_images_keep_their_pixels_and_large_ones_their_shape() {
        for channels in [1, 3, 4] {
            let pixels: Vec<u8> = (0..6 * channels as u8).collect();
            let image = Image::new(2, 3, channels, pixels.clone()).unwrap();
            let back = decoded(&View::of(Ok(Shown::Image(image))));
            assert_eq!(back.as_bytes(), pixels);
        }
        let large = Image::new(400, 1000, 1, vec![9; 400_000]).unwrap();
        let back = decoded(&View::of(Ok(Shown::Image(large))));
        assert_eq!((back.height(), back.width()), (76, 192));
        let thin = Image::new(1, 1000, 1, vec![9; 1000]).unwrap();
        assert_eq!(decoded(&View::of(Ok(Shown::Image(thin)))).height(), 1);
    }

    #[test]
    fn what_cannot_be_shown_says_why() {
        let odd = Image::new(1, 1, 5, vec![0; 5]).unwrap();
        for shown in [Ok(Shown::Image(odd)), Err(DataError::Empty { what: "it" })] {
            let view = View::of(shown);
            assert!(matches!(&view, View::Text(t) if t.starts_with("cannot be shown: ")));
        }
    }
}
