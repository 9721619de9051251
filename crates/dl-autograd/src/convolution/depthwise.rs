//! Convolution where every channel is its own group: direct, with the lanes along the pixels.
//!
//! With the rows of the [phases](super::phases) laid end to end all three passes are the same loops
//! over flat memory, for any kernel, stride and dilation:
//!
//! ```text
//! y[i]      = Σ_t w_t · phase[offset_t + i]
//! dphase[j] = Σ_t w_t · dy[j − offset_t]
//! dw_t      = Σ_i phase[offset_t + i] · dy[i]
//! ```
//!
//! The columns between the end of an output row and the end of a phase's row are computed and
//! thrown away, which costs the share of the padding.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::bias::{Affine, alone};
use super::geometry::Geometry;
use super::phases::{LANES, Phases};
use crate::host::{room, written};
use crate::simd::{self, Kernel, Scalar, dispatch};

/// Vectors of outputs that stay in registers.
const TILE: usize = 8;

pub(super) fn forward<T: Scalar>(g: &Geometry, x: &[T], affine: Affine<T>) -> Vec<T> {
    let (phases, taps) = (Phases::new(g), g.kernel.0 * g.kernel.1);
    let starts = phases.starts();
    let count = g.batch * g.c_out * g.pixels_out();
    if count == 0 || x.is_empty() {
        return alone(count, affine.bias, g.pixels_out());
    }
    let mut y = room(count);
    y.par_chunks_mut(g.pixels_out())
        .zip(x.par_chunks(g.pixels_in()))
        .enumerate()
        .for_each_init(
            || (phases.buffer(g), vec![T::zero(); phases.outputs]),
            |(split, wide), (i, (y, x))| {
                phases.split(g, x, split);
                let channel = i % g.c_in;
                simd::run(Correlate {
                    out: wide,
                    from: split,
                    starts: &starts,
                    weights: &affine.weight[channel * taps..][..taps],
                    bias: affine.start(channel),
                });
                phases.narrow(g, wide, y);
            },
        );
    // SAFETY: every plane was written by `narrow`.
    unsafe { written(y) }
}

pub(super) fn grad_input<T: Scalar>(g: &Geometry, dy: &[T], affine: Affine<T>) -> Vec<T> {
    let (phases, taps) = (Phases::new(g), g.kernel.0 * g.kernel.1);
    let count = g.batch * g.c_in * g.pixels_in();
    if count == 0 || dy.is_empty() {
        return alone(count, affine.bias, g.pixels_in());
    }
    let mut dx = room(count);
    // Zeros in front and behind, so that every tap reads inside the buffer.
    let padded = phases.reach + phases.len;
    dx.par_chunks_mut(g.pixels_in())
        .zip(dy.par_chunks(g.pixels_out()))
        .enumerate()
        .for_each_init(
            || (phases.buffer(g), vec![T::zero(); padded]),
            |(split, wide), (i, (dx, dy))| {
                phases.widen(g, dy, &mut wide[phases.reach..]);
                let channel = i % g.c_in;
                let weights = &affine.weight[channel * taps..][..taps];
                grad_phases(&phases, wide, weights, affine.start(channel), split);
                phases.join(g, split, dx);
            },
        );
    // SAFETY: every plane was written by `join`.
    unsafe { written(dx) }
}

fn grad_phases<T: Scalar>(phases: &Phases, wide: &[T], w: &[T], bias: T, split: &mut [T]) {
    for (phase, out) in split.chunks_exact_mut(phases.len).enumerate() {
        let of_phase = || {
            phases
                .taps
                .iter()
                .enumerate()
                .filter(move |(_, t)| t.0 == phase)
        };
        let starts: Vec<usize> = of_phase().map(|(_, t)| phases.reach - t.1).collect();
        let weights: Vec<T> = of_phase().map(|(i, _)| w[i]).collect();
        simd::run(Correlate {
            out,
            from: wide,
            starts: &starts,
            weights: &weights,
            bias,
        });
    }
}

