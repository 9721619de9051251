//! A matrix that is multiplied from the left at every time step.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::host::cleared;
use crate::simd::{self, Scalar};
use crate::turn::Turn;

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
        let mut panels = cleared(n.div_ceil(COLUMNS) * k * COLUMNS);
        let each = panels
            .par_chunks_exact_mut((k * COLUMNS).max(1))
            .enumerate();
        each.for_each(|(p, panel)| pack(panel, values, (n, p * COLUMNS), strides));
        Self { panels, k, n }
    }

    /// `out ← out + a·B` with `out` row after row. Each number is one sum in the order of `k`, whatever
    /// the number of rows.
    pub(super) fn add_product(&self, out: &mut [T], a: Rows<T>) {
        simd::run(Product { b: self, out, a });
    }
}

/// The columns from `first` on of a matrix that has `n`.
fn pack<T: Scalar>(
    panel: &mut [T],
    values: &[T],
    (n, first): (usize, usize),
    [down, across]: [usize; 2],
) {
    let columns = COLUMNS.min(n - first);
    if down == 1 {
        let turn = Turn::flat(columns, across, COLUMNS);
        return turn.gather_over(&values[first * across..], panel.len() / COLUMNS, panel);
    }
    for (i, row) in panel.chunks_exact_mut(COLUMNS).enumerate() {
        for (j, value) in row[..columns].iter_mut().enumerate() {
            *value = values[i * down + (first + j) * across];
        }
    }
}

struct Product<'a, T> {
    b: &'a Packed<T>,
    out: &'a mut [T],
    a: Rows<'a, T>,
}

impl<T: Scalar> WithSimd for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let panels = self.b.panels.chunks_exact((self.b.k * COLUMNS).max(1));
        for (p, panel) in panels.enumerate() {
            let mut row = 0;
            while row + ROWS <= self.a.count {
                self.tile::<S, ROWS>(simd, (row, p), panel);
                row += ROWS;
            }
            while row < self.a.count {
                self.tile::<S, 1>(simd, (row, p), panel);
                row += 1;
            }
        }
    }
}

impl<T: Scalar> Product<'_, T> {
    #[inline(always)]
    fn tile<S: Simd, const R: usize>(&mut self, simd: S, (row, p): (usize, usize), panel: &[T]) {
        let rows: [&[T]; R] =
            std::array::from_fn(|r| &self.a.values[(row + r) * self.a.stride..][..self.b.k]);
        let mut sums = [[T::zero(); COLUMNS]; R];
        let width = COLUMNS / (size_of::<T::In<S>>() / size_of::<T>());
        let panel = T::vectors::<S>(panel);
        for pair in (0..width).step_by(2) {
            let mut two = [[T::splat(simd, T::zero()); 2]; R];
            for (i, b) in panel.chunks_exact(width).enumerate() {
                let b = [b[pair], b[pair + 1]];
                for r in 0..R {
                    let a = T::splat(simd, rows[r][i]);
                    two[r][0] = T::fused(simd, a, b[0], two[r][0]);
                    two[r][1] = T::fused(simd, a, b[1], two[r][1]);
                }
            }
            for (sums, two) in sums.iter_mut().zip(two) {
                T::vectors_mut::<S>(sums)[pair..pair + 2].copy_from_slice(&two);
            }
        }
        let first = p * COLUMNS;
        let columns = COLUMNS.min(self.b.n - first);
        for (r, sums) in sums.iter().enumerate() {
            let out = &mut self.out[(row + r) * self.b.n + first..][..columns];
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
                Packed::new(&matrix, (k, n), strides).add_product(&mut out, rows);
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
