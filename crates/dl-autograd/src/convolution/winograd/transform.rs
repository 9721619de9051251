//! The transforms of F(4×4, 3×3) and F(2×2, 5×5), each a one-dimensional one along the columns and then
//! along the rows.
//!
//! A kernel of K weights and M = 7 − K results are polynomials, which are multiplied by their values at
//! the six points 0, ±⅝, ±3/2 and ∞:
//!
//! ```text
//! y = Aᵀ [ (G w) ⊙ (Bᵀ d) ]     A[p, i] = pⁱ, i < M     G[p, i] = pⁱ / Π_q≠p (p − q), i < K
//! ```
//!
//! and row p of Bᵀ has the coefficients of Π_q≠p (x − q). At ∞ all of them are those of the highest power.
//!
//! The numbers of f32 lose least where the points are of about the same size: with these, results are off
//! by one to three millionths of the largest one, with 0, ±1, ±2 and ∞ by three times as much.
//!
//! Source: Barabasz, Anderson, Soodhalter, Gregg, "Error analysis and improving the accuracy of Winograd
//! convolution for deep neural networks", 2020.

use pulp::Simd;

use crate::simd::{Scalar, Vectors};

/// Pixels on the side of a tile: as many as there are points.
pub(super) const SIDE: usize = 6;
/// Where the products of a tile lie.
pub(super) const POSITIONS: usize = SIDE * SIDE;

/// The points besides 0 and ∞ are these and their negatives.
const NEAR: f64 = 0.625;
const FAR: f64 = 1.5;
/// Their powers.
const POWERS: [[f64; 5]; 2] = [powers(NEAR), powers(FAR)];
/// 1 / Π (p − q) over the other points q.
const SCALES: [f64; SIDE] = {
    let (near, far) = (NEAR * NEAR, FAR * FAR);
    let at_near = 1. / (2. * near * (near - far));
    let at_far = 1. / (2. * far * (far - near));
    [1. / (near * far), at_near, at_near, at_far, at_far, 1.]
};

const fn powers(p: f64) -> [f64; 5] {
    [1., p, p * p, p * p * p, p * p * p * p]
}

/// Vectors in rows and columns.
pub(super) type Square<T, S, const N: usize> = [[<T as Vectors>::In<S>; N]; N];

/// `Bᵀ d B` of a tile of [`SIDE`] pixels on a side, or `A dy Aᵀ` of one of fewer results' gradients.
#[inline(always)]
pub(super) fn tile<T: Scalar, S: Simd, const N: usize>(
    simd: S,
    x: Square<T, S, N>,
) -> Square<T, S, SIDE> {
    if N == SIDE {
        return both_ways::<T, S, Pixels, N, SIDE>(simd, x);
    }
    both_ways::<T, S, Values, N, SIDE>(simd, x)
}

/// `Aᵀ m A`: the results of a tile.
#[inline(always)]
pub(super) fn results<T: Scalar, S: Simd, const M: usize>(
    simd: S,
    m: Square<T, S, SIDE>,
) -> Square<T, S, M> {
    both_ways::<T, S, Coefficients, SIDE, M>(simd, m)
}

/// `G g Gᵀ` of a kernel.
#[inline(always)]
pub(super) fn kernel<T: Scalar, S: Simd, const K: usize>(
    simd: S,
    g: Square<T, S, K>,
) -> Square<T, S, SIDE> {
    let u = both_ways::<T, S, Values, K, SIDE>(simd, g);
    scaled::<T, S>(simd, u)
}

/// `Gᵀ u G`: the gradient of a kernel.
#[inline(always)]
pub(super) fn kernel_gradient<T: Scalar, S: Simd, const K: usize>(
    simd: S,
    u: Square<T, S, SIDE>,
) -> Square<T, S, K> {
    let u = scaled::<T, S>(simd, u);
    both_ways::<T, S, Coefficients, SIDE, K>(simd, u)
}

/// A transform of one line, no closure: that would be compiled without the instruction set.
trait Line {
    fn of<T: Scalar, S: Simd, const N: usize, const M: usize>(
        simd: S,
        x: &[T::In<S>; N],
    ) -> [T::In<S>; M];
}

