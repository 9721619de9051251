//! 3×3 convolutions of stride 1 with 16 multiplications for 4 results instead of 36.
//!
//! ```text
//! y = Aᵀ [ Σ_c (G w_c Gᵀ) ⊙ (Bᵀ d_c B) ] A          d: 4×4 pixels, w: 3×3 weights, y: 2×2 results
//! ```
//!
//! The transforms are additions alone, and with halves as their only factors they cost at most two bits.
//! The lanes lie along the [tiles].
//!
//! Source: Lavin, Gray, "Fast algorithms for convolutional neural networks", 2015.

mod tiles;
mod transform;
mod weight_gradient;

use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::bias::Affine;
use super::direct::{Layer, Method, PANEL, PIXELS, Part, Sums, TILE};
use super::geometry::Geometry;
use super::op::Direction;
use super::padding::Padding2d;
use super::phases::{LANES, spread};
use super::rows;
use crate::simd::{self, Scalar};
use tiles::Tiles;
use transform::POSITIONS;

/// A convolution for which this takes fewer operations.
pub(super) struct Winograd {
    g: Geometry,
    tiles: Tiles,
}

impl Winograd {
    /// Of the convolution itself, where it pays.
    pub(super) fn of(g: &Geometry) -> Option<Self> {
        Self::new(g).filter(Self::pays)
    }

    /// Of the input gradient, where it pays.
    pub(super) fn backwards(g: &Geometry) -> Option<Self> {
        Self::new(&turned(g)?).filter(Self::pays)
    }

    fn new(g: &Geometry) -> Option<Self> {
        let config = &g.config;
        if g.kernel != (3, 3) || config.stride != (1, 1) || config.dilation != (1, 1) {
            return None;
        }
        Some(Self {
            g: *g,
            tiles: Tiles::new(g),
        })
    }

    fn channels(&self) -> (usize, usize) {
        let groups = self.g.config.groups;
        (self.g.c_in / groups, self.g.c_out / groups)
    }

    /// Multiplications and the additions of the transforms, against those of the direct way.
    fn pays(&self) -> bool {
        let (c_in, c_out) = self.channels();
        let g = &self.g;
        let direct = (g.output.0 * (g.output.1 + 1)).next_multiple_of(LANES);
        // An input channel costs about as much as four output channels, and the reverse.
        let transforms = 4 * (c_in + c_out);
        let tiles = self.tiles.count().next_multiple_of(LANES);
        // That of a weight, once for all images, about as much as so many multiplications.
        let weights = 2500 * c_in * c_out / g.batch.max(1);
        let ours = POSITIONS * tiles * (c_in * c_out + transforms) + weights;
        c_in.min(c_out) >= TILE && 10 * ours < 9 * 9 * direct * c_in * c_out
    }

    pub(super) fn forward<T: Scalar>(&self, x: &[T], affine: Affine<T>) -> Vec<T> {
        let (c_in, c_out) = self.channels();
        self.layer().run(x, affine.bias, self, |group, o, c, t| {
            affine.weight[((group * c_out + o) * c_in + c) * 9 + t]
        })
    }

    pub(super) fn grad_input<T: Scalar>(&self, dy: &[T], affine: Affine<T>) -> Vec<T> {
        let (c_out, c_in) = self.channels();
        self.layer().run(dy, affine.bias, self, |group, c, o, t| {
            affine.weight[((group * c_out + o) * c_in + c) * 9 + 8 - t]
        })
    }

    fn layer(&self) -> Layer {
        let length = self.channels().0 * self.tiles.stride() + self.tiles.room();
        Layer::new(&self.g, Direction::Forward, length)
    }
}

/// The input gradient as a convolution: the results' gradient goes through the kernel turned by 180°.
fn turned(g: &Geometry) -> Option<Geometry> {
    let (p, rest) = (g.config.padding, |padding: usize| {
        2usize.checked_sub(padding)
    });
    let mut back = *g;
    (back.c_in, back.c_out) = (g.c_out, g.c_in);
    (back.input, back.output) = (g.output, g.input);
    back.config.padding = Padding2d {
        top: rest(p.top)?,
        bottom: rest(p.bottom)?,
        left: rest(p.left)?,
        right: rest(p.right)?,
    };
    Some(back)
}

