//! Reading a gradient in the element order of its parameter, whatever its strides.

use std::ops::Range;

use candle_core::Layout;

use super::Element;

/// How many elements are gathered at a time when the strides are not those of the parameter: enough
/// for the tiles below to be whole in rows of up to a thousand.
pub(crate) const BLOCK: usize = 16 * 1024;

/// Rows and columns that are transposed together: one cache line of f32.
const TILE: usize = 16;

/// A gradient and how its elements lie in memory. candle's matmul leaves transposed ones behind.
pub(crate) struct Source<'a, F> {
    all: &'a [F],
    layout: &'a Layout,
}

impl<'a, F: Element> Source<'a, F> {
    pub(crate) fn new(all: &'a [F], layout: &'a Layout) -> Self {
        Self { all, layout }
    }

    pub(crate) fn len(&self) -> usize {
        self.layout.shape().elem_count()
    }

    /// All elements, if they lie in the order of the shape.
    pub(crate) fn contiguous(&self) -> Option<&'a [F]> {
        let (start, end) = self.layout.contiguous_offsets()?;
        self.all.get(start..end)
    }

    /// All elements, if they lie side by side in the order of some permutation of the shape.
    pub(crate) fn dense(&self) -> Option<&'a [F]> {
        let dims = self.layout.dims().iter().zip(self.layout.stride());
        let mut dims: Vec<_> = dims.filter(|(dim, _)| **dim != 1).collect();
        dims.sort_by_key(|(_, stride)| **stride);
        let mut below = 1;
        for (dim, stride) in dims {
            if *stride != below {
                return None;
            }
            below *= dim;
        }
        let start = self.layout.start_offset();
        self.all.get(start..start + self.len())
    }

    /// The first elements of `range`, up to a block of them, gathered into `buffer` in order.
    pub(crate) fn block<'b>(&self, range: Range<usize>, buffer: &'b mut [F; BLOCK]) -> &'b [F] {
        let block = &mut buffer[..range.len().min(BLOCK)];
        self.gather(range.start, block);
        block
    }

    /// Copies the elements from number `start` on: whole rows of the last dimension in bands, parts
    /// of a row by themselves.
    fn gather(&self, mut start: usize, mut into: &mut [F]) {
        let (rows, columns) = match self.layout.dims() {
            [.., rows, columns] => (*rows, *columns),
            [columns] => (1, *columns),
            [] => (1, 1),
        };
        while !into.is_empty() {
            let (row, column) = (start / columns % rows, start % columns);
            let whole = if column == 0 {
                (rows - row).min(into.len() / columns)
            } else {
                0
            };
            let (count, band) = match whole {
                0 => (into.len().min(columns - column), 1),
                whole => (columns, whole.min(TILE)),
            };
            let (part, rest) = into.split_at_mut(count * band);
            self.gather_band(self.place(start), count, part);
            start += part.len();
            into = rest;
        }
    }

    /// Copies a few rows that begin at `first` in memory, tile by tile, so that a transposed source
    /// is read by whole cache lines.
    fn gather_band(&self, first: usize, columns: usize, into: &mut [F]) {
        let (row_stride, stride) = match self.layout.stride() {
            [.., row_stride, stride] => (*row_stride, *stride),
            [stride] => (0, *stride),
            [] => (0, 0),
        };
        let mut tile = [[F::default(); TILE]; TILE];
        let rows = into.len() / columns;
        for start in (0..columns).step_by(TILE) {
            let width = TILE.min(columns - start);
            for column in 0..width {
                let line = &self.all[first + (start + column) * stride..];
                // A transposed matrix, the usual case, without a check for every element.
                let side_by_side = if row_stride == 1 {
                    line.get(..rows)
                } else {
                    None
                };
                for (row, tile) in tile[..rows].iter_mut().enumerate() {
                    tile[column] = match side_by_side {
                        Some(line) => line[row],
                        None => line[row * row_stride],
                    };
                }
            }
            for (row, tile) in into.chunks_exact_mut(columns).zip(&tile) {
                row[start..start + width].copy_from_slice(&tile[..width]);
            }
        }
    }

    /// Where element number `index` lies.
    fn place(&self, mut index: usize) -> usize {
        let mut place = self.layout.start_offset();
        for (dim, stride) in self.layout.dims().iter().zip(self.layout.stride()).rev() {
            place += index % dim * stride;
            index /= dim;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::{CpuStorage, Device, Storage, Tensor};

    fn read(tensor: &Tensor, range: Range<usize>) -> Vec<f32> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cpu(CpuStorage::F32(all)) = &*storage else {
            unreachable!()
        };
        let (mut out, mut buffer) = (Vec::new(), [0.0; BLOCK]);
        while out.len() < range.len() {
            let rest = range.start + out.len()..range.end;
            out.extend_from_slice(Source::new(all, layout).block(rest, &mut buffer));
        }
        out
    }

    /// A permutation, a slice with an offset and a broadcast: the ways strides can differ. The
    /// shapes exceed one block and no range starts at a row.
    #[test]
    fn any_strides_are_read_in_the_order_of_the_shape() {
        let base = Tensor::arange(0f32, 60000.0, &Device::Cpu)
            .unwrap()
            .reshape((40, 50, 30))
            .unwrap();
        let views = [
            base.permute((2, 0, 1)).unwrap(),
            base.narrow(1, 3, 9).unwrap().transpose(0, 2).unwrap(),
            base.narrow(0, 1, 1)
                .unwrap()
                .broadcast_as((21, 50, 30))
                .unwrap(),
            base.clone(),
        ];
        for view in views {
            let flat = view.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(read(&view, 7..flat.len() - 5), flat[7..flat.len() - 5]);
        }
    }
}
