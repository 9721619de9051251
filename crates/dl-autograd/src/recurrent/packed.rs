//! A matrix that is multiplied from the left at every time step.

use crate::simd::Scalar;

/// Columns of a panel: two vectors of 16 numbers.
const COLUMNS: usize = 32;

/// Rows of a tile: with two vectors each they leave registers to spare.
const ROWS: usize = 8;

/// A `(k, n)` matrix in panels of [`COLUMNS`] columns, zeros behind the last.
pub(super) struct Packed<T> {
    panels: Vec<T>,
    k: usize,
    n: usize,
}

/// Rows of a matrix that lie `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub(super) values: &'a [T],
    pub(super) stride: usize,
    pub(super) count: usize,
}

impl<T: Scalar> Packed<T> {
    /// Of the matrix with element `(i, j)` at `i·strides[0] + j·strides[1]`.
    pub(super) fn new(values: &[T], (k, n): (usize, usize), strides: [usize; 2]) -> Self {
        let mut panels = vec![T::zero(); n.div_ceil(COLUMNS) * k * COLUMNS];
        for (p, panel) in panels.chunks_exact_mut((k * COLUMNS).max(1)).enumerate() {
            let columns = COLUMNS.min(n - p * COLUMNS);
            for (i, row) in panel.chunks_exact_mut(COLUMNS).enumerate() {
                for (j, value) in row[..columns].iter_mut().enumerate() {
                    *value = values[i * strides[0] + (p * COLUMNS + j) * strides[1]];
                }
            }
        }
        Self { panels, k, n }
    }

    /// `out ← out + a·B` with `out` row after row. Each number is one sum in the order of `k`, whatever
    /// the number of rows.
    #[inline(always)]
    pub(super) fn add_product<const FMA: bool>(&self, out: &mut [T], a: Rows<T>) {
        let panels = self.panels.chunks_exact((self.k * COLUMNS).max(1));
        for (p, panel) in panels.enumerate() {
            let mut row = 0;
            while row + ROWS <= a.count {
                self.tile::<ROWS, FMA>(out, a, (row, p), panel);
                row += ROWS;
            }
            while row + 4 <= a.count {
                self.tile::<4, FMA>(out, a, (row, p), panel);
                row += 4;
            }
            while row < a.count {
                self.tile::<1, FMA>(out, a, (row, p), panel);
                row += 1;
            }
        }
    }

    #[inline(always)]
    fn tile<const R: usize, const FMA: bool>(
        &self,
        out: &mut [T],
        a: Rows<T>,
        (row, panel_index): (usize, usize),
        panel: &[T],
    ) {
        let mut sums = [[T::zero(); COLUMNS]; R];
        let rows: [&[T]; R] = std::array::from_fn(|r| &a.values[(row + r) * a.stride..][..self.k]);
        let (panel, _) = panel.as_chunks::<COLUMNS>();
        for (i, b) in panel.iter().enumerate() {
            for (sums, row) in sums.iter_mut().zip(rows) {
                let a = row[i];
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = a.multiply_add::<FMA>(*b, *sum);
                }
            }
        }
        let first = panel_index * COLUMNS;
        let columns = COLUMNS.min(self.n - first);
        for (r, sums) in sums.iter().enumerate() {
            let out = &mut out[(row + r) * self.n + first..][..columns];
            out.iter_mut().zip(sums).for_each(|(o, s)| *o += *s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Packed, Rows};

    #[test]
    fn products_of_every_size_are_those_of_the_definition() {
        for (m, k, n) in [
            (1, 1, 1),
            (7, 5, 31),
            (8, 3, 32),
            (9, 0, 33),
            (17, 6, 70),
            (3, 4, 0),
        ] {
            let value = |i: usize| ((i * 7 + 3) % 11) as f64 - 5.;
            let a: Vec<f64> = (0..m * k).map(value).collect();
            let b: Vec<f64> = (0..k * n).map(value).collect();
            for (matrix, strides) in [(b.clone(), [n, 1]), (transposed(&b, k, n), [1, k])] {
                let mut out = vec![1f64; m * n];
                let rows = Rows {
                    values: &a,
                    stride: k,
                    count: m,
                };
                Packed::new(&matrix, (k, n), strides).add_product::<false>(&mut out, rows);
                for (at, out) in out.iter().enumerate() {
                    let (i, j) = (at / n, at % n);
                    let sum: f64 = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
                    assert_eq!(*out, 1. + sum, "({m}, {k}, {n}) at ({i}, {j})");
                }
            }
        }
    }

    fn transposed(b: &[f64], k: usize, n: usize) -> Vec<f64> {
        (0..k * n).map(|i| b[i % k * n + i / k]).collect()
    }
}
