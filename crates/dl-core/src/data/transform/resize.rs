//! Resizing, to the bit as PIL does it.

use std::ops::Range;

use super::window::check_size;
use super::{Draw, Transform};
use crate::data::{DataError, Image};

/// Resizes with a triangle filter (bilinear, antialiased); torchvision's default on PIL images, to the bit.
///
/// ```text
/// out(x) = Σᵢ w(i) in(i) / Σᵢ w(i),  w(i) = max(0, 1 − |i + ½ − (x + ½) s| / max(s, 1)),  s = in size / out size
/// ```
///
/// Columns first, then rows, in fixed point with 22 fractional bits, rounded to eight bits in between.
///
/// ```
/// use dl_core::data::{Draw, Image, Resize, Transform};
/// let image = Image::new(1, 4, 1, vec![0, 100, 200, 200])?;
/// let half = Resize::Exact { height: 1, width: 2 }.apply(image, &mut Draw::new(0, 0, 0))?;
/// assert_eq!(half.pixels(), [71, 186]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// The shorter side gets this size, `> 0`, and the longer one follows, rounded down.
    Shorter(usize),
    /// Both sides are given and the aspect may change.
    Exact {
        /// Rows, `> 0`.
        height: usize,
        /// Columns, `> 0`.
        width: usize,
    },
}

impl Resize {
    fn size(self, image: &Image) -> (usize, usize) {
        let (height, width) = (image.height(), image.width());
        let follow = |size: usize, long: usize, short: usize| {
            let long = size as u128 * long as u128 / short as u128;
            usize::try_from(long).unwrap_or(usize::MAX)
        };
        match self {
            Self::Exact { height, width } => (height, width),
            Self::Shorter(size) if height <= width => (size, follow(size, width, height)),
            Self::Shorter(size) => (follow(size, height, width), size),
        }
    }
}

impl Transform<Image> for Resize {
    fn apply(&self, image: Image, _: &mut Draw) -> Result<Image, DataError> {
        let (height, width) = self.size(&image);
        resized(&image, height, width)
    }
}

/// The image at another size.
pub(super) fn resized(image: &Image, height: usize, width: usize) -> Result<Image, DataError> {
    let channels = image.channels();
    // Columns go first, so the image in between can be larger than either end.
    check_size("resize", image, height, width)?;
    check_size("resize", image, image.height(), width)?;
    let mut image = image.clone();
    if width != image.width() {
        let filters = Filters::new(image.width(), width);
        let pixels = match channels {
            1 => columns::<1>(&image, &filters),
            3 => columns::<3>(&image, &filters),
            4 => columns::<4>(&image, &filters),
            _ => columns_of_any(&image, &filters),
        };
        image = Image::new(image.height(), width, channels, pixels)?;
    }
    if height != image.height() {
        let pixels = rows(&image, &Filters::new(image.height(), height));
        image = Image::new(height, width, channels, pixels)?;
    }
    Ok(image)
}

const FRACTION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (FRACTION_BITS - 1);

/// For each position of the result, the first position of the source and where its weights lie.
struct Filters {
    spans: Vec<(usize, Range<usize>)>,
    weights: Vec<i32>,
}

impl Filters {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let spread = scale.max(1.0);
        let (mut spans, mut weights) = (Vec::with_capacity(to), Vec::new());
        for x in 0..to {
            let center = (x as f64 + 0.5) * scale;
            let first = (center - spread + 0.5).max(0.0) as usize;
            let last = ((center + spread + 0.5) as usize).min(from);
            let distance = |i: usize| (i as f64 - center + 0.5) * (1.0 / spread);
            let triangle = (first..last).map(|i| (1.0 - distance(i).abs()).max(0.0));
            let start = weights.len();
            weights.extend(fixed_point(&triangle.collect::<Vec<f64>>()));
            spans.push((first, start..weights.len()));
        }
        Self { spans, weights }
    }

    fn len(&self) -> usize {
        self.spans.len()
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let weights = |range: &Range<usize>| &self.weights[range.clone()];
        self.spans
            .iter()
            .map(move |(first, range)| (*first, weights(range)))
    }
}

fn fixed_point(weights: &[f64]) -> impl Iterator<Item = i32> {
    let sum: f64 = weights.iter().sum();
    let one = f64::from(1 << FRACTION_BITS);
    weights.iter().map(move |w| (w / sum * one + 0.5) as i32)
}

fn eight_bits(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

fn columns<const C: usize>(image: &Image, filters: &Filters) -> Vec<u8> {
    let mut out = Vec::with_capacity(image.height() * filters.len() * C);
    for y in 0..image.height() {
        let row = image.row(y).as_chunks::<C>().0;
        for (first, weights) in filters.iter() {
            let mut sums = [HALF; C];
            for (pixel, &weight) in row[first..].iter().zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            out.extend(sums.map(eight_bits));
        }
    }
    out
}

fn columns_of_any(image: &Image, filters: &Filters) -> Vec<u8> {
    let channels = image.channels();
    let mut out = Vec::with_capacity(image.height() * filters.len() * channels);
    for y in 0..image.height() {
        for (first, weights) in filters.iter() {
            for channel in 0..channels {
                let values = image.row(y)[first * channels + channel..].iter();
                let terms = values.step_by(channels).zip(weights);
                let sum = terms.fold(HALF, |sum, (&v, &w)| sum + i32::from(v) * w);
                out.push(eight_bits(sum));
            }
        }
    }
    out
}

fn rows(image: &Image, filters: &Filters) -> Vec<u8> {
    let row = image.width() * image.channels();
    let mut out = Vec::with_capacity(filters.len() * row);
    let mut sums = vec![HALF; row];
    for (first, weights) in filters.iter() {
        sums.fill(HALF);
        for (y, &weight) in (first..).zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(image.row(y)) {
                *sum += i32::from(value) * weight;
            }
        }
        out.extend(sums.iter().map(|&sum| eight_bits(sum)));
    }
    out
}
