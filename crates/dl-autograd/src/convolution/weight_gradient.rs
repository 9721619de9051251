//! The weight gradient of a convolution: a matrix product whose left side is never written down.
//!
//! ```text
//! dw[c, t, o] = Σ_images Σ_pixels phase[c, start_t + pixel] · dy[pixel, o]
//! ```
//!
//! The lanes lie along the output channels, so that no sum is folded across a register; `dy` is turned
//! over once for that. Each task has its own rows `(c, t)` and sums over the images in order: the
//! number of threads changes no bit.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::geometry::Geometry;
use super::phases::{LANES, Phases};
use super::pointwise;
use crate::batch_norm::cpu::Map;
use crate::host::{cleared, room, written};
use crate::simd::{self, Scalar};
use crate::turn::Turn;

/// Rows `(c, t)` of a tile.
pub(super) const ROWS: usize = 8;
/// Pixels between which all rows are visited: their `dy` stays near.
const PIXELS: usize = 128;

/// Of `x` itself or of what a norm makes of its channels.
pub(super) fn grad_weight<T: Scalar>(
    g: &Geometry,
    dy: &[T],
    x: &[T],
    norm: Option<&[Map<T>]>,
) -> Vec<T> {
    if g.is_pointwise() {
        return pointwise::grad_weight(g, dy, x, norm);
    }
    let sizes = Sizes::new(g);
    let Sizes {
        rows, c_out, width, ..
    } = sizes;
    let groups = g.config.groups;
    let mut dw = vec![T::zero(); groups * c_out * rows];
    if dy.is_empty() || x.is_empty() || dw.is_empty() {
        return dw;
    }
    let turned = sizes.turn(g, dy);
    let mut sums = cleared(groups * rows * width);
    let phases = Phases::new(g);
    let tasks = (2 * rayon::current_num_threads()).div_ceil(groups);
    let part = rows.div_ceil(tasks).next_multiple_of(ROWS);
    sums.par_chunks_mut(rows * width)
        .enumerate()
        .for_each(|(group, sums)| {
            let parts = sums.par_chunks_mut(part * width).enumerate();
            parts.for_each(|(i, sums)| {
                let first = i * part;
                let image = Image { x, norm };
                sizes.sum(g, &phases, image, &turned, (group, first), sums);
            });
        });
    dw.par_chunks_mut(c_out * rows)
        .zip(sums.par_chunks(rows * width))
        .for_each(|(dw, sums)| turn_back(dw, sums, rows, width));
    dw
}

/// What was convolved.
#[derive(Clone, Copy)]
struct Image<'a, T> {
    x: &'a [T],
    norm: Option<&'a [Map<T>]>,
}

/// Of one group.
#[derive(Clone, Copy)]
struct Sizes {
    c_in: usize,
    c_out: usize,
    taps: usize,
    /// `c_in · taps`.
    rows: usize,
    /// `c_out` in whole vectors.
    width: usize,
}

impl Sizes {
    fn new(g: &Geometry) -> Self {
        let (c_in, c_out) = (g.c_in / g.config.groups, g.c_out / g.config.groups);
        let taps = g.kernel.0 * g.kernel.1;
        Self {
            c_in,
            c_out,
            taps,
            rows: c_in * taps,
            width: c_out.next_multiple_of(LANES),
        }
    }

    /// `dy (image, group, channel, pixel)` as `(image, group, pixel, channel)`.
    fn turn<T: Scalar>(&self, g: &Geometry, dy: &[T]) -> Vec<T> {
        let pixels = g.pixels_out();
        let mut turned = room(g.batch * g.config.groups * pixels * self.width);
        turned
            .par_chunks_mut(pixels * self.width)
            .zip(dy.par_chunks(self.c_out * pixels))
            .for_each(|(turned, dy)| {
                Turn::flat(self.c_out, pixels, self.width).gather(dy, pixels, turned);
            });
        // SAFETY: the vectors of all channels are whole pixels.
        unsafe { written(turned) }
    }

