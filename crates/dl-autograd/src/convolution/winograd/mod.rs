//! Convolutions of stride 1 with fewer multiplications: 36 for 4×4 results of a 3×3 kernel instead of 144,
//! and for 2×2 results of a 5×5 kernel instead of 100.
//!
//! ```text
//! y = Aᵀ [ Σ_c (G w_c Gᵀ) ⊙ (Bᵀ d_c B) ] A          d: 6×6 pixels, w: a kernel, y: its results
//! ```
//!
//! Each of the 36 positions is one matrix product over the channels. The lanes lie along the channels, so
//! that no lane is lost where a row of tiles ends, and the tiles of several small images are one product.
//!
//! Source: Lavin, Gray, "Fast algorithms for convolutional neural networks", 2015.

mod kernels;
mod products;
mod tiles;
mod transform;
mod weight_gradient;
mod window;

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::bias::{Affine, alone};
use super::geometry::Geometry;
use super::padding::Padding2d;
use super::phases::LANES;
use crate::host::{room, written};
use crate::simd::{self, Scalar};
use kernels::{Kernels, PANEL, Transformed};
use products::Product;
use tiles::{Block, Positions, Results, Source};
use transform::{POSITIONS, SIDE};
use window::Window;

/// Tiles of a block, about.
const BLOCK: usize = 64;
/// Channels below which the transforms cost more than they save.
const CHANNELS: usize = 8;