/// What a block of tiles is transformed to, and its products.
pub(super) struct Blocks<T> {
    pixels: Positions<T>,
    products: Positions<T>,
}

impl Method for Winograd {
    type Scratch<T: Scalar> = Blocks<T>;

    fn scratch<T: Scalar>(&self, channels: usize) -> Blocks<T> {
        let (c_in, outputs) = self.channels();
        let outputs = outputs.min(channels).next_multiple_of(TILE);
        Blocks {
            pixels: Positions::new(c_in, PIXELS),
            products: Positions::new(outputs, PIXELS),
        }
    }

    /// `(group, tile of outputs, position, panel, channel, output of the panel)`.
    fn pack<T: Scalar>(
        &self,
        (groups, outputs): (usize, usize),
        weight: impl Fn(usize, usize, usize, usize) -> T + Sync,
    ) -> Vec<Vec<T>> {
        let (c_in, tiles) = (self.channels().0, outputs.div_ceil(TILE));
        let size = POSITIONS * TILE * c_in;
        let mut packed = vec![T::zero(); groups * tiles * size];
        packed
            .par_chunks_exact_mut(size)
            .enumerate()
            .for_each(|(i, tile)| {
                let (group, first) = (i / tiles, i % tiles * TILE);
                for c in 0..c_in {
                    for lane in 0..TILE.min(outputs - first) {
                        let g = std::array::from_fn(|t| weight(group, first + lane, c, t));
                        let u = transform::kernel(g);
                        let to = (lane / PANEL * c_in + c) * PANEL + lane % PANEL;
                        let to = tile[to..].iter_mut().step_by(TILE * c_in);
                        to.zip(u).for_each(|(to, u)| *to = u);
                    }
                }
            });
        vec![packed]
    }

    fn lay_out<'a, T: Scalar>(&self, x: &'a [T], buffer: &'a mut [T]) -> &'a [T] {
        let (planes, stride) = (x.chunks_exact(self.g.pixels_in()), self.tiles.stride());
        let (lists, room) = buffer.split_at_mut(planes.len() * stride);
        for (plane, lists) in planes.zip(lists.chunks_exact_mut(stride)) {
            self.tiles.split(plane, room, lists);
        }
        buffer
    }

    fn run<T: Scalar>(
        &self,
        part: &Part<T>,
        (y, plane): (&mut [MaybeUninit<T>], usize),
        Blocks { pixels, products }: &mut Blocks<T>,
    ) {
        let c_in = self.channels().0;
        let weights = &part.weights[0][part.panel() * POSITIONS * PANEL * c_in..];
        let count = (y.len() / plane).div_ceil(TILE);
        let offsets: Vec<usize> = (0..c_in).map(|c| c * PIXELS).collect();
        for at in (0..self.tiles.count()).step_by(PIXELS) {
            let len = PIXELS.min(self.tiles.count() - at);
            simd::run(Pixels {
                from: &part.from[at..],
                tiles: &self.tiles,
                len,
                to: pixels,
            });
            for position in 0..POSITIONS {
                let (from, to) = (pixels.at(position), products.at_mut(position));
                let tiles = to.chunks_exact_mut(TILE * PIXELS).take(count).enumerate();
                tiles.for_each(|(tile, out)| {
                    simd::run(Sums {
                        out,
                        stride: PIXELS,
                        len,
                        from,
                        pitch: PIXELS,
                        offsets: &offsets,
                        weights: &weights[(tile * POSITIONS + position) * TILE * c_in..]
                            [..TILE * c_in],
                        bias: [T::zero(); TILE],
                    })
                });
            }
            simd::run(Results {
                from: products,
                bias: part.bias,
                first: at,
                len,
                pitch: self.tiles.pitch,
                size: self.g.output,
                to: (y, plane),
            });
        }
    }
}

/// For each position of a tile a matrix: rows of `width`, their number times `width` in `length`.
struct Positions<T> {
    values: Vec<T>,
    pitch: usize,
    length: usize,
    width: usize,
}