    /// Adds the products of every image to the rows from `first` on.
    fn sum<T: Scalar>(
        &self,
        g: &Geometry,
        phases: &Phases,
        image: Image<T>,
        turned: &[T],
        (group, first): (usize, usize),
        sums: &mut [T],
    ) {
        let stride = Phases::count(g) * phases.len;
        let rows = sums.len() / self.width;
        let channels = first / self.taps..(first + rows).div_ceil(self.taps);
        let (starts, plane) = (phases.starts(), g.pixels_in());
        let row = |row: usize| {
            let (c, tap) = (row / self.taps - channels.start, row % self.taps);
            c * stride + starts[tap]
        };
        let offsets: Vec<usize> = (first..first + rows).map(row).collect();
        let mut from = vec![T::zero(); channels.len() * stride];
        for n in 0..g.batch {
            let of_group = n * g.config.groups + group;
            for (split, c) in from.chunks_exact_mut(stride).zip(channels.clone()) {
                let norm = image.norm.map(|maps| maps[group * self.c_in + c]);
                let plane = &image.x[(of_group * self.c_in + c) * plane..][..plane];
                phases.split(g, plane, norm, split);
            }
            let size = g.pixels_out() * self.width;
            simd::run(Rows {
                sums,
                from: &from,
                offsets: &offsets,
                dy: &turned[of_group * size..][..size],
                width: self.width,
                lines: (g.output.1, phases.width),
            });
        }
    }
}

/// `(row, channel)` to `(channel, row)`.
pub(super) fn turn_back<T: Scalar>(dw: &mut [T], sums: &[T], rows: usize, width: usize) {
    let blocks = dw.par_chunks_mut(LANES * rows).enumerate();
    blocks.for_each(|(block, dw)| {
        let turn = Turn::flat(dw.len() / rows, rows, width);
        turn.scatter_over(&sums[block * LANES..], rows, dw);
    });
}

/// `sums[row, o] += Σ_pixels from[offsets[row] + pixel] · dy[pixel, o]`.
pub(super) struct Rows<'a, T> {
    pub(super) sums: &'a mut [T],
    pub(super) from: &'a [T],
    pub(super) offsets: &'a [usize],
    pub(super) dy: &'a [T],
    pub(super) width: usize,
    /// Pixels of an output's line, and what lies between the starts of two lines in `from`.
    pub(super) lines: (usize, usize),
}

impl<T: Scalar> WithSimd for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = T::lanes::<S>();
        let lines = self.dy.len() / (self.width * self.lines.0);
        let block = PIXELS.div_ceil(self.lines.0);
        for first in (0..lines).step_by(block) {
            let lines = (first, (first + block).min(lines));
            let mut o = 0;
            while o + 3 * lanes <= self.width {
                self.columns::<S, 3>(simd, lines, o);
                o += 3 * lanes;
            }
            while o + 2 * lanes <= self.width {
                self.columns::<S, 2>(simd, lines, o);
                o += 2 * lanes;
            }
            while o < self.width {
                self.columns::<S, 1>(simd, lines, o);
                o += lanes;
            }
        }
    }
}

impl<T: Scalar> Rows<'_, T> {
    #[inline(always)]
    fn columns<S: Simd, const V: usize>(&mut self, simd: S, lines: (usize, usize), o: usize) {
        let mut row = 0;
        while S::REGISTER_COUNT >= 32 && row + ROWS <= self.offsets.len() {
            self.tile::<S, ROWS, V>(simd, lines, (row, o));
            row += ROWS;
        }
        while row + ROWS / 2 <= self.offsets.len() {
            self.tile::<S, { ROWS / 2 }, V>(simd, lines, (row, o));
            row += ROWS / 2;
        }
        while row < self.offsets.len() {
            self.tile::<S, 1, V>(simd, lines, (row, o));
            row += 1;
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        lines: (usize, usize),
        (row, o): (usize, usize),
    ) {
        let (columns, pitch) = self.lines;
        let mut sums = [[T::splat(simd, T::zero()); V]; R];
        for line in lines.0..lines.1 {
            let start = |r: usize| self.offsets[row + r] + line * pitch;
            let from: [&[T]; R] = std::array::from_fn(|r| &self.from[start(r)..][..columns]);
            let dy = &self.dy[line * columns * self.width..][..columns * self.width];
            for (pixel, dy) in dy.chunks_exact(self.width).enumerate() {
                let dy = T::vectors::<S>(&dy[o..][..V * T::lanes::<S>()]);
                for r in 0..R {
                    let x = T::splat(simd, from[r][pixel]);
                    for v in 0..V {
                        sums[r][v] = T::fused(simd, x, dy[v], sums[r][v]);
                    }
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let total = &mut self.sums[(row + r) * self.width + o..][..V * T::lanes::<S>()];
            for (total, sum) in T::vectors_mut::<S>(total).iter_mut().zip(sums) {
                *total = T::fused(simd, T::splat(simd, T::one()), *sum, *total);
            }
        }
    }
}
