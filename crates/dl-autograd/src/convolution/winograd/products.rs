//! Matrix products at one position of all tiles.

use pulp::{Simd, WithSimd};

use crate::simd::Scalar;

/// `c[i, o] = Σ_k a[i, k] · b[k, o]`, or that added to what is there.
///
/// A tile of rows by two vectors stays in registers over the whole sum, whose order follows from `k`.
pub(super) struct Product<'a, T> {
    pub(super) a: &'a [T],
    /// From a row of `a` to the next, and from a term to the next.
    pub(super) a_steps: (usize, usize),
    pub(super) b: &'a [T],
    /// From a term to the next.
    pub(super) b_step: usize,
    pub(super) c: &'a mut [T],
    /// From a row to the next.
    pub(super) c_step: usize,
    pub(super) rows: usize,
    pub(super) terms: usize,
    /// Columns: whole vectors.
    pub(super) width: usize,
    pub(super) add: bool,
}

impl<T: Scalar> WithSimd for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if self.rows == 0 || self.terms == 0 {
            return;
        }
        let (last, last_term) = (self.rows - 1, self.terms - 1);
        assert!(last * self.a_steps.0 + last_term * self.a_steps.1 < self.a.len());
        assert!(last_term * self.b_step + self.width <= self.b.len());
        assert!(last * self.c_step + self.width <= self.c.len());
        let lanes = T::lanes::<S>();
        let mut o = 0;
        while o + 2 * lanes <= self.width {
            self.columns::<S, 2>(simd, o);
            o += 2 * lanes;
        }
        while o + lanes <= self.width {
            self.columns::<S, 1>(simd, o);
            o += lanes;
        }
    }
}

impl<T: Scalar> Product<'_, T> {
    #[inline(always)]
    fn columns<S: Simd, const V: usize>(&mut self, simd: S, o: usize) {
        let mut row = 0;
        while S::REGISTER_COUNT >= 32 && row + 12 <= self.rows {
            self.tile::<S, 12, V>(simd, row, o);
            row += 12;
        }
        while S::REGISTER_COUNT < 32 && row + 6 <= self.rows {
            self.tile::<S, 6, V>(simd, row, o);
            row += 6;
        }
        while row + 4 <= self.rows {
            self.tile::<S, 4, V>(simd, row, o);
            row += 4;
        }
        while row < self.rows {
            self.tile::<S, 1, V>(simd, row, o);
            row += 1;
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, row: usize, o: usize) {
        let (across, down) = self.a_steps;
        let lanes = V * T::lanes::<S>();
        let mut sums = [[T::splat(simd, T::zero()); V]; R];
        for k in 0..self.terms {
            // SAFETY: `o + lanes` is at most `width`, and `with_simd` has seen that the last term's
            // `width` numbers lie in `b`.
            let b = unsafe {
                self.b
                    .get_unchecked(k * self.b_step + o..k * self.b_step + o + lanes)
            };
            let b = T::vectors::<S>(b);
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: `row + r` is below `rows`, and `with_simd` has seen that the last row's last
                // term lies in `a`.
                let a = unsafe { *self.a.get_unchecked((row + r) * across + k * down) };
                let a = T::splat(simd, a);
                for v in 0..V {
                    sums[v] = T::fused(simd, a, b[v], sums[v]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let c = &mut self.c[(row + r) * self.c_step + o..][..lanes];
            let c = T::vectors_mut::<S>(c);
            for v in 0..V {
                c[v] = match self.add {
                    true => T::plus(simd, c[v], sums[v]),
                    false => sums[v],
                };
            }
        }
    }
}