/// A convolution for which this takes fewer operations.
pub(super) struct Winograd {
    g: Geometry,
    /// Results on the side of a tile.
    side: usize,
    /// Rows of tiles, and tiles in a row.
    grid: (usize, usize),
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
        let (config, side) = (&g.config, SIDE + 1 - g.kernel.0.min(SIDE));
        let fits = matches!(g.kernel, (3, 3) | (5, 5));
        if !fits || config.stride != (1, 1) || config.dilation != (1, 1) {
            return None;
        }
        Some(Self {
            g: *g,
            side,
            grid: (g.output.0.div_ceil(side), g.output.1.div_ceil(side)),
        })
    }

    /// Input and output channels of a group.
    fn channels(&self) -> (usize, usize) {
        let groups = self.g.config.groups;
        (self.g.c_in / groups, self.g.c_out / groups)
    }

    fn taps(&self) -> usize {
        self.g.kernel.0 * self.g.kernel.1
    }

    /// Multiplications and what the transforms cost, against those of the direct way.
    fn pays(&self) -> bool {
        let (c_in, c_out) = self.channels();
        let g = &self.g;
        let direct = (g.output.0 * (g.output.1 + 1)).next_multiple_of(LANES);
        let [wide_in, wide_out] = [c_in, c_out].map(|c| c.next_multiple_of(LANES));
        // A channel costs about as much as so many of the other side's.
        let transforms = 8 * (wide_in + wide_out);
        // That of a weight, once for all images.
        let weights = 400 * c_in * wide_out / g.batch.max(1);
        let tiles = self.grid.0 * self.grid.1;
        let ours = POSITIONS * tiles * (c_in * wide_out + transforms) + weights;
        c_in.min(c_out) >= CHANNELS && 10 * ours < 9 * self.taps() * direct * c_in * c_out
    }

    pub(super) fn forward<T: Scalar>(&self, x: &[T], affine: Affine<T>) -> Vec<T> {
        self.run(x, affine, false)
    }

    pub(super) fn grad_input<T: Scalar>(&self, dy: &[T], affine: Affine<T>) -> Vec<T> {
        self.run(dy, affine, true)
    }

    fn run<T: Scalar>(&self, x: &[T], affine: Affine<T>, back: bool) -> Vec<T> {
        let g = &self.g;
        let (image_in, image_out) = (g.c_in * g.pixels_in(), g.c_out * g.pixels_out());
        if x.is_empty() || g.batch * image_out == 0 {
            return alone(g.batch * image_out, affine.bias, g.pixels_out());
        }
        let (inputs, outputs) = self.channels();
        let weights = Kernels {
            weight: affine.weight,
            side: g.kernel.0,
            groups: g.config.groups,
            inputs,
            outputs,
            back,
        };
        let all = Part {
            winograd: self,
            weights: &weights.transformed(),
            bias: affine.bias,
            group: 0,
            first: 0,
        };
        let mut y = room(g.batch * image_out);
        let images = self.images_of_a_task();
        y.par_chunks_mut(images * image_out)
            .zip(x.par_chunks(images * image_in))
            .for_each(|(y, x)| self.task(x, y, all));
        // SAFETY: the chunks are all of `y`, and a task writes every result of its images.
        unsafe { written(y) }
    }

    /// Several images, or the groups and outputs of one image apart.
    fn task<T: Scalar>(&self, x: &[T], y: &mut [MaybeUninit<T>], all: Part<T>) {
        let (plane, outputs) = (self.g.pixels_out(), self.channels().1);
        if y.len() > self.g.c_out * plane {
            let mut scratch = Scratch::new(self, outputs);
            for group in 0..self.g.config.groups {
                let y = &mut y[group * outputs * plane..];
                all.of(group, 0).run(x, (y, outputs), &mut scratch);
            }
            return;
        }
        let channels = self.outputs_of_a_part();
        let groups = y.par_chunks_mut(outputs * plane).enumerate();
        groups.for_each(|(group, y)| {
            let parts = y.par_chunks_mut(channels * plane).enumerate();
            parts.for_each_init(
                || Scratch::new(self, channels.min(outputs)),
                |scratch, (i, y)| {
                    let count = y.len() / plane;
                    all.of(group, i * channels).run(x, (y, count), scratch)
                },
            );
        });
    }

    /// All channels of an image are one task unless there are too few images for the threads.
    fn outputs_of_a_part(&self) -> usize {
        let parts = rayon::current_num_threads().div_ceil(self.g.batch * self.g.config.groups);
        self.channels().1.div_ceil(parts).next_multiple_of(PANEL)
    }

    fn images_of_a_task(&self) -> usize {
        let tasks = 4 * rayon::current_num_threads();
        let block = self.images_of_a_block(self.share());
        self.g.batch.div_ceil(tasks).next_multiple_of(block)
    }

    /// Images of a thread.
    fn share(&self) -> usize {
        self.g.batch.div_ceil(rayon::current_num_threads())
    }

    /// Of so many; in blocks of about the same size.
    fn images_of_a_block(&self, images: usize) -> usize {
        let most = (BLOCK / (self.grid.0 * self.grid.1)).clamp(1, images);
        images.div_ceil(images.div_ceil(most))
    }

    /// Rows of tiles of a block.
    fn lines_of_a_block(&self) -> usize {
        let (lines, tiles) = self.grid;
        lines.div_ceil((lines * tiles).div_ceil(BLOCK).min(lines))
    }

    /// If it takes so many images.
    fn tiles_of_a_block(&self, images: usize) -> usize {
        self.images_of_a_block(images) * self.lines_of_a_block() * self.grid.1
    }

    /// Of all images, in blocks that fit for so many.
    fn blocks(&self, all: usize, images: usize) -> impl Iterator<Item = Block> {
        let (step, lines) = (self.images_of_a_block(images), self.lines_of_a_block());
        let count = self.grid.0;
        (0..all).step_by(step).flat_map(move |image| {
            (0..count).step_by(lines).map(move |line| Block {
                images: image..all.min(image + step),
                lines: line..count.min(line + lines),
            })
        })
    }

    fn window_of_pixels(&self) -> Window {
        let padding = self.g.config.padding;
        Window {
            size: self.g.input,
            padding: (padding.top, padding.left),
            tiles: self.grid.1,
            step: self.side,
            shared: SIDE - self.side,
        }
    }

    fn window_of_results(&self) -> Window {
        Window {
            size: self.g.output,
            padding: (0, 0),
            tiles: self.grid.1,
            step: self.side,
            shared: 0,
        }
    }
}

/// The input gradient as a convolution: the results' gradient goes through the kernel turned by 180°.
fn turned(g: &Geometry) -> Option<Geometry> {
    let p = g.config.padding;
    let rest = |kernel: usize, padding: usize| (kernel - 1).checked_sub(padding);
    let mut back = *g;
    (back.c_in, back.c_out) = (g.c_out, g.c_in);
    (back.input, back.output) = (g.output, g.input);
    back.config.padding = Padding2d {
        top: rest(g.kernel.0, p.top)?,
        bottom: rest(g.kernel.0, p.bottom)?,
        left: rest(g.kernel.1, p.left)?,
        right: rest(g.kernel.1, p.right)?,
    };
    Some(back)
}

