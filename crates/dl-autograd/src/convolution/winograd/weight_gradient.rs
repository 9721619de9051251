//! The weight gradient: the products of forward's transformed pixels and of transformed gradients.
//!
//! ```text
//! dw[o, c] = Gᵀ [ Σ_images Σ_tiles (A dy_o Aᵀ) ⊙ (Bᵀ d_c B) ] G
//! ```
//!
//! The lanes lie along the output channels. Which images are summed together, and in which order, follows
//! from the sizes alone: the number of threads changes no bit.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::transform::{self, POSITIONS};
use super::{Pixels, Positions, Winograd};
use crate::convolution::phases::LANES;
use crate::convolution::weight_gradient::{ROWS, Rows, Sizes};
use crate::simd::{self, Scalar};

/// Tiles whose transforms are near at a time.
const BLOCK: usize = 96;
/// Parts of the batch that are summed apart, so that threads need not share the channels.
const PARTS: usize = 4;
/// Weights above which the sums of the parts would take more memory than they save time.
const APART: usize = 1 << 14;

impl Winograd {
    pub(in crate::convolution) fn grad_weight<T: Scalar>(&self, dy: &[T], x: &[T]) -> Vec<T> {
        let (g, groups, sizes) = (&self.g, self.g.config.groups, Sizes::new(&self.g));
        let mut dw = vec![T::zero(); g.c_out * sizes.c_in * 9];
        if dy.is_empty() || x.is_empty() {
            return dw;
        }
        let parts = match sizes.c_in * sizes.c_out {
            0..=APART => PARTS.min(g.batch),
            _ => 1,
        };
        let tasks = (2 * rayon::current_num_threads()).div_ceil(parts * groups);
        let channels = sizes.c_in.div_ceil(tasks).next_multiple_of(ROWS);
        let sums = self.sums(dy, x, parts, channels);
        dw.par_chunks_mut(sizes.c_out * sizes.c_in * 9)
            .zip(sums.par_chunks(POSITIONS * sizes.c_in * sizes.width))
            .for_each(|(dw, sums)| turn_back(sums, sizes, channels, dw));
        dw
    }

    /// `(group, task of so many channels, position, channel, output)`.
    fn sums<T: Scalar>(&self, dy: &[T], x: &[T], parts: usize, channels: usize) -> Vec<T> {
        let (g, groups, sizes) = (&self.g, self.g.config.groups, Sizes::new(&self.g));
        let turned = sizes.turn(g, dy);
        let row = POSITIONS * sizes.width;
        let size = groups * sizes.c_in * row;
        let mut sums = vec![T::zero(); parts * size];
        sums.par_chunks_mut(sizes.c_in * row)
            .enumerate()
            .for_each(|(i, sums)| {
                let (part, group) = (i / groups, i % groups);
                let images = part * g.batch / parts..(part + 1) * g.batch / parts;
                let each = sums.par_chunks_mut(channels * row).enumerate();
                each.for_each(|(i, sums)| {
                    let task = Task {
                        winograd: self,
                        sizes,
                        group,
                        channels: i * channels..i * channels + sums.len() / row,
                    };
                    task.run(images.clone(), x, &turned, sums);
                });
            });
        let others = sums.split_off(size);
        sums.par_iter_mut().enumerate().for_each(|(i, sum)| {
            let others = others.iter().skip(i).step_by(size);
            others.for_each(|other| *sum += *other);
        });
        sums
    }
}

/// Some input channels of a group.
struct Task<'a> {
    winograd: &'a Winograd,
    sizes: Sizes,
    group: usize,
    channels: Range<usize>,
}

