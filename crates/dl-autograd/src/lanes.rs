//! Sums over long slices with many independent accumulators.

use rayon::prelude::*;

use crate::simd::{Kernel, Scalar, dispatch};

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

/// Elements whose columns one thread adds up at a time.
const GRAIN: usize = 128 * 1024;

/// The sums over the columns of rows of `len`, in f64 and in the order of the rows within chunks of a
/// fixed size, so the result depends on no number of threads.
pub(crate) fn column_sums<T: Scalar>(rows: &[T], len: usize) -> Vec<T> {
    let chunk = (GRAIN / len.max(1)).max(1) * len.max(1);
    let part = |rows: &[T]| {
        let mut sums = vec![0f64; len];
        dispatch(Columns {
            rows,
            sums: &mut sums,
        });
        sums
    };
    let parts: Vec<Vec<f64>> = rows.par_chunks(chunk).map(part).collect();
    let mut total = vec![0f64; len];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
    }
    total.into_iter().map(T::from_f64).collect()
}

struct Columns<'a, T> {
    rows: &'a [T],
    sums: &'a mut [f64],
}

impl<T: Scalar> Kernel for Columns<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for row in self.rows.chunks_exact(self.sums.len().max(1)) {
            let sums = self.sums.iter_mut().zip(row);
            sums.for_each(|(s, r)| *s += r.wide());
        }
    }
}
