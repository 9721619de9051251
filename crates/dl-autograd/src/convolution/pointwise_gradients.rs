//! Both gradients of a 1×1 convolution on large planes, a block of pixels at a time.
//!
//! ```text
//! dx[c, pixel] = Σ_o w[o, c] · dy[o, pixel]
//! dw[o, c] = Σ_images Σ_pixels dy[o, pixel] · x[c, pixel]
//! ```
//!
//! What both read of a block is near when the second one reads it. The images are cut into spans of pixels,
//! each a task with sums of its own, which are added in one order; the spans follow from the sizes alone. The
//! number of threads changes no bit.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::slice::ChunksExactMut;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::direct::{self, PIXELS, Sums, TILE, Weights, panels};
use super::geometry::Geometry;
use super::op::Direction;
use super::phases::crowded;
use crate::activation::clamp;
use crate::batch_norm::cpu::{Map, Saved, Totals};
use crate::host::{cleared, room, written};
use crate::simd::{self, Kernel, Scalar, dispatch};

/// Pixels of a plane above which this is the faster way.
const LARGE: usize = 400;
/// Spans of all images, where they have pixels enough.
const SPANS: usize = 16;
/// Numbers of a block that stay near.
const NEAR: usize = 1 << 16;
/// Rows and columns of a tile of dot products.
const DOTS: usize = 4;

/// Whether both gradients of a convolution are faster together.
pub(super) fn pays(g: &Geometry) -> bool {
    g.is_pointwise() && g.pixels_in() > LARGE
}

/// A 1×1 convolution on its way back.
pub(super) struct Backward<'a, T> {
    g: &'a Geometry,
    saved: Saved<'a, T>,
    /// Of the channels of all groups.
    norm: Option<&'a [Map<T>]>,
    /// Of a group.
    c_in: usize,
    c_out: usize,
    /// Pixels.
    block: usize,
    span: usize,
}

pub(super) struct Gradients<T> {
    /// Of the convolved image; empty unless weights were given.
    pub(super) x: Vec<T>,
    pub(super) weight: Vec<T>,
    /// With a norm and weights `Σ g·x̂` and `Σ g` of every channel.
    pub(super) norm: Vec<(f64, f64)>,
}

impl<'a, T: Scalar> Backward<'a, T> {
    /// Of a convolution of `x` itself or of what a norm makes of its channels, unless another way is faster.
    pub(super) fn of(
        g: &'a Geometry,
        saved: Saved<'a, T>,
        norm: Option<&'a [Map<T>]>,
    ) -> Option<Self> {
        let (groups, plane) = (g.config.groups, g.pixels_in());
        if !pays(g) || saved.x.is_empty() || saved.dy.is_empty() {
            return None;
        }
        let (c_in, c_out) = (g.c_in / groups, g.c_out / groups);
        let near = NEAR / (c_in + c_out) / PIXELS * PIXELS;
        let block = near.clamp(2 * PIXELS, direct::BLOCK);
        let blocks = plane.div_ceil(block);
        let spans = SPANS.div_ceil(g.batch).min(blocks);
        Some(Self {
            g,
            saved,
            norm,
            c_in,
            c_out,
            block,
            span: blocks.div_ceil(spans) * block,
        })
    }

    pub(super) fn run(&self, weight: Option<&[T]>) -> Gradients<T> {
        let (size, weights) = (self.c_in * self.c_out, weight.map(|w| self.pack(w)));
        let mut x = room(weight.map_or(0, |_| self.saved.x.len()));
        let mut lines = self.lines(&mut x);
        let mut sums = cleared(lines.len() / self.c_in * size);
        let norm = lines
            .par_chunks_mut(self.c_in)
            .zip(sums.par_chunks_mut(size))
            .enumerate()
            .map_init(
                || Scratch {
                    x: vec![],
                    dy: vec![],
                },
                |scratch, (i, (x, sums))| self.task(i, weights.as_deref()).run(x, sums, scratch),
            )
            .collect::<Vec<_>>();
        Gradients {
            // SAFETY: the lines are all of it, and a task with weights writes all of its own.
            x: unsafe { written(x) },
            weight: self.weight(&sums),
            norm: self.norm(&norm),
        }
    }

