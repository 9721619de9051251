//! Reading a gradient in the element order of its parameter, whatever its strides.

use std::ops::Range;

use candle_core::Layout;

use super::Element;

/// How many elements are gathered at a time when the strides are not those of the parameter.
pub(crate) const BLOCK: usize = 1024;

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

    /// The first elements of `range`, in order: all of them where they lie, or up to a block of
    /// them gathered into `buffer`.
    #[inline(always)]
    pub(crate) fn block<'b>(&'b self, range: Range<usize>, buffer: &'b mut [F; BLOCK]) -> &'b [F] {
        if let Some((start, _)) = self.layout.contiguous_offsets() {
            return &self.all[start + range.start..start + range.end];
        }
        let block = &mut buffer[..range.len().min(BLOCK)];
        self.gather(range.start, block);
        block
    }

    /// Copies the elements from number `start` on, row by row of the last dimension.
    fn gather(&self, mut start: usize, mut into: &mut [F]) {
        let (columns, stride) = match (self.layout.dims(), self.layout.stride()) {
            ([.., columns], [.., stride]) => (*columns, *stride),
            _ => (1, 1),
        };
        while !into.is_empty() {
            let column = start % columns;
            let count = into.len().min(columns - column);
            let (row, rest) = into.split_at_mut(count);
            let first = self.place(start);
            for (i, value) in row.iter_mut().enumerate() {
                *value = self.all[first + i * stride];
            }
            start += count;
            into = rest;
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
        let base = Tensor::arange(0f32, 6000.0, &Device::Cpu)
            .unwrap()
            .reshape((20, 15, 20))
            .unwrap();
        let views = [
            base.permute((2, 0, 1)).unwrap(),
            base.narrow(1, 3, 9).unwrap().transpose(0, 2).unwrap(),
            base.narrow(0, 1, 1)
                .unwrap()
                .broadcast_as((7, 15, 20))
                .unwrap(),
            base.clone(),
        ];
        for view in views {
            let flat = view.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(read(&view, 7..flat.len() - 5), flat[7..flat.len() - 5]);
        }
    }
}
