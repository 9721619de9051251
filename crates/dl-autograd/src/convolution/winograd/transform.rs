//! The transforms of F(2×2, 3×3), each a one-dimensional one along the columns and then along the rows.
//!
//! ```text
//!      ⎡1  0 −1  0⎤       ⎡1  0  0⎤       ⎡1  0⎤
//! Bᵀ = ⎢0  1  1  0⎥   G = ⎢½  ½  ½⎥   A = ⎢1  1⎥
//!      ⎢0 −1  1  0⎥       ⎢½ −½  ½⎥       ⎢1 −1⎥
//!      ⎣0  1  0 −1⎦       ⎣0  0  1⎦       ⎣0 −1⎦
//! ```

use pulp::Simd;

use crate::simd::Scalar;

/// Where the products of a tile lie: 4 rows of 4.
pub(super) const POSITIONS: usize = 16;

/// `Bᵀ d B` of a tile of pixels in registers.
#[inline(always)]
pub(super) fn pixels<T: Scalar, S: Simd>(simd: S, d: &mut [T::In<S>; POSITIONS]) {
    for column in 0..4 {
        line_of_pixels::<T, S>(simd, d, [column, column + 4, column + 8, column + 12]);
    }
    for row in 0..4 {
        line_of_pixels::<T, S>(simd, d, [4 * row, 4 * row + 1, 4 * row + 2, 4 * row + 3]);
    }
}

#[inline(always)]
fn line_of_pixels<T: Scalar, S: Simd>(simd: S, d: &mut [T::In<S>; POSITIONS], at: [usize; 4]) {
    let (a, b, c, e) = (d[at[0]], d[at[1]], d[at[2]], d[at[3]]);
    d[at[0]] = T::minus(simd, a, c);
    d[at[1]] = T::plus(simd, b, c);
    d[at[2]] = T::minus(simd, c, b);
    d[at[3]] = T::minus(simd, b, e);
}

/// `Aᵀ m A`: the results of a tile, 2 rows of 2.
#[inline(always)]
pub(super) fn results<T: Scalar, S: Simd>(simd: S, m: &[T::In<S>; POSITIONS]) -> [T::In<S>; 4] {
    let zero = T::splat(simd, T::zero());
    let (mut top, mut bottom, mut y) = ([zero; 4], [zero; 4], [zero; 4]);
    for column in 0..4 {
        let line = [m[column], m[column + 4], m[column + 8], m[column + 12]];
        (top[column], bottom[column]) = pair::<T, S>(simd, line);
    }
    (y[0], y[1]) = pair::<T, S>(simd, top);
    (y[2], y[3]) = pair::<T, S>(simd, bottom);
    y
}

#[inline(always)]
fn pair<T: Scalar, S: Simd>(simd: S, [a, b, c, d]: [T::In<S>; 4]) -> (T::In<S>, T::In<S>) {
    let first = T::plus(simd, T::plus(simd, a, b), c);
    (first, T::minus(simd, T::minus(simd, b, c), d))
}

/// `A dy Aᵀ` of a tile of results.
#[inline(always)]
pub(super) fn gradients<T: Scalar, S: Simd>(simd: S, dy: &[T::In<S>; 4]) -> [T::In<S>; POSITIONS] {
    let zero = T::splat(simd, T::zero());
    let mut m = [zero; POSITIONS];
    let left = four::<T, S>(simd, dy[0], dy[2]);
    let right = four::<T, S>(simd, dy[1], dy[3]);
    for row in 0..4 {
        let line = four::<T, S>(simd, left[row], right[row]);
        m[4 * row..4 * row + 4].copy_from_slice(&line);
    }
    m
}

#[inline(always)]
fn four<T: Scalar, S: Simd>(simd: S, a: T::In<S>, b: T::In<S>) -> [T::In<S>; 4] {
    let zero = T::splat(simd, T::zero());
    [
        a,
        T::plus(simd, a, b),
        T::minus(simd, a, b),
        T::minus(simd, zero, b),
    ]
}

/// `G g Gᵀ` of a kernel.
pub(super) fn kernel<T: Scalar>(g: [T; 9]) -> [T; POSITIONS] {
    let mut u = [T::zero(); POSITIONS];
    let columns = [0, 1, 2].map(|column| spread([g[column], g[column + 3], g[column + 6]]));
    for row in 0..4 {
        let line = spread(columns.map(|column| column[row]));
        u[4 * row..4 * row + 4].copy_from_slice(&line);
    }
    u
}

fn spread<T: Scalar>([a, b, c]: [T; 3]) -> [T; 4] {
    let half = T::from_f64(0.5);
    [a, (a + b + c) * half, (a - b + c) * half, c]
}

/// `Gᵀ u G`: the gradient of a kernel, 3 rows of 3.
#[inline(always)]
pub(super) fn kernel_gradient<T: Scalar, S: Simd>(
    simd: S,
    u: &[T::In<S>; POSITIONS],
) -> [T::In<S>; 9] {
    let zero = T::splat(simd, T::zero());
    let (mut lines, mut g) = ([[zero; 4]; 3], [zero; 9]);
    for column in 0..4 {
        let line = [u[column], u[column + 4], u[column + 8], u[column + 12]];
        let line = three::<T, S>(simd, line);
        for row in 0..3 {
            lines[row][column] = line[row];
        }
    }
    for row in 0..3 {
        let line = three::<T, S>(simd, lines[row]);
        g[3 * row..3 * row + 3].copy_from_slice(&line);
    }
    g
}

#[inline(always)]
fn three<T: Scalar, S: Simd>(simd: S, [a, b, c, d]: [T::In<S>; 4]) -> [T::In<S>; 3] {
    let half = T::splat(simd, T::from_f64(0.5));
    let (sum, difference) = (T::plus(simd, b, c), T::minus(simd, b, c));
    let zero = T::splat(simd, T::zero());
    [
        T::fused(simd, half, sum, a),
        T::fused(simd, half, difference, zero),
        T::fused(simd, half, sum, d),
    ]
}
