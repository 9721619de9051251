//! The tiles of a block of images, transformed: one matrix for each position, and back.

use std::mem::MaybeUninit;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::super::phases::{LANES, spread};
use super::transform::{self, POSITIONS, SIDE};
use super::window::Window;
use crate::simd::{self, Scalar};

/// Rows of tiles of some images, which are transformed and multiplied together.
#[derive(Clone)]
pub(super) struct Block {
    pub(super) images: Range<usize>,
    pub(super) lines: Range<usize>,
}

impl Block {
    /// With so many tiles in a row.
    pub(super) fn tiles(&self, in_a_row: usize) -> usize {
        self.images.len() * self.lines.len() * in_a_row
    }
}

/// For each position of a tile a matrix of `(tile, channel)`.
pub(super) struct Positions<T> {
    pub(super) values: Vec<T>,
    /// From a position to the next.
    pub(super) pitch: usize,
    /// From a tile to the next: the channels in whole vectors.
    pub(super) width: usize,
}

impl<T: Scalar> Positions<T> {
    pub(super) fn new(tiles: usize, channels: usize) -> Self {
        let width = channels.next_multiple_of(LANES);
        let pitch = spread(tiles * width);
        Self {
            values: vec![T::zero(); POSITIONS * pitch],
            pitch,
            width,
        }
    }

    pub(super) fn at(&self, position: usize) -> &[T] {
        &self.values[position * self.pitch..][..self.pitch]
    }

    pub(super) fn at_mut(&mut self, position: usize) -> &mut [T] {
        &mut self.values[position * self.pitch..][..self.pitch]
    }
}

/// Some channels of images, of which a block is transformed at a time.
pub(super) struct Source<'a, T> {
    pub(super) window: Window,
    /// From the first of the channels of the first image on.
    pub(super) planes: &'a [T],
    /// From an image to the next.
    pub(super) image: usize,
    pub(super) channels: usize,
}

impl<T: Scalar> Source<'_, T> {
    /// `Bᵀ d B` of the tiles of pixels, or `A dy Aᵀ` of those of results' gradients.
    pub(super) fn transform(&self, block: &Block, room: &mut [T], to: &mut Positions<T>) {
        let (plane, tiles) = (
            self.window.size.0 * self.window.size.1,
            block.lines.len() * self.window.tiles,
        );
        for (i, image) in block.images.clone().enumerate() {
            for channel in (0..self.channels).step_by(LANES) {
                let planes = &self.planes[image * self.image + channel * plane..];
                let channels = self.channels - channel;
                self.window
                    .fill(block.lines.clone(), planes, channels, room);
                let first = i * tiles * to.width + channel;
                let (lines, from) = (block.lines.len(), &*room);
                match self.window.step + self.window.shared {
                    2 => simd::run(Forth::<T, 2>::new(self.window, lines, from, first, to)),
                    4 => simd::run(Forth::<T, 4>::new(self.window, lines, from, first, to)),
                    _ => simd::run(Forth::<T, SIDE>::new(self.window, lines, from, first, to)),
                }
            }
        }
    }
}

/// The tiles of a window, `N` numbers on a side, to their positions.
struct Forth<'a, T, const N: usize> {
    window: Window,
    lines: usize,
    from: &'a [T],
    /// Where the first tile goes.
    first: usize,
    to: &'a mut Positions<T>,
}

impl<'a, T, const N: usize> Forth<'a, T, N> {
    fn new(
        window: Window,
        lines: usize,
        from: &'a [T],
        first: usize,
        to: &'a mut Positions<T>,
    ) -> Self {
        Self {
            window,
            lines,
            from,
            first,
            to,
        }
    }
}

impl<T: Scalar, const N: usize> WithSimd for Forth<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (lanes, row) = (T::lanes::<S>(), self.window.pitch());
        let Positions {
            pitch,
            width,
            ref mut values,
        } = *self.to;
        for (tile, start) in self.window.starts(self.lines).enumerate() {
            for i in (0..LANES).step_by(lanes) {
                let mut x = [[T::splat(simd, T::zero()); N]; N];
                for (line, x) in x.iter_mut().enumerate() {
                    let from = &self.from[start + line * row..][..N * LANES];
                    for (from, x) in from.chunks_exact(LANES).zip(x) {
                        *x = T::vectors::<S>(&from[i..i + lanes])[0];
                    }
                }
                let x = transform::tile::<T, S, N>(simd, x);
                let to = &mut values[self.first + tile * width + i..];
                for (position, x) in x.as_flattened().iter().enumerate() {
                    let to = &mut to[position * pitch..][..lanes];
                    T::vectors_mut::<S>(to)[0] = *x;
                }
            }
        }
    }
}

/// Some channels of images, of which a block is written at a time.
pub(super) struct Results<'a, T> {
    pub(super) window: Window,
    /// Of [`LANES`] channels.
    pub(super) bias: [T; LANES],
    pub(super) from: &'a Positions<T>,
}

impl<T: Scalar> Results<'_, T> {
    /// Writes `Aᵀ m A` and the bias to some planes of an image, from the given channel on.
    pub(super) fn write(
        &self,
        block: &Block,
        image: usize,
        channel: usize,
        room: &mut [T],
        (planes, channels): (&mut [MaybeUninit<T>], usize),
    ) {
        let lines = block.lines.len();
        let first = image * lines * self.window.tiles * self.from.width + channel;
        match self.window.step {
            2 => simd::run(Back::<T, 2>::new(self, lines, first, room)),
            _ => simd::run(Back::<T, 4>::new(self, lines, first, room)),
        }
        self.window
            .spill(block.lines.clone(), room, channels, planes);
    }
}

/// Products to the window of tiles of `M` results on a side.
struct Back<'a, T, const M: usize> {
    results: &'a Results<'a, T>,
    lines: usize,
    first: usize,
    to: &'a mut [T],
}

impl<'a, T, const M: usize> Back<'a, T, M> {
    fn new(results: &'a Results<'a, T>, lines: usize, first: usize, to: &'a mut [T]) -> Self {
        Self {
            results,
            lines,
            first,
            to,
        }
    }
}

impl<T: Scalar, const M: usize> WithSimd for Back<'_, T, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Results { window, bias, from } = self.results;
        let (lanes, row) = (T::lanes::<S>(), window.pitch());
        for (tile, start) in window.starts(self.lines).enumerate() {
            for i in (0..LANES).step_by(lanes) {
                let bias = T::vectors::<S>(&bias[i..i + lanes])[0];
                let from_tile = &from.values[self.first + tile * from.width + i..];
                let mut m = [[bias; SIDE]; SIDE];
                for (position, m) in m.as_flattened_mut().iter_mut().enumerate() {
                    let from = &from_tile[position * from.pitch..][..lanes];
                    *m = T::vectors::<S>(from)[0];
                }
                let y = transform::results::<T, S, M>(simd, m);
                for (line, y) in y.iter().enumerate() {
                    let to = &mut self.to[start + line * row..][..M * LANES];
                    for (to, y) in to.chunks_exact_mut(LANES).zip(y) {
                        T::vectors_mut::<S>(&mut to[i..i + lanes])[0] = T::plus(simd, *y, bias);
                    }
                }
            }
        }
    }
}
