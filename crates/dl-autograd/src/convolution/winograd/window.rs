//! Some rows of tiles of one image, whose pixels are vectors of [`LANES`] channels.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::phases::LANES;
use crate::simd::Scalar;
use crate::turn::Turn;

/// How the tiles lie in an image.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// Height and width of the image, and the padding at its top and left.
    pub(super) size: (usize, usize),
    pub(super) padding: (usize, usize),
    /// Tiles in a row.
    pub(super) tiles: usize,
    /// From a tile to the next.
    pub(super) step: usize,
    /// Pixels by which a tile reaches into the next.
    pub(super) shared: usize,
}

impl Window {
    /// Numbers from a row of pixels to the next.
    #[inline(always)]
    pub(super) fn pitch(&self) -> usize {
        (self.tiles * self.step + self.shared) * LANES
    }

    fn rows(&self, lines: usize) -> usize {
        lines * self.step + self.shared
    }

    /// Zeros for so many rows of tiles.
    pub(super) fn room<T: Scalar>(&self, lines: usize) -> Vec<T> {
        vec![T::zero(); self.rows(lines) * self.pitch()]
    }

    /// Where the tiles of so many rows start.
    #[inline(always)]
    pub(super) fn starts(self, lines: usize) -> impl Iterator<Item = usize> {
        let (down, across) = (self.step * self.pitch(), self.step * LANES);
        let rows = (0..lines).map(move |line| line * down);
        rows.flat_map(move |start| (0..self.tiles).map(move |tile| start + tile * across))
    }

    fn turn(&self, channels: usize) -> Turn {
        Turn {
            lines: channels.min(LANES),
            stride: self.size.0 * self.size.1,
            columns: self.size.1,
            step: LANES,
            pitch: self.pitch(),
        }
    }

    /// Fills the window with some rows of tiles of the first channels. The padding on the left and on
    /// the right is never written and stays zero.
    pub(super) fn fill<T: Scalar>(
        &self,
        lines: Range<usize>,
        planes: &[T],
        channels: usize,
        to: &mut [T],
    ) {
        let (height, width) = self.size;
        let (first, rows) = (lines.start * self.step, self.rows(lines.len()));
        let row = |padded: usize| padded.saturating_sub(self.padding.0).min(height);
        let (start, end) = (row(first), row(first + rows));
        let above = (start + self.padding.0 - first).min(rows);
        let (top, to) = to[..rows * self.pitch()].split_at_mut(above * self.pitch());
        let (to, bottom) = to.split_at_mut((end - start) * self.pitch());
        top.fill(T::zero());
        bottom.fill(T::zero());
        if start < end {
            let to = &mut to[self.padding.1 * LANES..];
            let (from, count) = (&planes[start * width..], (end - start) * width);
            self.turn(channels).gather_over(from, count, to);
        }
    }

    /// Writes some rows of tiles of the first channels to their planes.
    pub(super) fn spill<T: Scalar>(
        &self,
        lines: Range<usize>,
        from: &[T],
        channels: usize,
        planes: &mut [MaybeUninit<T>],
    ) {
        let (height, width) = self.size;
        let (start, end) = (lines.start * self.step, height.min(lines.end * self.step));
        let (to, count) = (&mut planes[start * width..], (end - start) * width);
        let turn = self.turn(channels);
        turn.scatter(from, count, to);
    }
}