impl<T: Scalar> Positions<T> {
    fn new(rows: usize, width: usize) -> Self {
        let (length, pitch) = (rows * width, spread(rows * width));
        Self {
            values: vec![T::zero(); POSITIONS * pitch],
            pitch,
            length,
            width,
        }
    }

    fn at(&self, position: usize) -> &[T] {
        &self.values[position * self.pitch..][..self.length]
    }

    fn at_mut(&mut self, position: usize) -> &mut [T] {
        &mut self.values[position * self.pitch..][..self.length]
    }
}

/// `Bᵀ d B` of neighbouring tiles in every channel.
struct Pixels<'a, T> {
    /// The tiles of all channels, from the first one on.
    from: &'a [T],
    tiles: &'a Tiles,
    /// Tiles that are asked for; whole vectors are written.
    len: usize,
    to: &'a mut Positions<T>,
}

impl<T: Scalar> WithSimd for Pixels<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = T::lanes::<S>();
        let Positions {
            pitch,
            length,
            width,
            ..
        } = *self.to;
        let stride = self.tiles.stride();
        for channel in 0..length / width {
            let from = &self.from[channel * stride..];
            let to = &mut self.to.values[channel * width..];
            for i in (0..self.len).step_by(lanes) {
                let mut d = [T::splat(simd, T::zero()); POSITIONS];
                for (d, start) in d.iter_mut().zip(&self.tiles.starts) {
                    *d = T::vectors::<S>(&from[start + i..][..lanes])[0];
                }
                transform::pixels::<T, S>(simd, &mut d);
                for (position, d) in d.iter().enumerate() {
                    let to = &mut to[position * pitch + i..][..lanes];
                    T::vectors_mut::<S>(to)[0] = *d;
                }
            }
        }
    }
}

/// `Aᵀ m A` of neighbouring tiles in every channel, and the bias, to where they belong in the planes.
struct Results<'a, T> {
    from: &'a Positions<T>,
    bias: Option<&'a [T]>,
    /// Number of the first tile.
    first: usize,
    len: usize,
    /// From a row of tiles to the next.
    pitch: usize,
    size: (usize, usize),
    to: (&'a mut [MaybeUninit<T>], usize),
}

impl<T: Scalar> WithSimd for Results<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = T::lanes::<S>();
        let mut results = [[T::zero(); PIXELS]; 4];
        for channel in 0..self.to.0.len() / self.to.1 {
            let from = &self.from.values[channel * PIXELS..];
            let bias = T::splat(simd, self.bias.map_or(T::zero(), |bias| bias[channel]));
            for i in (0..self.len).step_by(lanes) {
                let mut m = [bias; POSITIONS];
                for (position, m) in m.iter_mut().enumerate() {
                    let from = &from[position * self.from.pitch + i..][..lanes];
                    *m = T::vectors::<S>(from)[0];
                }
                let y = transform::results::<T, S>(simd, &m);
                for (results, y) in results.iter_mut().zip(y) {
                    let to = &mut results[i..i + lanes];
                    T::vectors_mut::<S>(to)[0] = T::plus(simd, y, bias);
                }
            }
            self.write(channel, &results);
        }
    }
}

