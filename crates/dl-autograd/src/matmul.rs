//! Matrix products on slices.

use gemm::Parallelism;
use rayon::prelude::*;

use crate::host::{room, written};
use crate::simd::Scalar;

/// A matrix in a slice: rows, columns and the two strides in elements.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl Matrix {
    /// Row after row.
    pub(crate) fn new(rows: usize, cols: usize) -> Self {
        Self {
            rows,
            cols,
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// With the distances, in elements, from row to row and from column to column.
    pub(crate) fn with_strides(
        (rows, cols): (usize, usize),
        (row_stride, col_stride): (usize, usize),
    ) -> Self {
        Self {
            rows,
            cols,
            row_stride,
            col_stride,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    fn fits(&self, len: usize) -> bool {
        self.rows == 0
            || self.cols == 0
            || (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride < len
    }
}

/// Columns of a result that a thread computes by itself, at least: whole tiles of gemm's.
const PART: usize = 64;

/// Multiplications from which on it is worth the memory that every thread needs to pack.
const LARGE: usize = 1 << 27;

/// How a product meets what its destination holds.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Write {
    Overwrite,
    Add,
}

/// `out ← a·b` or `out ← out + a·b`, with `out` row after row.
pub(crate) fn matmul<T: Scalar>(
    out: &mut [T],
    a: (&[T], Matrix),
    b: (&[T], Matrix),
    mode: Write,
    parallelism: Parallelism,
) {
    assert!(Matrix::new(a.1.rows, b.1.cols).fits(out.len()));
    // SAFETY: the result lies inside `out`, which is borrowed mutably and initialised.
    unsafe { multiply(out.as_mut_ptr(), a, b, mode, parallelism) }
}

/// `a·b`, row after row, in memory that is not cleared first.
pub(crate) fn product<T: Scalar>(
    a: (&[T], Matrix),
    b: (&[T], Matrix),
    parallelism: Parallelism,
) -> Vec<T> {
    let len = a.1.rows * b.1.cols;
    if a.1.cols == 0 {
        return vec![T::zero(); len];
    }
    let mut out = room(len);
    // SAFETY: `out` has the size of the result, and a product of at least one column writes all of it
    // without reading it.
    unsafe {
        multiply(out.as_mut_ptr().cast(), a, b, Write::Overwrite, parallelism);
        written(out)
    }
}

/// Where gemm would pack on the calling thread in front of the product, each thread takes some columns
/// instead, packing included. The terms of a sum and their order stay the same.
///
/// # Safety
/// `out` is good for writes of all elements of the product, aliases neither operand, and holds numbers
/// if they are added to.
unsafe fn multiply<T: Scalar>(
    out: *mut T,
    a: (&[T], Matrix),
    b: (&[T], Matrix),
    mode: Write,
    parallelism: Parallelism,
) {
    assert!(a.1.cols == b.1.rows);
    assert!(a.1.fits(a.0.len()) && b.1.fits(b.0.len()));
    let (cols, out) = (b.1.cols, Output(out));
    let parts = match parallelism {
        Parallelism::Rayon(_) if packs_in_front(a.1, b.1) => cols / PART,
        _ => 1,
    };
    let parts = parts.min(rayon::current_num_threads());
    if parts < 2 {
        // SAFETY: the caller's.
        return unsafe { part(out, a, b, mode, (0, cols), parallelism) };
    }
    let width = cols.div_ceil(parts).next_multiple_of(PART);
    (0..cols.div_ceil(width)).into_par_iter().for_each(|i| {
        let columns = (i * width, cols.min((i + 1) * width));
        // SAFETY: the caller's; no two tasks write the same columns.
        unsafe { part(out, a, b, mode, columns, Parallelism::None) }
    });
}

/// Whether the columns of `b` are apart, so that gemm packs it first, in a product that is large enough.
fn packs_in_front(a: Matrix, b: Matrix) -> bool {
    let products = a.rows.saturating_mul(a.cols).saturating_mul(b.cols);
    // With both sides below a tile gemm would cut long sums elsewhere.
    b.col_stride != 1 && a.rows > PART && products >= LARGE
}

/// Where a result goes.
#[derive(Clone, Copy)]
struct Output<T>(*mut T);

// SAFETY: the pointer is only read; threads write to elements of their own, as the only user sees to.
unsafe impl<T: Send> Sync for Output<T> {}

/// The columns from `start` to `end` of the product.
///
/// # Safety
/// As for [`multiply`], and the operands fit.
unsafe fn part<T: Scalar>(
    out: Output<T>,
    (a, ma): (&[T], Matrix),
    (b, mb): (&[T], Matrix),
    mode: Write,
    (start, end): (usize, usize),
    parallelism: Parallelism,
) {
    let mo = Matrix::new(ma.rows, mb.cols);
    let stride = |s: usize| s as isize;
    // SAFETY: the caller answers for the operands and `out`, and `T` is f32 or f64, which gemm knows.
    unsafe {
        gemm::gemm(
            ma.rows,
            end - start,
            ma.cols,
            out.0.add(start),
            1,
            stride(mo.row_stride),
            mode == Write::Add,
            a.as_ptr(),
            stride(ma.col_stride),
            stride(ma.row_stride),
            b.as_ptr().add(start * mb.col_stride),
            stride(mb.col_stride),
            stride(mb.row_stride),
            T::one(),
            T::one(),
            false,
            false,
            false,
            parallelism,
        )
    }
}