pub(super) fn grad_weight<T: Scalar>(g: &Geometry, dy: &[T], x: &[T]) -> Vec<T> {
    let (phases, taps) = (Phases::new(g), g.kernel.0 * g.kernel.1);
    let starts = phases.starts();
    let mut dw = vec![T::zero(); g.c_in * taps];
    if dy.is_empty() || x.is_empty() {
        return dw;
    }
    dw.par_chunks_mut(taps).enumerate().for_each_init(
        || (phases.buffer(g), vec![T::zero(); phases.outputs]),
        |(split, wide), (channel, dw)| {
            let mut lanes = vec![[T::zero(); LANES]; taps];
            for n in 0..g.batch {
                let plane = n * g.c_in + channel;
                phases.split(g, &x[plane * g.pixels_in()..][..g.pixels_in()], split);
                phases.widen(g, &dy[plane * g.pixels_out()..][..g.pixels_out()], wide);
                dispatch(Dots {
                    lanes: &mut lanes,
                    from: split,
                    starts: &starts,
                    dy: wide,
                });
            }
            dw.iter_mut()
                .zip(&lanes)
                .for_each(|(w, l)| *w = l.iter().copied().sum());
        },
    );
    dw
}

/// `out[i] = bias + Σ_t weights[t] · from[starts[t] + i]`, a tile of registers at a time.
struct Correlate<'a, T> {
    out: &'a mut [T],
    from: &'a [T],
    starts: &'a [usize],
    weights: &'a [T],
    bias: T,
}

impl<T: Scalar> Correlate<'_, T> {
    /// `V` vectors of outputs from `first` on stay in registers over all taps.
    #[inline(always)]
    fn tile<S: Simd, const V: usize>(&mut self, simd: S, first: usize) {
        let len = V * T::lanes::<S>();
        let mut sums = [T::splat(simd, self.bias); V];
        for (start, w) in self.starts.iter().zip(self.weights) {
            let from = T::vectors::<S>(&self.from[start + first..][..len]);
            let w = T::splat(simd, *w);
            for v in 0..V {
                sums[v] = T::fused(simd, w, from[v], sums[v]);
            }
        }
        T::vectors_mut::<S>(&mut self.out[first..][..len]).copy_from_slice(&sums);
    }
}

impl<T: Scalar> WithSimd for Correlate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = T::lanes::<S>();
        let mut first = 0;
        while first + TILE * lanes <= self.out.len() {
            self.tile::<S, TILE>(simd, first);
            first += TILE * lanes;
        }
        while first < self.out.len() {
            self.tile::<S, 1>(simd, first);
            first += lanes;
        }
    }
}

/// `lanes[t] += from[starts[t] + i] · dy[i]`, lane by lane.
struct Dots<'a, T> {
    lanes: &'a mut [[T; LANES]],
    from: &'a [T],
    starts: &'a [usize],
    dy: &'a [T],
}

impl<T: Scalar> Dots<'_, T> {
    /// `N` taps share one read of `dy`.
    #[inline(always)]
    fn taps<const N: usize, const FMA: bool>(&mut self, first: usize) {
        let mut sums = [[T::zero(); LANES]; N];
        for (i, dy) in self.dy.chunks_exact(LANES).enumerate() {
            for (sum, start) in sums.iter_mut().zip(&self.starts[first..first + N]) {
                let from = &self.from[start + i * LANES..][..LANES];
                for lane in 0..LANES {
                    sum[lane] = from[lane].multiply_add::<FMA>(dy[lane], sum[lane]);
                }
            }
        }
        for (total, sum) in self.lanes[first..].iter_mut().zip(sums) {
            total.iter_mut().zip(sum).for_each(|(t, s)| *t += s);
        }
    }
}

impl<T: Scalar> Kernel for Dots<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let mut first = 0;
        while first < self.lanes.len() {
            let step = match self.lanes.len() - first {
                9.. => 9,
                5.. => 5,
                _ => 1,
            };
            match step {
                9 => self.taps::<9, FMA>(first),
                5 => self.taps::<5, FMA>(first),
                _ => self.taps::<1, FMA>(first),
            }
            first += step;
        }
    }
}
