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

use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::bias::{Affine, alone};
use super::geometry::Geometry;
use super::phases::{LANES, Phases};
use crate::batch_norm::cpu::{Map, Planes};
use crate::host::{room, written};
use crate::simd::{self, Kernel, Scalar, dispatch};

/// Vectors of outputs that stay in registers.
const TILE: usize = 8;

pub(super) fn forward<T: Scalar>(g: &Geometry, x: &[T], affine: Affine<T>) -> Vec<T> {
    let loops = Loops::new(g);
    let count = g.batch * g.c_out * g.pixels_out();
    if count == 0 || x.is_empty() {
        return alone(count, affine.bias, g.pixels_out());
    }
    let mut y = room(count);
    y.par_chunks_mut(g.pixels_out())
        .zip(x.par_chunks(g.pixels_in()))
        .enumerate()
        .for_each_init(
            || Correlation::new(&loops),
            |correlation, (i, (y, x))| {
                let kernel = loops.kernel(affine, i % g.c_in);
                correlation.run(x, None, kernel, y);
            },
        );
    // SAFETY: every plane was written by `Correlation`.
    unsafe { written(y) }
}

pub(super) fn grad_input<T: Scalar>(g: &Geometry, dy: &[T], affine: Affine<T>) -> Vec<T> {
    let loops = Loops::new(g);
    let count = g.batch * g.c_in * g.pixels_in();
    if count == 0 || dy.is_empty() {
        return alone(count, affine.bias, g.pixels_in());
    }
    let mut dx = room(count);
    dx.par_chunks_mut(g.pixels_in())
        .zip(dy.par_chunks(g.pixels_out()))
        .enumerate()
        .for_each_init(
            || (Wide::new(&loops), Transposed::new(&loops)),
            |(wide, transposed), (i, (dx, dy))| {
                wide.fill(dy);
                transposed.run(wide, loops.kernel(affine, i % g.c_in), dx);
            },
        );
    // SAFETY: every plane was written by `Transposed`.
    unsafe { written(dx) }
}

pub(super) fn grad_weight<T: Scalar>(g: &Geometry, dy: &[T], x: &[T]) -> Vec<T> {
    let loops = Loops::new(g);
    let mut dw = vec![T::zero(); g.c_in * loops.taps()];
    if dy.is_empty() || x.is_empty() {
        return dw;
    }
    let (images, results) = (
        Planes::new(&g.input_shape()),
        Planes::new(&g.output_shape()),
    );
    dw.par_chunks_mut(loops.taps()).enumerate().for_each_init(
        || (Wide::new(&loops), WeightGradient::new(&loops)),
        |(wide, gradient), (channel, dw)| {
            for (x, dy) in images.of(x, channel).zip(results.of(dy, channel)) {
                wide.fill(dy);
                gradient.add(x, None, wide);
            }
            gradient.take(dw);
        },
    );
    dw
}

/// What the loops over all planes have in common.
pub(super) struct Loops<'a> {
    g: &'a Geometry,
    phases: Phases,
    starts: Vec<usize>,
    /// For each phase of the input's gradient its taps, and where each starts to read.
    backward: Vec<(Vec<usize>, Vec<usize>)>,
}

/// The weights of a channel and its bias.
#[derive(Clone, Copy)]
pub(super) struct Channel<'a, T> {
    weights: &'a [T],
    bias: T,
}

impl<'a> Loops<'a> {
    pub(super) fn new(g: &'a Geometry) -> Self {
        let phases = Phases::new(g);
        let of_phase = |phase| {
            let taps = phases.taps.iter().enumerate();
            let taps = taps.filter(move |(_, tap)| tap.0 == phase);
            taps.map(|(i, tap)| (i, phases.reach - tap.1)).unzip()
        };
        Self {
            g,
            starts: phases.starts(),
            backward: (0..Phases::count(g)).map(of_phase).collect(),
            phases,
        }
    }

    pub(super) fn taps(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn kernel<'w, T: Scalar>(
        &self,
        affine: Affine<'w, T>,
        channel: usize,
    ) -> Channel<'w, T> {
        Channel {
            weights: &affine.weight[channel * self.taps()..][..self.taps()],
            bias: affine.start(channel),
        }
    }
}

/// Outputs of a plane, and the memory they are computed in.
pub(super) struct Correlation<'a, T> {
    loops: &'a Loops<'a>,
    split: Vec<T>,
    wide: Vec<T>,
}