impl Task<'_> {
    /// Adds the products of some images: `sums (position, channel, output)`.
    fn run<T: Scalar>(&self, images: Range<usize>, x: &[T], turned: &[T], sums: &mut [T]) {
        let Winograd { g, tiles } = self.winograd;
        let ((lines, columns), pitch) = (tiles.grid, tiles.pitch);
        let step = (BLOCK / pitch).max(1);
        let (stride, plane, rows) = (tiles.stride(), g.pixels_in(), self.channels.len());
        // The last vector of a block may reach beyond its last line: into the room behind.
        let mut from = vec![T::zero(); rows * stride + tiles.room()];
        let mut pixels = Positions::new(rows, (step * pitch).next_multiple_of(LANES));
        let mut gradients = Positions::new(step * columns, self.sizes.width);
        let offsets: Vec<usize> = (0..rows).map(|c| c * pixels.width).collect();
        for image in images {
            let of_group = image * g.config.groups + self.group;
            let first = (of_group * self.sizes.c_in + self.channels.start) * plane;
            let (lists, room) = from.split_at_mut(rows * stride);
            let planes = x[first..].chunks_exact(plane);
            for (lists, plane) in lists.chunks_exact_mut(stride).zip(planes) {
                tiles.split(plane, room, lists);
            }
            let size = g.pixels_out() * self.sizes.width;
            for line in (0..lines).step_by(step) {
                let count = step.min(lines - line);
                simd::run(Pixels {
                    from: &from[line * pitch..],
                    tiles,
                    len: count * pitch,
                    to: &mut pixels,
                });
                simd::run(Gradients {
                    dy: &turned[of_group * size..][..size],
                    size: g.output,
                    lines: line..line + count,
                    to: &mut gradients,
                });
                let each = sums.chunks_exact_mut(rows * self.sizes.width).enumerate();
                each.for_each(|(position, sums)| {
                    simd::run(Rows {
                        sums,
                        from: pixels.at(position),
                        offsets: &offsets,
                        dy: &gradients.at(position)[..count * columns * self.sizes.width],
                        width: self.sizes.width,
                        lines: (columns, pitch),
                    });
                });
            }
        }
    }
}

/// `A dy Aᵀ` of every tile of some lines, `(line, tile, output)`.
struct Gradients<'a, T> {
    /// `(pixel, output)`.
    dy: &'a [T],
    size: (usize, usize),
    lines: Range<usize>,
    to: &'a mut Positions<T>,
}

impl<T: Scalar> WithSimd for Gradients<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (lanes, (height, columns)) = (T::lanes::<S>(), self.size);
        let Positions { pitch, width, .. } = *self.to;
        let mut tile = 0;
        for line in self.lines {
            for column in (0..columns).step_by(2) {
                for o in (0..width).step_by(lanes) {
                    let mut dy = [T::splat(simd, T::zero()); 4];
                    for (i, dy) in dy.iter_mut().enumerate() {
                        let (y, x) = (2 * line + i / 2, column + i % 2);
                        if y < height && x < columns {
                            let from = (y * columns + x) * width + o;
                            *dy = T::vectors::<S>(&self.dy[from..][..lanes])[0];
                        }
                    }
                    let m = transform::gradients::<T, S>(simd, &dy);
                    for (position, m) in m.iter().enumerate() {
                        let to = position * pitch + tile * width + o;
                        T::vectors_mut::<S>(&mut self.to.values[to..][..lanes])[0] = *m;
                    }
                }
                tile += 1;
            }
        }
    }
}

/// From the sums of a group, `(task, position, channel, output)`, to `(output, channel, tap)`.
fn turn_back<T: Scalar>(sums: &[T], sizes: Sizes, channels: usize, dw: &mut [T]) {
    let blocks = dw.par_chunks_mut(LANES * sizes.c_in * 9).enumerate();
    blocks.for_each(|(block, dw)| {
        simd::run(Kernels {
            sums,
            sizes,
            channels,
            first: block * LANES,
            dw,
        });
    });
}

/// `Gᵀ u G` of every input channel and [`LANES`] outputs.
struct Kernels<'a, T> {
    sums: &'a [T],
    sizes: Sizes,
    /// Of a task.
    channels: usize,
    /// The first output.
    first: usize,
    dw: &'a mut [T],
}

impl<T: Scalar> WithSimd for Kernels<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (lanes, Sizes { c_in, width, .. }) = (T::lanes::<S>(), self.sizes);
        let mut taps = [[T::zero(); LANES]; 9];
        for c in 0..c_in {
            let task = c / self.channels * self.channels;
            let rows = self.channels.min(c_in - task);
            let from = &self.sums[task * POSITIONS * width..];
            for i in (0..LANES).step_by(lanes) {
                let mut u = [T::splat(simd, T::zero()); POSITIONS];
                for (position, u) in u.iter_mut().enumerate() {
                    let at = (position * rows + c - task) * width + self.first + i;
                    *u = T::vectors::<S>(&from[at..][..lanes])[0];
                }
                let g = transform::kernel_gradient::<T, S>(simd, &u);
                for (taps, g) in taps.iter_mut().zip(g) {
                    T::vectors_mut::<S>(&mut taps[i..i + lanes])[0] = g;
                }
            }
            for (o, dw) in self.dw.chunks_exact_mut(c_in * 9).enumerate() {
                let to = dw[c * 9..][..9].iter_mut();
                to.zip(&taps).for_each(|(to, taps)| *to = taps[o]);
            }
        }
    }
}