/// The same transform along every column and then along every row.
#[inline(always)]
fn both_ways<T: Scalar, S: Simd, L: Line, const N: usize, const M: usize>(
    simd: S,
    x: Square<T, S, N>,
) -> Square<T, S, M> {
    let zero = T::splat(simd, T::zero());
    let (mut half, mut whole) = ([[zero; N]; M], [[zero; M]; M]);
    for column in 0..N {
        let mut from = [zero; N];
        for row in 0..N {
            from[row] = x[row][column];
        }
        let to = L::of::<T, S, N, M>(simd, &from);
        for row in 0..M {
            half[row][column] = to[row];
        }
    }
    for row in 0..M {
        whole[row] = L::of::<T, S, N, M>(simd, &half[row]);
    }
    whole
}

/// `Bᵀ d`.
struct Pixels;

impl Line for Pixels {
    #[inline(always)]
    fn of<T: Scalar, S: Simd, const N: usize, const M: usize>(
        simd: S,
        d: &[T::In<S>; N],
    ) -> [T::In<S>; M] {
        let (near, far) = (NEAR * NEAR, FAR * FAR);
        let mut u = [d[0]; M];
        let product = T::splat(simd, T::from_f64(near * far));
        let sum = T::splat(simd, T::from_f64(-near - far));
        // (x² − near)·(x² − far) from the first and from the second pixel on.
        u[0] = T::fused(simd, product, d[0], T::fused(simd, sum, d[2], d[4]));
        u[M - 1] = T::fused(simd, product, d[1], T::fused(simd, sum, d[3], d[5]));
        for (i, (root, square)) in [(NEAR, far), (FAR, near)].into_iter().enumerate() {
            let square = T::splat(simd, T::from_f64(-square));
            let even = T::fused(simd, square, d[2], d[4]);
            let odd = T::fused(simd, square, d[1], d[3]);
            u[1 + 2 * i] = T::fused(simd, T::splat(simd, T::from_f64(root)), odd, even);
            u[2 + 2 * i] = T::fused(simd, T::splat(simd, T::from_f64(-root)), odd, even);
        }
        u
    }
}

/// The values at the points of the polynomial with these coefficients: `A dy` and, but for the scales, `G g`.
struct Values;

impl Line for Values {
    #[inline(always)]
    fn of<T: Scalar, S: Simd, const N: usize, const M: usize>(
        simd: S,
        coefficients: &[T::In<S>; N],
    ) -> [T::In<S>; M] {
        let mut values = [coefficients[0]; M];
        for (point, powers) in POWERS.iter().enumerate() {
            let (mut even, mut odd) = (coefficients[0], T::splat(simd, T::zero()));
            for i in 1..N {
                let power = T::splat(simd, T::from_f64(powers[i]));
                match i % 2 {
                    0 => even = T::fused(simd, power, coefficients[i], even),
                    _ => odd = T::fused(simd, power, coefficients[i], odd),
                }
            }
            values[1 + 2 * point] = T::plus(simd, even, odd);
            values[2 + 2 * point] = T::minus(simd, even, odd);
        }
        values[M - 1] = coefficients[N - 1];
        values
    }
}

/// The transpose of [`Values`].
struct Coefficients;

impl Line for Coefficients {
    #[inline(always)]
    fn of<T: Scalar, S: Simd, const N: usize, const M: usize>(
        simd: S,
        values: &[T::In<S>; N],
    ) -> [T::In<S>; M] {
        let mut sums = [T::splat(simd, T::zero()); M];
        sums[0] = values[0];
        sums[M - 1] = values[N - 1];
        for (point, powers) in POWERS.iter().enumerate() {
            let (plus, minus) = (values[1 + 2 * point], values[2 + 2 * point]);
            let (even, odd) = (T::plus(simd, plus, minus), T::minus(simd, plus, minus));
            sums[0] = T::plus(simd, sums[0], even);
            for i in 1..M {
                let power = T::splat(simd, T::from_f64(powers[i]));
                let x = if i % 2 == 0 { even } else { odd };
                sums[i] = T::fused(simd, power, x, sums[i]);
            }
        }
        sums
    }
}

#[inline(always)]
fn scaled<T: Scalar, S: Simd>(simd: S, mut u: Square<T, S, SIDE>) -> Square<T, S, SIDE> {
    let zero = T::splat(simd, T::zero());
    for (row, a) in u.iter_mut().zip(SCALES) {
        for (u, b) in row.iter_mut().zip(SCALES) {
            *u = T::fused(simd, T::splat(simd, T::from_f64(a * b)), *u, zero);
        }
    }
    u
}