impl<T: Scalar> Results<'_, T> {
    /// Puts the results of the even and the odd columns beside each other.
    #[inline(always)]
    fn write(&mut self, channel: usize, results: &[[T; PIXELS]; 4]) {
        let (height, columns) = self.size;
        let end = self.first + self.len;
        let plane = &mut self.to.0[channel * self.to.1..][..self.to.1];
        for row in self.first / self.pitch..end.div_ceil(self.pitch) {
            let start = self.first.max(row * self.pitch);
            let stop = end.min(row * self.pitch + columns.div_ceil(2));
            if start >= stop {
                continue;
            }
            let column = 2 * (start - row * self.pitch);
            let width = (columns - column).min(2 * (stop - start));
            let of = start - self.first..stop - self.first;
            for line in 0..2.min(height - 2 * row) {
                let to = &mut plane[(2 * row + line) * columns + column..][..width];
                let (even, odd) = (&results[2 * line], &results[2 * line + 1]);
                let (even, odd) = (&even[of.clone()], &odd[of.clone()]);
                rows::interleave(to, even, odd, MaybeUninit::new);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::convolution::conv2d::Conv2dConfig;
    use crate::convolution::{direct, weight_gradient};
    use crate::rng::{Purpose, Rng};

    fn normal(key: u64, len: usize) -> Vec<f64> {
        let mut values = vec![0f32; len];
        Rng::new(key, Purpose::Other(0), 0).fill_normal(&mut values);
        values.into_iter().map(f64::from).collect()
    }

    fn assert_close(what: &str, ours: &[f64], theirs: &[f64]) {
        assert_eq!(ours.len(), theirs.len(), "{what}");
        for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
            assert!((a - b).abs() < 1e-11, "{what}, element {i}: {a} and {b}");
        }
    }

    /// Sums of up to 4,000 products of numbers near 1 keep twelve digits of f64. The sizes are odd and
    /// even, below a tile and across blocks of tiles; channels fill no panel, or several.
    #[test]
    fn it_agrees_with_the_direct_way_in_value_and_both_gradients() {
        let padding = |top, bottom, left, right| Padding2d {
            top,
            bottom,
            left,
            right,
        };
        for (x, outputs, groups, padding) in [
            ([1, 1, 3, 3], 1, 1, padding(0, 0, 0, 0)),
            ([2, 3, 1, 1], 5, 1, padding(1, 1, 1, 1)),
            ([2, 9, 8, 8], 17, 1, padding(1, 1, 1, 1)),
            ([3, 4, 7, 30], 6, 2, padding(0, 2, 1, 2)),
            ([4, 8, 32, 32], 8, 1, padding(1, 1, 1, 1)),
            ([5, 8, 13, 100], 8, 1, padding(2, 1, 0, 1)),
            ([2, 16, 15, 31], 24, 4, padding(1, 0, 2, 1)),
            ([1, 2, 4, 5], 3, 1, padding(0, 3, 5, 0)),
            ([2, 3, 2, 1], 2, 1, padding(3, 0, 0, 4)),
        ] {
            let config = Conv2dConfig {
                padding,
                groups,
                ..Default::default()
            };
            let weight = [outputs, x[1] / groups, 3, 3];
            let g = Geometry::new("conv2d", x, weight, &config).unwrap();
            let what = format!("{x:?} to {outputs} in {groups}");
            let w = normal(1, weight.iter().product());
            let (x, bias) = (normal(2, x.iter().product()), normal(3, outputs));
            let dy = normal(4, g.output_shape().iter().product());
            let affine = Affine {
                weight: &w,
                bias: Some(&bias),
            };
            let winograd = Winograd::new(&g).unwrap();
            let (ours, theirs) = (
                winograd.forward(&x, affine),
                direct::forward(&g, &x, affine),
            );
            assert_close(&format!("{what}: values"), &ours, &theirs);
            let ours = winograd.grad_weight(&dy, &x);
            let theirs = weight_gradient::grad_weight(&g, &dy, &x);
            assert_close(&format!("{what}: weight"), &ours, &theirs);
            let affine = Affine {
                bias: None,
                ..affine
            };
            if let Some(back) = turned(&g).and_then(|g| Winograd::new(&g)) {
                let ours = back.grad_input(&dy, affine);
                assert_close(&what, &ours, &direct::grad_input(&g, &dy, affine));
            }
        }
    }

    #[test]
    fn it_is_taken_where_channels_and_planes_are_large() {
        let pays = |channels: usize, side: usize| {
            let config = Conv2dConfig {
                padding: 1.into(),
                ..Default::default()
            };
            let (x, weight) = ([1, channels, side, side], [channels, channels, 3, 3]);
            let g = Geometry::new("conv2d", x, weight, &config).unwrap();
            (
                Winograd::of(&g).is_some(),
                Winograd::backwards(&g).is_some(),
            )
        };
        assert_eq!(pays(64, 56), (true, true));
        assert_eq!(pays(3, 56), (false, false));
        assert_eq!(pays(64, 4), (false, false));
    }
}
