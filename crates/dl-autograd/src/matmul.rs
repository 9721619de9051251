//! Matrix products on slices.

use gemm::Parallelism;
use rayon::prelude::*;

use crate::host::{room, written};
use crate::simd::Scalar;
use crate::turn::{LANES, Turn};

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

    fn first_columns(self, cols: usize) -> Self {
        Self { cols, ..self }
    }

    fn fits(&self, len: usize) -> bool {
        self.rows == 0
            || self.cols == 0
            || (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride < len
    }
}

/// Rows from which on a factor is turned first: with fewer gemm would cut long sums elsewhere.
const ROWS: usize = 64;

/// Numbers of a factor that are turned at a time.
const ROOM: usize = 1 << 20;

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
    let columns = b.1.cols;
    if matches!(parallelism, Parallelism::None) || a.1.rows <= ROWS || !lies_in_columns(b.1) {
        // SAFETY: the caller's.
        return unsafe { part(out, a, b, mode, columns, parallelism) };
    }
    let step = (ROOM / b.1.rows).clamp(LANES, columns.max(LANES));
    for start in (0..columns).step_by(step) {
        let b = (
            &b.0[start * b.1.col_stride..],
            b.1.first_columns(step.min(columns - start)),
        );
        let (turned, matrix) = turned(b);
        // SAFETY: the caller's, and these are columns of the result.
        unsafe {
            let out = out.add(start);
            part(out, a, (&turned, matrix), mode, columns, parallelism)
        };
    }
}

/// Column after column: gemm would pack that on one thread, in front of the product.
fn lies_in_columns(b: Matrix) -> bool {
    b.row_stride == 1 && b.col_stride != 1 && b.rows > 1
}

/// The same matrix row after row.
fn turned<T: Scalar>((b, m): (&[T], Matrix)) -> (Vec<T>, Matrix) {
    let width = m.cols.next_multiple_of(LANES);
    let mut turned = room(m.rows * width);
    let rows = m.rows.div_ceil(rayon::current_num_threads());
    let each = turned.par_chunks_mut(rows * width).enumerate();
    each.for_each(|(i, turned)| {
        let (from, count) = (&b[i * rows..], turned.len() / width);
        Turn::flat(m.cols, m.col_stride, width).gather(from, count, turned);
    });
    // SAFETY: the vectors of all columns are whole rows.
    let turned = unsafe { written(turned) };
    (turned, Matrix::with_strides((m.rows, m.cols), (width, 1)))
}

/// The first columns of a result that has so many: as many as `b`.
///
/// # Safety
/// As for [`multiply`], and the operands fit.
unsafe fn part<T: Scalar>(
    out: *mut T,
    (a, ma): (&[T], Matrix),
    (b, mb): (&[T], Matrix),
    mode: Write,
    columns: usize,
    parallelism: Parallelism,
) {
    let mo = Matrix::new(ma.rows, columns);
    let stride = |s: usize| s as isize;
    // SAFETY: the caller answers for the operands and `out`, and `T` is f32 or f64, which gemm knows.
    unsafe {
        gemm::gemm(
            ma.rows,
            mb.cols,
            ma.cols,
            out,
            1,
            stride(mo.row_stride),
            mode == Write::Add,
            a.as_ptr(),
            stride(ma.col_stride),
            stride(ma.row_stride),
            b.as_ptr(),
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
