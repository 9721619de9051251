//! A tensor as a window with strides on a storage.

use std::borrow::Cow;

use super::PthError;
use crate::element::{Element, element_count};

/// The largest rank that is accepted; PyTorch's own limit for strided loops.
pub(crate) const MAX_RANK: usize = 64;

/// A reference to a storage, as the pickle has it. All counts are in elements.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StorageRef {
    pub key: String,
    pub element: Element,
    /// Elements of the whole storage.
    pub len: u64,
    /// First element of the part of it that is used (files of PyTorch 0.x; otherwise 0).
    pub start: u64,
    /// Elements of that part.
    pub used: u64,
}

/// A tensor in a storage, in elements.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TensorView {
    pub storage: StorageRef,
    pub offset: u64,
    pub shape: Vec<usize>,
    pub stride: Vec<u64>,
}

impl TensorView {
    /// Number of elements, `None` if it overflows.
    pub(crate) fn count(&self) -> Option<u64> {
        element_count(&self.shape)
    }

    /// Index, within the used part, of the last element; `None` if it overflows.
    fn last(&self) -> Option<u64> {
        let mut last = self.offset;
        for (&size, &stride) in self.shape.iter().zip(&self.stride) {
            last = last.checked_add((size as u64).checked_sub(1)?.checked_mul(stride)?)?;
        }
        Some(last)
    }

    /// Checks that the tensor lies inside its storage and takes at most `limit` bytes.
    pub(crate) fn check(&self, name: &str, limit: u64) -> Result<(), PthError> {
        let count = self.count();
        let bytes = count.and_then(|n| n.checked_mul(self.storage.element.bytes()));
        if bytes.is_none_or(|bytes| bytes > limit) {
            return Err(PthError::TooLarge {
                what: "the size of a tensor in bytes",
                limit,
            });
        }
        let last = match count {
            Some(0) => return Ok(()),
            _ => self.last().unwrap_or(u64::MAX),
        };
        let outside = || PthError::OutOfStorage {
            name: name.to_string(),
            last,
            len: self.storage.used,
        };
        if last >= self.storage.used {
            return Err(outside());
        }
        let end = self.storage.start.checked_add(self.storage.used);
        match end.is_some_and(|end| end <= self.storage.len) {
            true => Ok(()),
            false => Err(outside()),
        }
    }

    /// The bytes of the storage that the tensor touches: start and length.
    pub(crate) fn span(&self) -> (u64, u64) {
        let width = self.storage.element.bytes();
        let start = self.storage.start.saturating_add(self.offset);
        let end = match self.count() {
            Some(0) => start,
            _ => self.storage.start.saturating_add(self.last().unwrap_or(0)) + 1,
        };
        (
            start.saturating_mul(width),
            end.saturating_sub(start).saturating_mul(width),
        )
    }

    /// Whether the elements already lie in row-major order without gaps.
    pub(crate) fn is_contiguous(&self) -> bool {
        if self.count() == Some(0) {
            return true;
        }
        let mut expected = 1;
        for (&size, &stride) in self.shape.iter().zip(&self.stride).rev() {
            if size != 1 && stride != expected {
                return false;
            }
            expected *= size as u64;
        }
        true
    }

    /// The elements in row-major order, from the bytes of [`span`](Self::span).
    pub(crate) fn gather<'a>(&self, span: &'a [u8]) -> Cow<'a, [u8]> {
        if self.is_contiguous() {
            return Cow::Borrowed(span);
        }
        let width = self.storage.element.bytes() as usize;
        let count = self.count().unwrap_or(0);
        let mut bytes = Vec::with_capacity(count as usize * width);
        let mut index = vec![0usize; self.shape.len()];
        for _ in 0..count {
            let steps = index.iter().zip(&self.stride);
            let at = steps.map(|(&i, &stride)| i as u64 * stride).sum::<u64>() as usize * width;
            bytes.extend_from_slice(span.get(at..at + width).unwrap_or_default());
            advance(&mut index, &self.shape);
        }
        Cow::Owned(bytes)
    }
}

/// The next index in row-major order.
fn advance(index: &mut [usize], shape: &[usize]) {
    for (i, &size) in index.iter_mut().zip(shape).rev() {
        *i += 1;
        if *i < size {
            return;
        }
        *i = 0;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn view(offset: u64, shape: &[usize], stride: &[u64], len: u64) -> TensorView {
        let storage = StorageRef {
            key: "0".into(),
            element: Element::U8,
            len,
            start: 0,
            used: len,
        };
        TensorView {
            storage,
            offset,
            shape: shape.to_vec(),
            stride: stride.to_vec(),
        }
    }

    #[test]
    fn a_transposed_window_is_gathered_in_row_major_order() {
        // Storage 0..12 as (3, 4); columns 1 and 2 transposed: (2, 3) with strides (1, 4) at 1.
        let storage: Vec<u8> = (0..12).collect();
        let view = view(1, &[2, 3], &[1, 4], 12);
        let (start, len) = view.span();
        assert_eq!((start, len), (1, 10));
        let span = &storage[start as usize..(start + len) as usize];
        assert_eq!(view.gather(span).as_ref(), [1, 5, 9, 2, 6, 10]);
    }

    #[test]
    fn an_expanded_tensor_repeats_its_element() {
        let view = view(0, &[3], &[0], 1);
        assert_eq!(view.gather(&[7]).as_ref(), [7, 7, 7]);
    }

    #[test]
    fn sizes_and_strides_that_overflow_are_refused() {
        let huge = view(0, &[usize::MAX, usize::MAX], &[1, 1], 12);
        assert!(matches!(
            huge.check("w", 1 << 20),
            Err(PthError::TooLarge { .. })
        ));
        let hidden = view(0, &[0, usize::MAX, 2], &[1, 1, 1], 12);
        assert!(hidden.check("w", 1 << 20).is_err());
        let far = view(u64::MAX, &[2], &[u64::MAX], 12);
        assert!(matches!(
            far.check("w", 1 << 20),
            Err(PthError::OutOfStorage { .. })
        ));
        let past = view(1, &[12], &[1], 12);
        assert!(matches!(
            past.check("w", 1 << 20),
            Err(PthError::OutOfStorage { last: 12, .. })
        ));
        assert!(view(0, &[12], &[1], 12).check("w", 1 << 20).is_ok());
    }
}