    /// In panels for the sums over the output channels.
    fn pack(&self, weight: &[T]) -> Vec<T> {
        let terms: Vec<_> = (0..self.c_out).map(|o| (o, 0)).collect();
        let weights = Weights::new(self.g, Direction::Transposed, weight);
        panels((self.g.config.groups, self.c_in), &terms, weights)
    }

    /// Of a plane.
    fn spans(&self) -> usize {
        self.g.pixels_in().div_ceil(self.span)
    }

    /// `(image, group, span, channel)`.
    fn lines<'b>(&self, x: &'b mut [MaybeUninit<T>]) -> Vec<&'b mut [MaybeUninit<T>]> {
        let spans = self.spans();
        let mut lines: Vec<&mut [_]> = Vec::new();
        lines.resize_with(self.g.batch * self.g.c_in * spans, Default::default);
        for (i, plane) in x.chunks_mut(self.g.pixels_in()).enumerate() {
            for (span, line) in plane.chunks_mut(self.span).enumerate() {
                lines[(i / self.c_in * spans + span) * self.c_in + i % self.c_in] = line;
            }
        }
        lines
    }

    fn task<'b>(&'b self, i: usize, weights: Option<&'b [T]>) -> Task<'b, T> {
        let (plane, image) = (self.g.pixels_in(), i / self.spans());
        let (start, group) = (i % self.spans() * self.span, image % self.g.config.groups);
        let size = self.c_out * self.c_in.next_multiple_of(TILE);
        Task {
            x: &self.saved.x[image * self.c_in * plane..][..self.c_in * plane],
            dy: &self.saved.dy[image * self.c_out * plane..][..self.c_out * plane],
            norm: self
                .norm
                .map(|maps| &maps[group * self.c_in..][..self.c_in]),
            weights: weights.map(|weights| &weights[group * size..][..size]),
            plane,
            block: self.block,
            span: start..plane.min(start + self.span),
        }
    }

    fn weight(&self, sums: &[T]) -> Vec<T> {
        let (spans, groups) = (self.spans(), self.g.config.groups);
        let size = self.c_in * self.c_out;
        let mut dw = cleared(groups * size);
        let rows = dw.par_chunks_mut(self.c_in).enumerate();
        rows.for_each(|(o, dw)| {
            let (group, row) = (o / self.c_out, o % self.c_out * self.c_in);
            for image in 0..self.g.batch {
                for span in 0..spans {
                    let task = (image * groups + group) * spans + span;
                    let sums = &sums[task * size + row..];
                    dw.iter_mut().zip(sums).for_each(|(dw, sum)| *dw += *sum);
                }
            }
        });
        dw
    }

    /// Nothing without a norm.
    fn norm(&self, tasks: &[Vec<(f64, f64)>]) -> Vec<(f64, f64)> {
        let mut sums = vec![(0., 0.); self.norm.map_or(0, <[_]>::len)];
        for (i, task) in tasks.iter().enumerate() {
            let first = i / self.spans() % self.g.config.groups * self.c_in;
            for (sum, of_task) in sums.iter_mut().skip(first).zip(task) {
                *sum = (sum.0 + of_task.0, sum.1 + of_task.1);
            }
        }
        sums
    }
}

/// Copies of a block of `x` and of `dy`, channel by channel, where they are needed.
struct Scratch<T> {
    x: Vec<T>,
    dy: Vec<T>,
}

/// A span of one group of one image.
struct Task<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    norm: Option<&'a [Map<T>]>,
    weights: Option<&'a [T]>,
    plane: usize,
    block: usize,
    span: Range<usize>,
}

