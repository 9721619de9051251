//! The bias of a convolution: where the sums start, and its gradient.

use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::simd::{Kernel, Scalar, dispatch, total};

const LANES: usize = 16;

/// The weights of one pass, and what its sums start from: zero or the bias of the channel.
#[derive(Clone, Copy)]
pub(super) struct Affine<'a, T> {
    pub weight: &'a [T],
    pub bias: Option<&'a [T]>,
}

impl<T: Scalar> Affine<'_, T> {
    pub(super) fn start(&self, channel: usize) -> T {
        self.bias.map_or(T::zero(), |bias| bias[channel])
    }
}

/// The results where there is nothing to multiply: zero, or the bias of the channel in every plane.
pub(super) fn alone<T: Scalar>(count: usize, bias: Option<&[T]>, plane: usize) -> Vec<T> {
    let mut out = vec![T::zero(); count];
    let planes = out.chunks_exact_mut(plane.max(1));
    planes
        .zip(bias.iter().copied().flatten().cycle())
        .for_each(|(plane, b)| plane.fill(*b));
    out
}

/// The sum over images and pixels of `dy (n, channels, pixels)`, in an order that no number of
/// threads changes.
pub(super) fn grad_bias<T: Scalar>(dy: &[T], channels: usize, pixels: usize) -> Vec<T> {
    let mut db = vec![T::zero(); channels];
    if dy.is_empty() {
        return db;
    }
    db.par_iter_mut()
        .with_min_len((GRAIN * channels).div_ceil(dy.len()))
        .enumerate()
        .for_each(|(channel, db)| {
            let mut total = 0.;
            let planes = dy.chunks_exact(pixels).skip(channel).step_by(channels);
            planes.for_each(|plane| {
                dispatch(PlaneSum {
                    plane,
                    total: &mut total,
                })
            });
            *db = T::from_f64(total);
        });
    db
}

/// `total += Σ plane`, lane by lane within the plane.
struct PlaneSum<'a, T> {
    plane: &'a [T],
    total: &'a mut f64,
}

impl<T: Scalar> Kernel for PlaneSum<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut lanes = [T::zero(); LANES];
        let chunks = self.plane.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] += chunk[lane];
            }
        }
        lanes.iter_mut().zip(rest).for_each(|(l, x)| *l += *x);
        *self.total += total(&lanes);
    }
}
