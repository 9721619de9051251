//! Sums over long slices with many independent accumulators.

use crate::simd::Scalar;

/// Independent sums, for two vector registers or more.
const LANES: usize = 32;

/// Elements that are summed in their own type before f64 takes over.
const BLOCK: usize = 4096;

/// `K` sums over pairs of elements. `step` adds one pair to the sums so far.
///
/// `a` and `b` have one length. To be called inside of a [`Kernel`](crate::simd::Kernel).
#[inline(always)]
pub(crate) fn sums<T: Scalar, const K: usize>(
    a: &[T],
    b: &[T],
    step: impl Fn(T, T, [T; K]) -> [T; K],
) -> [f64; K] {
    let mut total = [0.; K];
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        let block = block(a, b, &step);
        for k in 0..K {
            total[k] += block[k].wide();
        }
    }
    total
}

#[inline(always)]
fn block<T: Scalar, const K: usize>(
    a: &[T],
    b: &[T],
    step: &impl Fn(T, T, [T; K]) -> [T; K],
) -> [T; K] {
    let mut lanes = [[T::zero(); LANES]; K];
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            one(&mut lanes, lane, a[lane], b[lane], step);
        }
    }
    for (lane, (a, b)) in rest_a.iter().zip(rest_b).enumerate() {
        one(&mut lanes, lane, *a, *b, step);
    }
    lanes.map(fold)
}

#[inline(always)]
fn one<T: Scalar, const K: usize>(
    lanes: &mut [[T; LANES]; K],
    lane: usize,
    a: T,
    b: T,
    step: &impl Fn(T, T, [T; K]) -> [T; K],
) {
    let mut so_far = [T::zero(); K];
    for k in 0..K {
        so_far[k] = lanes[k][lane];
    }
    let sums = step(a, b, so_far);
    for k in 0..K {
        lanes[k][lane] = sums[k];
    }
}

/// The sum of the lanes, halved again and again: whole registers are added.
#[inline(always)]
fn fold<T: Scalar>(mut lanes: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            let other = lanes[lane + width];
            lanes[lane] += other;
        }
        width /= 2;
    }
    lanes[0]
}

/// The sums over the columns of rows of `len`, in the order of the rows.
pub(crate) fn column_sums<T: Scalar>(rows: &[T], len: usize) -> Vec<T> {
    let mut sum = vec![0f64; len];
    for row in rows.chunks_exact(len.max(1)) {
        sum.iter_mut().zip(row).for_each(|(s, r)| *s += r.wide());
    }
    sum.into_iter().map(T::from_f64).collect()
}
