//! A padded image cut for tiles of 2×2 results, each of which reads 4×4 pixels.
//!
//! For either parity of the row and each of the four columns of a tile there is one list: the pixels of
//! all tiles, one row of tiles after the other. Neighbouring tiles are neighbours in it, across the ends
//! of rows too, so that no lane is spent on what lies between them. That costs every pixel a second copy.

use super::super::geometry::Geometry;
use super::super::phases::{LANES, spread};
use super::super::rows;
use super::transform::POSITIONS;
use crate::simd::{Kernel, Scalar, dispatch};

/// Columns of a tile's pixels.
const COLUMNS: usize = 4;
/// Lists of an image.
const LISTS: usize = 2 * COLUMNS;

/// Where the tiles of an image lie.
pub(super) struct Tiles {
    /// Rows of tiles, and tiles in a row.
    pub(super) grid: (usize, usize),
    /// Of a list: a whole vector may be read from any tile on.
    len: usize,
    /// Height and width of the image, and the padding at its top and left.
    image: (usize, usize),
    origin: (usize, usize),
    columns: [Column; COLUMNS],
}

/// Which pixels of a row are in one column of the tiles.
#[derive(Clone, Copy)]
struct Column {
    /// The first one in the row taken apart: those of even number, then those of odd number.
    from: usize,
    /// Where it goes in a list.
    to: usize,
    count: usize,
}

impl Column {
    fn of(column: usize, width: usize, padding: usize, tiles: usize) -> Self {
        let odd = (padding + column) % 2;
        let (start, end) = [(0, width.div_ceil(2)), (width.div_ceil(2), width)][odd];
        let from = end.min(start + column.saturating_sub(padding + odd) / 2);
        let to = (padding + odd).saturating_sub(column) / 2;
        Self {
            from,
            to,
            count: (end - from).min(tiles.saturating_sub(to)),
        }
    }
}

impl Tiles {
    /// The last row and column of tiles read zeros behind the padding where they need to.
    pub(super) fn new(g: &Geometry) -> Self {
        let grid = (g.output.0.div_ceil(2), g.output.1.div_ceil(2));
        let padding = g.config.padding;
        Self {
            grid,
            len: spread((grid.0 * grid.1).next_multiple_of(LANES) + grid.1),
            image: g.input,
            origin: (padding.top, padding.left),
            columns: std::array::from_fn(|column| {
                Column::of(column, g.input.1, padding.left, grid.1)
            }),
        }
    }

    /// Tiles of an image.
    pub(super) fn count(&self) -> usize {
        self.grid.0 * self.grid.1
    }

    /// Elements that an image is laid out in, with room for one row of it.
    pub(super) fn stride(&self) -> usize {
        spread(LISTS * self.len + self.image.1)
    }

    /// Where the sixteen pixels of the first tile lie.
    pub(super) fn starts(&self) -> [usize; POSITIONS] {
        std::array::from_fn(|pixel| {
            let (row, column) = (pixel / COLUMNS, pixel % COLUMNS);
            (row % 2 * COLUMNS + column) * self.len + row / 2 * self.grid.1
        })
    }

    /// Lays an image out; the padding is never written and stays zero.
    pub(super) fn split<T: Scalar>(&self, plane: &[T], buffer: &mut [T]) {
        let tiles = self;
        dispatch(Split {
            tiles,
            plane,
            buffer,
        });
    }
}

struct Split<'a, T> {
    tiles: &'a Tiles,
    plane: &'a [T],
    buffer: &'a mut [T],
}

impl<T: Scalar> Kernel for Split<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Tiles {
            grid, len, origin, ..
        } = *self.tiles;
        let width = self.tiles.image.1;
        let (lists, apart) = self.buffer.split_at_mut(LISTS * len);
        let apart = &mut apart[..width];
        for (row, y) in (self.plane.chunks_exact(width)).zip(origin.0..2 * grid.0 + 2) {
            let (even, odd) = apart.split_at_mut(width.div_ceil(2));
            rows::deinterleave(even, odd, row);
            let lists = &mut lists[y % 2 * COLUMNS * len + y / 2 * grid.1..];
            for (i, column) in self.tiles.columns.iter().enumerate() {
                let Column { from, to, count } = *column;
                let to = &mut lists[i * len + to..][..count];
                rows::copy(to, &apart[from..][..count], |x| x);
            }
        }
    }
}
