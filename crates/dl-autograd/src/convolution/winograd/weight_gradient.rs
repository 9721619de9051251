//! The weight gradient: the products of forward's transformed pixels and of transformed gradients.
//!
//! ```text
//! dw[o, c] = Gᵀ [ Σ_images Σ_tiles (A dy_o Aᵀ) ⊙ (Bᵀ d_c B) ] G
//! ```
//!
//! Which images are summed together, and in which order, follows from the sizes alone: the number of
//! threads changes no bit. The sums of a block start from zero: added up one by one, all tiles would lose
//! three times as many digits.

use std::ops::Range;

use rayon::prelude::*;

use super::Winograd;
use super::kernels::Gradients;
use super::products::Product;
use super::tiles::{Block, Positions, Source};
use super::transform::POSITIONS;
use crate::convolution::phases::LANES;
use crate::host::{room, written, zeros};
use crate::simd::{self, Scalar};

/// Parts of the batch that are summed apart, so that threads need not share the channels.
const PARTS: usize = 4;
/// Weights above which the sums of the parts would take more memory than they save time.
const APART: usize = 1 << 14;

impl Winograd {
    pub(in crate::convolution) fn grad_weight<T: Scalar>(&self, dy: &[T], x: &[T]) -> Vec<T> {
        let (g, (inputs, outputs)) = (&self.g, self.channels());
        let size = outputs * inputs * self.taps();
        let mut dw = vec![T::zero(); g.config.groups * size];
        if dy.is_empty() || x.is_empty() {
            return dw;
        }
        let parts = match inputs * outputs {
            0..=APART => PARTS.min(g.batch),
            _ => 1,
        };
        let tasks = (2 * rayon::current_num_threads()).div_ceil(parts * g.config.groups);
        let channels = inputs.div_ceil(tasks).next_multiple_of(LANES);
        let sums = self.sums(dy, x, parts, channels);
        dw.par_chunks_mut(size)
            .zip(sums.par_chunks(sums.len() / g.config.groups))
            .for_each(|(dw, sums)| {
                let gradients = Gradients {
                    sums,
                    side: g.kernel.0,
                    inputs,
                    outputs,
                    channels,
                };
                gradients.write(dw);
            });
        dw
    }

    /// `(group, task of so many channels, position, channel, output)`.
    fn sums<T: Scalar>(&self, dy: &[T], x: &[T], parts: usize, channels: usize) -> Vec<T> {
        let (g, groups, (inputs, outputs)) = (&self.g, self.g.config.groups, self.channels());
        let row = POSITIONS * outputs.next_multiple_of(LANES);
        let size = groups * inputs * row;
        let mut sums = room(parts * size);
        sums.par_chunks_mut(inputs * row)
            .enumerate()
            .for_each(|(i, sums)| {
                let (part, group) = (i / groups, i % groups);
                let images = part * g.batch / parts..(part + 1) * g.batch / parts;
                let each = sums.par_chunks_mut(channels * row).enumerate();
                each.for_each(|(i, sums)| {
                    let (first, sums) = (i * channels, zeros(sums));
                    let task = Task {
                        winograd: self,
                        group,
                        channels: first..first + sums.len() / row,
                    };
                    task.run(images.clone(), x, dy, sums);
                });
            });
        // SAFETY: the tasks have filled all of it.
        let mut sums = unsafe { written(sums) };
        let others = sums.split_off(size);
        sums.par_chunks_mut(row).enumerate().for_each(|(i, sums)| {
            for others in others.chunks_exact(size) {
                let others = &others[i * row..];
                sums.iter_mut().zip(others).for_each(|(s, o)| *s += *o);
            }
        });
        sums
    }
}

/// Some input channels of a group.
struct Task<'a> {
    winograd: &'a Winograd,
    group: usize,
    channels: Range<usize>,
}

impl Task<'_> {
    /// Adds the products of some images: `sums (position, channel, output)`.
    fn run<T: Scalar>(&self, images: Range<usize>, x: &[T], dy: &[T], sums: &mut [T]) {
        let (winograd, g) = (self.winograd, &self.winograd.g);
        let (inputs, outputs) = winograd.channels();
        let (plane_in, plane_out) = (g.pixels_in(), g.pixels_out());
        let first = images.start * g.c_in + self.group * inputs + self.channels.start;
        let pixels = Source {
            window: winograd.window_of_pixels(),
            planes: &x[first * plane_in..],
            image: g.c_in * plane_in,
            channels: self.channels.len(),
        };
        let first = images.start * g.c_out + self.group * outputs;
        let gradients = Source {
            window: winograd.window_of_results(),
            planes: &dy[first * plane_out..],
            image: g.c_out * plane_out,
            channels: outputs,
        };
        let tiles = winograd.tiles_of_a_block(images.len());
        let mut products = Products::new(&pixels, &gradients, (tiles, winograd.lines_of_a_block()));
        for block in winograd.blocks(images.len(), images.len()) {
            products.add((&pixels, &gradients), &block, sums);
        }
    }
}

/// What a block is transformed to.
struct Products<T> {
    pixels: Positions<T>,
    gradients: Positions<T>,
    windows: (Vec<T>, Vec<T>),
}

impl<T: Scalar> Products<T> {
    /// For so many tiles in so many rows.
    fn new(pixels: &Source<T>, gradients: &Source<T>, (tiles, lines): (usize, usize)) -> Self {
        Self {
            pixels: Positions::new(tiles, pixels.channels),
            gradients: Positions::new(tiles, gradients.channels),
            windows: (pixels.window.room(lines), gradients.window.room(lines)),
        }
    }

    fn add(&mut self, of: (&Source<T>, &Source<T>), block: &Block, sums: &mut [T]) {
        of.0.transform(block, &mut self.windows.0, &mut self.pixels);
        of.1.transform(block, &mut self.windows.1, &mut self.gradients);
        let (rows, width) = (of.0.channels, self.gradients.width);
        let each = sums.chunks_exact_mut(rows * width).enumerate();
        each.for_each(|(position, sums)| {
            simd::run(Product {
                a: self.pixels.at(position),
                a_steps: (1, self.pixels.width),
                b: self.gradients.at(position),
                b_step: width,
                c: sums,
                c_step: width,
                rows,
                terms: block.tiles(of.0.window.tiles),
                width,
                add: true,
            })
        });
    }
}