/// What a block is transformed to, its products, and the pixels of a window of either.
struct Scratch<T> {
    pixels: Positions<T>,
    products: Positions<T>,
    window: Vec<T>,
    results: Vec<T>,
}

impl<T: Scalar> Scratch<T> {
    fn new(winograd: &Winograd, outputs: usize) -> Self {
        let tiles = winograd.tiles_of_a_block(winograd.share());
        let lines = winograd.lines_of_a_block();
        Self {
            pixels: Positions::new(tiles, winograd.channels().0),
            products: Positions::new(tiles, outputs),
            window: winograd.window_of_pixels().room(lines),
            results: winograd.window_of_results().room(lines),
        }
    }
}

/// Output channels of one group, from the first one on.
#[derive(Clone, Copy)]
struct Part<'a, T> {
    winograd: &'a Winograd,
    weights: &'a Transformed<T>,
    bias: Option<&'a [T]>,
    group: usize,
    first: usize,
}

impl<T: Scalar> Part<'_, T> {
    fn of(self, group: usize, first: usize) -> Self {
        Self {
            group,
            first,
            ..self
        }
    }

    /// Writes so many channels of every image of `x`.
    fn run(&self, x: &[T], (y, count): (&mut [MaybeUninit<T>], usize), scratch: &mut Scratch<T>) {
        let Self {
            winograd, group, ..
        } = *self;
        let (g, inputs) = (&winograd.g, winograd.channels().0);
        let image = g.c_in * g.pixels_in();
        let source = Source {
            window: winograd.window_of_pixels(),
            planes: &x[group * inputs * g.pixels_in()..],
            image,
            channels: inputs,
        };
        for block in winograd.blocks(x.len() / image, winograd.share()) {
            source.transform(&block, &mut scratch.window, &mut scratch.pixels);
            self.multiply(&block, count, scratch);
            self.write(&block, (y, count), scratch);
        }
    }

    fn multiply(&self, block: &Block, count: usize, scratch: &mut Scratch<T>) {
        let Scratch {
            pixels, products, ..
        } = scratch;
        let inputs = self.winograd.channels().0;
        for position in 0..POSITIONS {
            for panel in 0..count.div_ceil(PANEL) {
                let of_all = self.first / PANEL + panel;
                let (weights, width) = self.weights.at(self.group, of_all, position);
                let to = products.width;
                simd::run(Product {
                    a: pixels.at(position),
                    a_steps: (pixels.width, 1),
                    b: weights,
                    b_step: width,
                    c: &mut products.at_mut(position)[panel * PANEL..],
                    c_step: to,
                    rows: block.tiles(self.winograd.grid.1),
                    terms: inputs,
                    width,
                    add: false,
                });
            }
        }
    }

    fn write(
        &self,
        block: &Block,
        (y, count): (&mut [MaybeUninit<T>], usize),
        scratch: &mut Scratch<T>,
    ) {
        let g = &self.winograd.g;
        let first = self.group * self.winograd.channels().1 + self.first;
        for channel in (0..count).step_by(LANES) {
            let channels = LANES.min(count - channel);
            let mut bias = [T::zero(); LANES];
            if let Some(all) = self.bias {
                bias[..channels].copy_from_slice(&all[first + channel..][..channels]);
            }
            let results = Results {
                window: self.winograd.window_of_results(),
                bias,
                from: &scratch.products,
            };
            for image in 0..block.images.len() {
                let plane = (block.images.start + image) * g.c_out + channel;
                let y = &mut y[plane * g.pixels_out()..];
                results.write(block, image, channel, &mut scratch.results, (y, channels));
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

    fn geometry(x: [usize; 4], outputs: usize, side: usize, config: Conv2dConfig) -> Geometry {
        let weight = [outputs, x[1] / config.groups, side, side];
        Geometry::new("conv2d", x, weight, &config).unwrap()
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
        for (x, outputs, side, groups, padding) in [
            ([1, 1, 3, 3], 1, 3, 1, padding(0, 0, 0, 0)),
            ([2, 3, 1, 1], 5, 3, 1, padding(1, 1, 1, 1)),
            ([40, 9, 8, 8], 17, 3, 1, padding(1, 1, 1, 1)),
            ([3, 4, 7, 30], 6, 3, 2, padding(0, 2, 1, 2)),
            ([7, 8, 14, 14], 40, 3, 1, padding(1, 1, 1, 1)),
            ([5, 8, 13, 100], 8, 3, 1, padding(2, 1, 0, 1)),
            ([2, 16, 35, 31], 24, 3, 4, padding(1, 0, 2, 1)),
            ([1, 2, 4, 5], 3, 3, 1, padding(0, 3, 5, 0)),
            ([2, 3, 2, 1], 2, 3, 1, padding(3, 0, 0, 4)),
            ([1, 1, 5, 5], 1, 5, 1, padding(0, 0, 0, 0)),
            ([9, 33, 14, 14], 70, 5, 1, padding(2, 2, 2, 2)),
            ([2, 6, 9, 40], 6, 5, 3, padding(4, 1, 0, 3)),
        ] {
            let config = Conv2dConfig {
                padding,
                groups,
                ..Default::default()
            };
            let g = geometry(x, outputs, side, config);
            let what = format!("{x:?} to {outputs} in {groups}, {side}×{side}");
            let w = normal(1, outputs * x[1] / groups * side * side);
            let (x, bias) = (normal(2, x.iter().product()), normal(3, outputs));
            let dy = normal(4, g.output_shape().iter().product());
            let affine = Affine {
                weight: &w,
                bias: Some(&bias),
            };
            let winograd = Winograd::new(&g).unwrap();
            let (ours, theirs) = (
                winograd.forward(&x, affine),
                direct::forward(&g, &x, None, affine),
            );
            assert_close(&format!("{what}: values"), &ours, &theirs);
            let ours = winograd.grad_weight(&dy, &x);
            let theirs = weight_gradient::grad_weight(&g, &dy, &x, None);
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

    /// A sum of 576 products in f32 is off by about 2e-7 of the largest result in the direct way. The points
    /// amplify that by about ten, which stays below a third of the 1e-5 that is promised.
    #[test]
    fn in_f32_it_is_off_by_less_than_three_millionths_of_the_largest_result() {
        let off = |what: &str, ours: &[f32], theirs: &[f64]| {
            let largest = theirs.iter().fold(0f64, |max, x| max.max(x.abs()));
            let differences = ours
                .iter()
                .zip(theirs)
                .map(|(a, b)| (f64::from(*a) - b).abs());
            let off = differences.fold(0., f64::max) / largest;
            assert!(off < 3e-6, "{what}: {off:.1e}");
            assert!(off > 1e-8, "{what}: f32 cannot be this good, {off:.1e}");
        };
        let narrow = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<_>>();
        for (side, channels) in [(3, 64), (5, 32)] {
            let config = Conv2dConfig {
                padding: (side / 2).into(),
                ..Default::default()
            };
            let g = geometry([4, channels, 20, 20], channels, side, config);
            let weight = normal(1, channels * channels * side * side);
            let (x, dy) = (normal(2, 4 * channels * 400), normal(3, 4 * channels * 400));
            let (low_weight, low_x, low_dy) = (narrow(&weight), narrow(&x), narrow(&dy));
            let (winograd, back) = (Winograd::new(&g).unwrap(), turned(&g).unwrap());
            let (low, high) = (
                Affine {
                    weight: low_weight.as_slice(),
                    bias: None,
                },
                Affine {
                    weight: weight.as_slice(),
                    bias: None,
                },
            );
            let theirs = direct::forward(&g, &x, None, high);
            off("values", &winograd.forward(&low_x, low), &theirs);
            let ours = Winograd::new(&back).unwrap().grad_input(&low_dy, low);
            off("input", &ours, &direct::grad_input(&g, &dy, high));
            let theirs = weight_gradient::grad_weight(&g, &dy, &x, None);
            off("weight", &winograd.grad_weight(&low_dy, &low_x), &theirs);
        }
    }

    #[test]
    fn it_is_taken_where_channels_and_planes_are_large() {
        let pays = |channels: usize, side: usize| {
            let config = Conv2dConfig {
                padding: 1.into(),
                ..Default::default()
            };
            let g = geometry([1, channels, side, side], channels, 3, config);
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