impl<T: Scalar> Task<'_, T> {
    /// Adds to the sums of the weights, writes the gradient of what was convolved and returns the norm's sums.
    fn run(
        &self,
        dx: &mut [&mut [MaybeUninit<T>]],
        sums: &mut [T],
        scratch: &mut Scratch<T>,
    ) -> Vec<(f64, f64)> {
        let maps = self.norm.unwrap_or_default();
        let mut totals: Vec<_> = maps.iter().map(|_| Totals::default()).collect();
        for start in self.span.clone().step_by(self.block) {
            let pixels = start..self.span.end.min(start + self.block);
            let x = self.lines(self.x, &pixels);
            let dy = self.near(self.lines(self.dy, &pixels), None, &mut scratch.dy);
            add_dots(self.near(x, self.norm, &mut scratch.x), dy, sums);
            if let Some(weights) = self.weights {
                let at = start - self.span.start;
                write_x(dy, weights, (dx, at));
                for (channel, (map, totals)) in maps.iter().zip(&mut totals).enumerate() {
                    // SAFETY: `write_x` has written the block.
                    let dy = unsafe { dx[channel][at..][..x.len].assume_init_ref() };
                    let x = x.get(channel);
                    map.add_sums(Saved { x, dy }, totals);
                }
            }
        }
        totals.into_iter().map(Totals::sums).collect()
    }

    fn lines<'b>(&self, planes: &'b [T], pixels: &Range<usize>) -> Lines<'b, T> {
        Lines {
            values: &planes[pixels.start..],
            stride: self.plane,
            count: planes.len() / self.plane,
            len: pixels.len(),
        }
    }

    /// The lines themselves or a copy: of what a norm makes of them, and of those that share a few lines of
    /// the cache.
    fn near<'b>(
        &self,
        lines: Lines<'b, T>,
        norm: Option<&[Map<T>]>,
        copy: &'b mut Vec<T>,
    ) -> Lines<'b, T> {
        if norm.is_none() && !crowded::<T>(self.plane) {
            return lines;
        }
        copy.resize(lines.count * self.block, T::zero());
        dispatch(Copy {
            lines,
            norm,
            to: copy.chunks_exact_mut(self.block),
        });
        Lines {
            values: copy,
            stride: self.block,
            ..lines
        }
    }
}

/// Pixels of every channel.
#[derive(Clone, Copy)]
struct Lines<'a, T> {
    values: &'a [T],
    /// From a channel to the next.
    stride: usize,
    count: usize,
    len: usize,
}

impl<'a, T> Lines<'a, T> {
    #[inline(always)]
    fn get(&self, line: usize) -> &'a [T] {
        &self.values[line * self.stride..][..self.len]
    }
}

struct Copy<'a, T> {
    lines: Lines<'a, T>,
    norm: Option<&'a [Map<T>]>,
    to: ChunksExactMut<'a, T>,
}

impl<T: Scalar> Kernel for Copy<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (channel, to) in self.to.enumerate() {
            let from = self.lines.get(channel);
            match self.norm {
                None => to[..from.len()].copy_from_slice(from),
                Some(maps) => {
                    let ((scale, shift), bounds) = (maps[channel].line(), maps[channel].bounds);
                    for (to, x) in to.iter_mut().zip(from) {
                        *to = clamp(x.multiply_add::<FMA>(scale, shift), bounds);
                    }
                }
            }
        }
    }
}

/// To the sums `(output channel, input channel)`.
fn add_dots<T: Scalar>(x: Lines<T>, dy: Lines<T>, sums: &mut [T]) {
    let (x, dy) = ((x, 1), (dy, x.count));
    // The wider side is read once.
    let (rows, columns) = if x.0.count > dy.0.count {
        (x, dy)
    } else {
        (dy, x)
    };
    simd::run(Dots {
        sums,
        rows: rows.0,
        columns: columns.0,
        strides: (rows.1, columns.1),
    });
}

/// All channels from a pixel on.
fn write_x<T: Scalar>(
    dy: Lines<T>,
    weights: &[T],
    (dx, at): (&mut [&mut [MaybeUninit<T>]], usize),
) {
    let offsets: Vec<usize> = (0..dy.count).map(|o| o * dy.stride).collect();
    let tiles = weights.chunks_exact(TILE * dy.count);
    for (dx, weights) in dx.chunks_mut(TILE).zip(tiles) {
        simd::run(Sums {
            out: (dx, at),
            len: dy.len,
            from: dy.values,
            pitch: PIXELS,
            offsets: &offsets,
            weights,
            bias: [T::zero(); TILE],
        });
    }
}

