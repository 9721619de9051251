//! From the bytes of a PNG, JPEG or WebP file to pixels.

use std::io::Cursor;
use std::path::Path;

use image::ImageReader;

use super::{DataError, Image};

/// Decodes an image into red, green and blue; the format is told by the content.
///
/// Grey becomes three equal channels and alpha is dropped, as `PIL.Image.convert("RGB")` does; the
/// orientation in EXIF data is ignored, as torchvision ignores it. A JPEG that is cut short is an
/// error, not an image with a grey end. `name` is what errors call the image.
pub fn decode_rgb(bytes: &[u8], name: &str) -> Result<Image, DataError> {
    let failed = |reason| DataError::Decode {
        name: name.to_owned(),
        reason,
    };
    if bytes.starts_with(&[0xff, 0xd8]) && !jpeg_reaches_its_end(bytes) {
        return Err(DataError::TruncatedJpeg {
            name: name.to_owned(),
            bytes: bytes.len(),
        });
    }
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|reason| failed(reason.into()))?;
    let rgb = reader.decode().map_err(failed)?.into_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Image::new(height, width, 3, rgb.into_raw())
}

/// Reads and decodes an image file into red, green and blue; see [`decode_rgb`].
pub fn read_rgb(path: &Path) -> Result<Image, DataError> {
    let bytes = std::fs::read(path).map_err(DataError::read(path))?;
    decode_rgb(&bytes, &path.display().to_string())
}

/// Walks the markers of a JPEG (ITU-T T.81, annex B) and tells whether its end marker is there.
///
/// A search for the bytes `ff d9` would not do: the thumbnail inside an EXIF segment has its own.
fn jpeg_reaches_its_end(bytes: &[u8]) -> bool {
    let mut rest = &bytes[2..];
    while let Some((marker, after)) = next_marker(rest) {
        rest = match marker {
            0xd9 => return true,
            // Restart and TEM markers, and a stuffed zero, stand alone.
            0x00 | 0x01 | 0xd0..=0xd8 => after,
            _ => match after {
                [high, low, ..] => {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    after.get(length..).unwrap_or_default()
                }
                _ => return false,
            },
        };
    }
    false
}

/// The next `ff xx` with `xx` neither `ff` nor the end, and what follows it.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let first = bytes.iter().position(|&b| b == 0xff)?;
    let skip = bytes[first..].iter().position(|&b| b != 0xff)?;
    Some((bytes[first + skip], &bytes[first + skip + 1..]))
}
