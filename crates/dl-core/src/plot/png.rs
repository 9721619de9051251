//! A picture as pixels.

use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

use super::PlotError;

/// Pixels of a side that a picture may have.
const SIDES: RangeInclusive<f32> = 1.0..=16384.0;

/// DejaVu Sans 2.37, cut down to the letters of [`LETTERS`]; see `fonts/LICENSE`.
const FONTS: [&[u8]; 2] = [
    include_bytes!("fonts/dejavu_sans.ttf"),
    include_bytes!("fonts/dejavu_sans_bold.ttf"),
];
const FAMILY: &str = "DejaVu Sans";

/// Latin, Greek, Cyrillic, punctuation, arrows, operators: what the fonts above have.
const LETTERS: [RangeInclusive<char>; 5] = [
    '\u{0}'..='\u{24f}',
    '\u{370}'..='\u{45f}',
    '\u{2010}'..='\u{2026}',
    '\u{2070}'..='\u{209c}',
    '\u{2190}'..='\u{22ff}',
];

static EMBEDDED: LazyLock<Arc<Database>> = LazyLock::new(|| Arc::new(fonts()));
static WITH_SYSTEM: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = fonts();
    fonts.load_system_fonts();
    Arc::new(fonts)
});

/// A picture of this module as a PNG file, `scale` times as wide and high as the SVG says.
///
/// Text is drawn with a font that is part of the program, so pictures look alike everywhere; letters
/// that it lacks, such as Chinese ones, are taken from the system's fonts. Fails on what is no SVG and
/// on a picture whose sides have less than one pixel or more than 16,384.
///
/// ```
/// use dl_core::plot::{Curves, Panel, Series, png};
/// let loss = Series::new("train", [(1., 2.3), (2., 1.1), (3., 0.8)]);
/// let svg = Curves::new("LeNet").panel(Panel::new("loss").series(loss)).svg()?;
/// let file = png(&svg, 2.)?;
/// // The width is the first field of the header.
/// assert_eq!((&file[1..4], &file[16..20]), (&b"PNG"[..], &1000u32.to_be_bytes()[..]));
/// # Ok::<(), dl_core::plot::PlotError>(())
/// ```
pub fn png(svg: &str, scale: f32) -> Result<Vec<u8>, PlotError> {
    let options = Options {
        fontdb: Arc::clone(database(svg)),
        font_family: FAMILY.to_owned(),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).map_err(failed)?;
    let [width, height] = [tree.size().width(), tree.size().height()].map(|side| side * scale);
    let unfit = PlotError::Size { width, height };
    if !SIDES.contains(&width) || !SIDES.contains(&height) {
        return Err(unfit);
    }
    let pixels = Pixmap::new(width.round() as u32, height.round() as u32);
    let mut pixels = pixels.ok_or(unfit)?;
    let scaled = Transform::from_scale(scale, scale);
    resvg::render(&tree, scaled, &mut pixels.as_mut());
    pixels.encode_png().map_err(failed)
}

fn fonts() -> Database {
    let mut database = Database::new();
    for font in FONTS {
        database.load_font_data(font.to_vec());
    }
    database.set_sans_serif_family(FAMILY);
    database
}

/// Searching the system takes a while, so it is done only for letters that need it.
fn database(svg: &str) -> &'static Arc<Database> {
    let known = |letter: char| LETTERS.iter().any(|range| range.contains(&letter));
    match svg.chars().all(known) {
        true => &EMBEDDED,
        false => &WITH_SYSTEM,
    }
}

fn failed(reason: impl std::fmt::Display) -> PlotError {
    PlotError::Draw {
        message: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use image::GenericImageView;

    use super::*;
    use crate::plot::{Curves, Panel, Series};

    fn picture(title: &str) -> String {
        let panel = Panel::new("loss").series(Series::new("train", [(1., 2.), (2., 1.)]));
        Curves::new(title).panel(panel).svg().unwrap()
    }

    fn pixels(svg: &str, scale: f32) -> image::DynamicImage {
        image::load_from_memory(&png(svg, scale).unwrap()).unwrap()
    }

    #[test]
    fn a_picture_is_scaled_and_has_the_colours_of_its_svg() {
        let svg = picture("a run");
        let (one, two) = (pixels(&svg, 1.), pixels(&svg, 2.));
        assert_eq!(
            (two.width(), two.height()),
            (2 * one.width(), 2 * one.height())
        );
        assert_eq!(one.get_pixel(0, 0).0, [255; 4]);
        let blue = |(_, _, pixel): &(u32, u32, image::Rgba<u8>)| pixel.0 == [0, 0x72, 0xb2, 255];
        assert!(one.pixels().filter(blue).count() > 100);
    }

    /// Dark pixels where the title stands: letters, not nothing and not boxes of one height.
    #[test]
    fn text_is_drawn_without_fonts_of_the_system() {
        let dark = |title: &str| {
            let image = pixels(&picture(title), 1.).to_luma8();
            let rows = 16..40;
            rows.map(|y| {
                (0..image.width())
                    .filter(|x| image.get_pixel(*x, y).0[0] < 128)
                    .count()
            })
            .collect::<Vec<_>>()
        };
        let [none, low, high] = ["", "eeee", "llll"].map(dark);
        assert_eq!(none.iter().sum::<usize>(), 0);
        let height = |rows: &[usize]| rows.iter().filter(|n| **n > 0).count();
        assert!(
            height(&low) > 5 && height(&high) > height(&low),
            "{low:?} {high:?}"
        );
    }

    #[test]
    fn what_is_no_svg_and_what_is_too_large_is_refused() {
        assert!(png("<html></html>", 1.).is_err());
        let svg = picture("a run");
        for scale in [0., -1., f32::NAN, f32::INFINITY, 1e-4, 100.] {
            let error = png(&svg, scale).unwrap_err();
            assert!(matches!(error, PlotError::Size { .. }), "{scale}: {error}");
        }
    }
}