impl<'a, T: Scalar> Correlation<'a, T> {
    pub(super) fn new(loops: &'a Loops) -> Self {
        Self {
            loops,
            split: loops.phases.buffer(loops.g),
            wide: vec![T::zero(); loops.phases.outputs],
        }
    }

    /// Writes all of `y`, of `x` itself or of what a norm makes of it.
    pub(super) fn run(
        &mut self,
        x: &[T],
        norm: Option<Map<T>>,
        channel: Channel<T>,
        y: &mut [MaybeUninit<T>],
    ) {
        let Loops {
            g, phases, starts, ..
        } = self.loops;
        phases.split(g, x, norm, &mut self.split);
        simd::run(Correlate {
            out: &mut self.wide,
            from: &self.split,
            starts,
            weights: channel.weights,
            bias: channel.bias,
        });
        phases.narrow(g, &self.wide, y);
    }
}

/// A plane of the outputs' gradient in rows as wide as a phase's, with zeros in front and behind, so that
/// every tap reads inside.
pub(super) struct Wide<'a, T> {
    loops: &'a Loops<'a>,
    values: Vec<T>,
}

impl<'a, T: Scalar> Wide<'a, T> {
    pub(super) fn new(loops: &'a Loops) -> Self {
        let values = vec![T::zero(); loops.phases.reach + loops.phases.len];
        Self { loops, values }
    }

    pub(super) fn fill(&mut self, dy: &[T]) {
        let Loops { g, phases, .. } = self.loops;
        phases.widen(g, dy, &mut self.values[phases.reach..]);
    }

    fn outputs(&self) -> &[T] {
        let phases = &self.loops.phases;
        &self.values[phases.reach..][..phases.outputs]
    }
}

/// The way back from the outputs of a plane.
pub(super) struct Transposed<'a, T> {
    loops: &'a Loops<'a>,
    weights: Vec<T>,
    split: Vec<T>,
}

impl<'a, T: Scalar> Transposed<'a, T> {
    pub(super) fn new(loops: &'a Loops) -> Self {
        Self {
            loops,
            weights: Vec::with_capacity(loops.taps()),
            split: loops.phases.buffer(loops.g),
        }
    }

    pub(super) fn run<'b>(
        &mut self,
        dy: &Wide<T>,
        channel: Channel<T>,
        dx: &'b mut [MaybeUninit<T>],
    ) -> &'b mut [T] {
        let Loops {
            g,
            phases,
            backward,
            ..
        } = self.loops;
        let split = self.split.chunks_exact_mut(phases.len);
        for (out, (taps, starts)) in split.zip(backward) {
            self.weights.clear();
            self.weights
                .extend(taps.iter().map(|&tap| channel.weights[tap]));
            simd::run(Correlate {
                out,
                from: &dy.values,
                starts,
                weights: &self.weights,
                bias: channel.bias,
            });
        }
        phases.join(g, &self.split, dx);
        // SAFETY: `join` writes all of the plane.
        unsafe { dx.assume_init_mut() }
    }
}

/// The gradient of a channel's weights, plane after plane.
pub(super) struct WeightGradient<'a, T> {
    loops: &'a Loops<'a>,
    split: Vec<T>,
    lanes: Vec<[T; LANES]>,
}

impl<'a, T: Scalar> WeightGradient<'a, T> {
    pub(super) fn new(loops: &'a Loops) -> Self {
        Self {
            loops,
            split: loops.phases.buffer(loops.g),
            lanes: vec![[T::zero(); LANES]; loops.taps()],
        }
    }

    /// Of `x` itself or of what a norm makes of it.
    pub(super) fn add(&mut self, x: &[T], norm: Option<Map<T>>, dy: &Wide<T>) {
        let Loops {
            g, phases, starts, ..
        } = self.loops;
        phases.split(g, x, norm, &mut self.split);
        dispatch(Dots {
            lanes: &mut self.lanes,
            from: &self.split,
            starts,
            dy: dy.outputs(),
        });
    }

    /// Writes the sums and begins with zero again.
    pub(super) fn take(&mut self, dw: &mut [T]) {
        for (w, lanes) in dw.iter_mut().zip(&mut self.lanes) {
            *w = lanes.iter().copied().sum();
            *lanes = [T::zero(); LANES];
        }
    }
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
