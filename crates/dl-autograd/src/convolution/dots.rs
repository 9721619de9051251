//! The weight gradient of a 1×1 convolution on large planes: dot products of pixels.
//!
//! ```text
//! dw[o, c] = Σ_images Σ_pixels dy[o, pixel] · x[c, pixel]
//! ```
//!
//! Nothing is turned over or copied: each task has its own rows `o` and sums in the order of the images. The
//! number of threads changes no bit.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::geometry::Geometry;
use crate::simd::{self, Scalar};

/// Pixels after which the sums of a tile are folded: what they read stays near.
const BLOCK: usize = 1024;
/// Rows and columns of a tile.
const TILE: usize = 4;

pub(super) fn grad_weight<T: Scalar>(g: &Geometry, dy: &[T], x: &[T]) -> Vec<T> {
    let groups = g.config.groups;
    let (c_in, c_out) = (g.c_in / groups, g.c_out / groups);
    let mut dw = vec![T::zero(); g.c_out * c_in];
    let tasks = (2 * rayon::current_num_threads()).div_ceil(groups);
    let part = c_out.div_ceil(tasks).next_multiple_of(TILE);
    dw.par_chunks_mut(c_out * c_in)
        .enumerate()
        .for_each(|(group, dw)| {
            let parts = dw.par_chunks_mut(part * c_in).enumerate();
            parts.for_each(|(i, dw)| {
                let first = group * c_out + i * part;
                let dots = Dots {
                    dw,
                    dy: Planes::new(dy, g.c_out, first, g.pixels_out()),
                    x: Planes::new(x, g.c_in, group * c_in, g.pixels_in()),
                    c_in,
                    batch: g.batch,
                };
                simd::run(dots);
            });
        });
    dw
}

/// The channels from `first` on of `(image, channel, pixel)`.
#[derive(Clone, Copy)]
struct Planes<'a, T> {
    values: &'a [T],
    channels: usize,
    first: usize,
    plane: usize,
}

impl<'a, T> Planes<'a, T> {
    fn new(values: &'a [T], channels: usize, first: usize, plane: usize) -> Self {
        Self {
            values,
            channels,
            first,
            plane,
        }
    }

    #[inline(always)]
    fn get(&self, image: usize, channel: usize, pixels: &Range<usize>) -> &'a [T] {
        let start = (image * self.channels + self.first + channel) * self.plane;
        &self.values[start..][..self.plane][pixels.start..pixels.end]
    }
}

struct Dots<'a, T> {
    /// `(o, c_in)`.
    dw: &'a mut [T],
    dy: Planes<'a, T>,
    x: Planes<'a, T>,
    c_in: usize,
    batch: usize,
}

/// Some pixels of some images.
struct Pixels {
    images: Range<usize>,
    pixels: Range<usize>,
}

impl<T: Scalar> WithSimd for Dots<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let plane = self.x.plane;
        let images = (BLOCK / plane.max(1)).max(1);
        for image in (0..self.batch).step_by(images) {
            for pixel in (0..plane).step_by(BLOCK) {
                let block = Pixels {
                    images: image..(image + images).min(self.batch),
                    pixels: pixel..(pixel + BLOCK).min(plane),
                };
                self.block(simd, &block);
            }
        }
    }
}

impl<T: Scalar> Dots<'_, T> {
    #[inline(always)]
    fn block<S: Simd>(&mut self, simd: S, block: &Pixels) {
        let rows = self.dw.len() / self.c_in;
        let mut o = 0;
        while S::REGISTER_COUNT >= 32 && o + TILE <= rows {
            self.rows::<S, TILE>(simd, block, o);
            o += TILE;
        }
        while o + TILE / 2 <= rows {
            self.rows::<S, { TILE / 2 }>(simd, block, o);
            o += TILE / 2;
        }
        while o < rows {
            self.rows::<S, 1>(simd, block, o);
            o += 1;
        }
    }

    #[inline(always)]
    fn rows<S: Simd, const O: usize>(&mut self, simd: S, block: &Pixels, o: usize) {
        let mut c = 0;
        while c + TILE <= self.c_in {
            self.tile::<S, O, TILE>(simd, block, (o, c));
            c += TILE;
        }
        while c < self.c_in {
            self.tile::<S, O, 1>(simd, block, (o, c));
            c += 1;
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const O: usize, const C: usize>(
        &mut self,
        simd: S,
        block: &Pixels,
        (o, c): (usize, usize),
    ) {
        let lanes = T::lanes::<S>();
        let whole = block.pixels.len() / lanes * lanes;
        let mut sums = [[T::splat(simd, T::zero()); C]; O];
        for image in block.images.clone() {
            let (mut dy, mut x) = ([[].as_slice(); O], [[].as_slice(); C]);
            for (i, dy) in dy.iter_mut().enumerate() {
                *dy = self.dy.get(image, o + i, &block.pixels);
            }
            for (j, x) in x.iter_mut().enumerate() {
                *x = self.x.get(image, c + j, &block.pixels);
            }
            let (mut head_of_dy, mut head_of_x) = ([[].as_slice(); O], [[].as_slice(); C]);
            for (head, dy) in head_of_dy.iter_mut().zip(&dy) {
                *head = T::vectors::<S>(&dy[..whole]);
            }
            for (head, x) in head_of_x.iter_mut().zip(&x) {
                *head = T::vectors::<S>(&x[..whole]);
            }
            for at in 0..whole / lanes {
                let mut columns = [T::splat(simd, T::zero()); C];
                for (column, x) in columns.iter_mut().zip(&head_of_x) {
                    *column = x[at];
                }
                let mut rows = [T::splat(simd, T::zero()); O];
                for (row, dy) in rows.iter_mut().zip(&head_of_dy) {
                    *row = dy[at];
                }
                add_products::<T, S, O, C>(simd, &mut sums, &rows, &columns);
            }
            if whole < block.pixels.len() {
                let mut columns = [T::splat(simd, T::zero()); C];
                for (column, x) in columns.iter_mut().zip(&x) {
                    *column = T::partial(simd, &x[whole..]);
                }
                let mut rows = [T::splat(simd, T::zero()); O];
                for (row, dy) in rows.iter_mut().zip(&dy) {
                    *row = T::partial(simd, &dy[whole..]);
                }
                add_products::<T, S, O, C>(simd, &mut sums, &rows, &columns);
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                self.dw[(o + i) * self.c_in + c + j] += T::total(simd, *sum);
            }
        }
    }
}

/// `sums[o][c] += dy[o] · x[c]`, lane by lane.
#[inline(always)]
fn add_products<T: Scalar, S: Simd, const O: usize, const C: usize>(
    simd: S,
    sums: &mut [[T::In<S>; C]; O],
    dy: &[T::In<S>; O],
    x: &[T::In<S>; C],
) {
    for (sums, dy) in sums.iter_mut().zip(dy) {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = T::fused(simd, *dy, *x, *sum);
        }
    }
}