/// Adds the dot products of lines of two sides.
struct Dots<'a, T> {
    sums: &'a mut [T],
    rows: Lines<'a, T>,
    columns: Lines<'a, T>,
    /// From the sum of a row, and of a column, to that of the next.
    strides: (usize, usize),
}

impl<T: Scalar> WithSimd for Dots<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut row = 0;
        while S::REGISTER_COUNT >= 32 && row + DOTS <= self.rows.count {
            self.row::<S, DOTS>(simd, row);
            row += DOTS;
        }
        while row + DOTS / 2 <= self.rows.count {
            self.row::<S, { DOTS / 2 }>(simd, row);
            row += DOTS / 2;
        }
        while row < self.rows.count {
            self.row::<S, 1>(simd, row);
            row += 1;
        }
    }
}

impl<T: Scalar> Dots<'_, T> {
    #[inline(always)]
    fn row<S: Simd, const R: usize>(&mut self, simd: S, row: usize) {
        let mut column = 0;
        while column + DOTS <= self.columns.count {
            self.tile::<S, R, DOTS>(simd, (row, column));
            column += DOTS;
        }
        while column < self.columns.count {
            self.tile::<S, R, 1>(simd, (row, column));
            column += 1;
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize>(
        &mut self,
        simd: S,
        (row, column): (usize, usize),
    ) {
        let len = self.rows.len;
        let whole = len - len % T::lanes::<S>();
        let (mut rows, mut columns) = ([[].as_slice(); R], [[].as_slice(); C]);
        for (i, line) in rows.iter_mut().enumerate() {
            *line = self.rows.get(row + i);
        }
        for (i, line) in columns.iter_mut().enumerate() {
            *line = self.columns.get(column + i);
        }
        let mut sums = [[T::splat(simd, T::zero()); C]; R];
        let (row_vectors, column_vectors) = (
            vectors::<T, S, R>(&rows, whole),
            vectors::<T, S, C>(&columns, whole),
        );
        for at in 0..whole / T::lanes::<S>() {
            let (mut x, mut y) = (
                [T::splat(simd, T::zero()); R],
                [T::splat(simd, T::zero()); C],
            );
            for (x, line) in x.iter_mut().zip(&row_vectors) {
                *x = line[at];
            }
            for (y, line) in y.iter_mut().zip(&column_vectors) {
                *y = line[at];
            }
            add_products::<T, S, R, C>(simd, &mut sums, &x, &y);
        }
        if whole < len {
            let (mut x, mut y) = (
                [T::splat(simd, T::zero()); R],
                [T::splat(simd, T::zero()); C],
            );
            for (x, line) in x.iter_mut().zip(&rows) {
                *x = T::partial(simd, &line[whole..]);
            }
            for (y, line) in y.iter_mut().zip(&columns) {
                *y = T::partial(simd, &line[whole..]);
            }
            add_products::<T, S, R, C>(simd, &mut sums, &x, &y);
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                let at = (row + i) * self.strides.0 + (column + j) * self.strides.1;
                self.sums[at] += T::total(simd, *sum);
            }
        }
    }
}

/// The first numbers of every line, whole vectors of them.
#[inline(always)]
fn vectors<'a, T: Scalar, S: Simd, const N: usize>(
    lines: &[&'a [T]; N],
    count: usize,
) -> [&'a [T::In<S>]; N] {
    let mut vectors = [[].as_slice(); N];
    for (vectors, line) in vectors.iter_mut().zip(lines) {
        *vectors = T::vectors::<S>(&line[..count]);
    }
    vectors
}

/// `sums[r][c] += rows[r] · columns[c]`, lane by lane.
#[inline(always)]
fn add_products<T: Scalar, S: Simd, const R: usize, const C: usize>(
    simd: S,
    sums: &mut [[T::In<S>; C]; R],
    rows: &[T::In<S>; R],
    columns: &[T::In<S>; C],
) {
    for (sums, row) in sums.iter_mut().zip(rows) {
        for (sum, column) in sums.iter_mut().zip(columns) {
            *sum = T::fused(simd, *row, *column, *sum);
        }
    }
}
