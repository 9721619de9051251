//! A padded image cut for tiles of 2×2 results, each of which reads 4×4 pixels.
//!
//! For either parity of the row and each of the four columns of a tile there is one list: the pixels of
//! all tiles, one row of tiles after the other. Neighbouring tiles are neighbours in it, across the ends
//! of rows too, so that no lane is spent on what lies between them. That costs every pixel a second copy.
//! In wide images, where it is one lane of many, there is a list for either parity of the column, in which
//! a tile's last two columns are the first two of the next: at the end of a row one tile is thrown away.

use super::super::geometry::Geometry;
use super::super::phases::{LANES, spread};
use super::super::rows;
use super::transform::POSITIONS;
use crate::simd::{Kernel, Scalar, dispatch};

/// Columns of a tile's pixels.
const COLUMNS: usize = 4;
/// Tiles in a row from which on an image is wide.
const WIDE: usize = 17;

/// Where the tiles of an image lie.
pub(super) struct Tiles {
    /// Rows of tiles, and tiles in a row.
    pub(super) grid: (usize, usize),
    /// From a row of tiles to the next.
    pub(super) pitch: usize,
    /// Where the sixteen pixels of the first tile lie.
    pub(super) starts: [usize; POSITIONS],
    /// Of a list: a whole vector may be read from any tile on.
    len: usize,
    /// Height and width of the image, and the padding at its top and left.
    image: (usize, usize),
    origin: (usize, usize),
    /// Of the lists for either parity of the row.
    columns: Vec<Column>,
}

/// Which pixels of a row are in one column of the tiles.
#[derive(Clone, Copy)]
struct Column {
    /// Whether they are those of odd number.
    odd: bool,
    /// The first one among those of this parity, and where it goes in a row of tiles.
    from: usize,
    to: usize,
    count: usize,
}

impl Column {
    fn of(column: usize, width: usize, padding: usize, tiles: usize) -> Self {
        let odd = (padding + column) % 2;
        let pixels = (width + 1 - odd) / 2;
        let from = pixels.min(column.saturating_sub(padding + odd) / 2);
        let to = tiles.min((padding + odd).saturating_sub(column) / 2);
        Self {
            odd: odd == 1,
            from,
            to,
            count: (pixels - from).min(tiles - to),
        }
    }
}

impl Tiles {
    /// The last row and column of tiles read zeros behind the padding where they need to.
    pub(super) fn new(g: &Geometry) -> Self {
        let grid = (g.output.0.div_ceil(2), g.output.1.div_ceil(2));
        let padding = g.config.padding;
        let (columns, pitch) = match grid.1 >= WIDE {
            true => (2, grid.1 + 1),
            false => (COLUMNS, grid.1),
        };
        let len = spread((grid.0 * pitch).next_multiple_of(LANES) + pitch + 1);
        let column = |column| Column::of(column, g.input.1, padding.left, pitch);
        let start = |pixel: usize| {
            let (row, column) = (pixel / COLUMNS, pixel % COLUMNS);
            let list = row % 2 * columns + column % columns;
            list * len + row / 2 * pitch + column / columns
        };
        Self {
            grid,
            pitch,
            starts: std::array::from_fn(start),
            len,
            image: g.input,
            origin: (padding.top, padding.left),
            columns: (0..columns).map(column).collect(),
        }
    }

    /// Tiles of an image, with those that are thrown away.
    pub(super) fn count(&self) -> usize {
        self.grid.0 * self.pitch
    }

    /// Elements that an image is laid out in.
    pub(super) fn stride(&self) -> usize {
        2 * self.columns.len() * self.len
    }

    /// Elements that [`split`](Self::split) needs to take an image apart.
    pub(super) fn room(&self) -> usize {
        spread(self.image.0 * self.image.1)
    }

    /// Lays an image out in `lists`; the padding is never written and stays zero.
    pub(super) fn split<T: Scalar>(&self, plane: &[T], room: &mut [T], lists: &mut [T]) {
        let tiles = self;
        dispatch(Split {
            tiles,
            plane,
            room,
            lists,
        });
    }
}

struct Split<'a, T> {
    tiles: &'a Tiles,
    plane: &'a [T],
    room: &'a mut [T],
    lists: &'a mut [T],
}

impl<T: Scalar> Kernel for Split<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (tiles, (height, width)) = (self.tiles, self.tiles.image);
        let widths = [width.div_ceil(2), width / 2];
        let (even, odd) = self.room[..height * width].split_at_mut(height * widths[0]);
        take_apart(even, odd, self.plane, width);
        for (i, list) in self.lists.chunks_exact_mut(tiles.len).enumerate() {
            let column = tiles.columns[i % tiles.columns.len()];
            let (pixels, width) =
                [(&*even, widths[0]), (&*odd, widths[1])][usize::from(column.odd)];
            // The first row of the image that is in this list, and where it goes.
            let row = (i / tiles.columns.len() + tiles.origin.0) % 2;
            let first = (row + tiles.origin.0) / 2 * tiles.pitch + column.to;
            for line in 0..(height + 1 - row) / 2 {
                let from = (2 * line + row) * width + column.from;
                let to = &mut list[first + line * tiles.pitch..][..column.count];
                rows::copy(to, &pixels[from..][..column.count], |x| x);
            }
        }
    }
}

/// Row by row where the pixels of a row alternate with those of the next.
#[inline(always)]
fn take_apart<T: Scalar>(even: &mut [T], odd: &mut [T], plane: &[T], width: usize) {
    if width.is_multiple_of(2) {
        return rows::deinterleave(even, odd, plane);
    }
    let (mut even, mut odd) = (even, odd);
    for row in plane.chunks_exact(width) {
        let (even_row, odd_row);
        (even_row, even) = even.split_at_mut(width.div_ceil(2));
        (odd_row, odd) = odd.split_at_mut(width / 2);
        rows::deinterleave(even_row, odd_row, row);
    }
}
