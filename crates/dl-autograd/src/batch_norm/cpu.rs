//! The loops of batch normalisation, one task a channel: what its sums read is near when it is written.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::activation::{clamp, pass};
use crate::host::{room, written};
use crate::simd::{Kernel, Scalar, dispatch};

const LANES: usize = 32;

/// `(n, c, plane)`.
pub(super) struct Planes {
    batch: usize,
    channels: usize,
    plane: usize,
}

impl Planes {
    pub(super) fn new(shape: &[usize]) -> Self {
        Self {
            batch: shape[0],
            channels: shape[1],
            plane: shape[2..].iter().product(),
        }
    }

    fn count(&self) -> usize {
        self.batch * self.plane
    }

    /// For each channel its planes, image by image.
    fn by_channel<'a, T>(&self, x: &'a mut [T]) -> Vec<Vec<&'a mut [T]>> {
        let empty = || Vec::with_capacity(self.batch);
        let mut channels: Vec<Vec<_>> = (0..self.channels).map(|_| empty()).collect();
        for (i, plane) in x.chunks_mut(self.plane.max(1)).enumerate() {
            channels[i % self.channels].push(plane);
        }
        channels
    }

    /// The planes of one channel, image by image.
    fn of<'a, T>(
        &self,
        x: &'a [T],
        channel: usize,
    ) -> impl DoubleEndedIterator<Item = &'a [T]> + ExactSizeIterator {
        let (plane, channels) = (self.plane, self.channels);
        (0..self.batch).map(move |n| &x[(n * channels + channel) * plane..][..plane])
    }
}

/// What happens to one channel: `γ·(x − μ)·rstd + β`.
#[derive(Clone, Copy)]
pub(super) struct Map<T> {
    pub mean: T,
    pub rstd: T,
    pub gamma: T,
    pub beta: T,
}

impl<T: Scalar> Map<T> {
    /// Factor and summand of what forward computes in one step.
    fn line(&self) -> (T, T) {
        let scale = self.gamma * self.rstd;
        (scale, self.beta - self.mean * scale)
    }
}

/// Mean and biased variance of a channel. Each plane is read twice while it is near: for its mean
/// and for the squares about it, so that a large mean costs no digits. The planes are then merged.
///
/// Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
/// variances", 1979.
pub(super) fn statistics<T: Scalar>(p: &Planes, x: &[T], channel: usize) -> (T, T) {
    let plane = p.plane as f64;
    let planes: Vec<(f64, f64)> = p.of(x, channel).map(|x| plane_moments(x)).collect();
    let mean = planes.iter().map(|m| m.0).sum::<f64>() / planes.len() as f64;
    let between = |m: &(f64, f64)| m.1 + plane * (m.0 - mean) * (m.0 - mean);
    let squares: f64 = planes.iter().map(between).sum();
    (T::from_f64(mean), T::from_f64(squares / p.count() as f64))
}

/// Mean, and sum of squares about it.
fn plane_moments<T: Scalar>(x: &[T]) -> (f64, f64) {
    let (mut sum, mut squares) = (0., 0.);
    dispatch(Sum { x, total: &mut sum });
    let mean = T::from_f64(sum / x.len() as f64);
    dispatch(Squares {
        x,
        mean,
        total: &mut squares,
    });
    // About the mean before it was rounded.
    let off = mean.wide() - sum / x.len() as f64;
    (sum / x.len() as f64, squares - x.len() as f64 * off * off)
}

/// `map_of` tells what happens to a channel, and what to collect of it.
pub(super) fn normalise<T: Scalar, R: Send>(
    p: &Planes,
    x: &[T],
    residual: Option<&[T]>,
    map_of: impl Fn(usize) -> (Map<T>, R) + Sync,
    bounds: (T, T),
) -> (Vec<T>, Vec<R>) {
    let mut y = room(x.len());
    let collected = p
        .by_channel(&mut y)
        .into_par_iter()
        .enumerate()
        .map(|(channel, y)| {
            let (map, collected) = map_of(channel);
            let residual = residual.map(|r| p.of(r, channel).rev());
            let mut residual = residual.into_iter().flatten();
            // Backwards, to begin with what was read last.
            for (y, x) in y.into_iter().zip(p.of(x, channel)).rev() {
                dispatch(Normalise {
                    y,
                    x,
                    residual: residual.next(),
                    line: map.line(),
                    bounds,
                });
            }
            collected
        })
        .collect();
    // SAFETY: the planes of all channels are all of `y`, and each is written by `Normalise`.
    (unsafe { written(y) }, collected)
}

/// What forward normalised, and the gradient that arrives behind the activation. Whether that passes
/// follows from `x`: reading the result as well would cost more than computing it again.
#[derive(Clone, Copy)]
pub(super) struct Saved<'a, T> {
    pub x: &'a [T],
    pub dy: &'a [T],
}

/// Which gradients are asked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub x: bool,
    /// Of scale or shift.
    pub affine: bool,
}

pub(super) struct Gradients<T> {
    pub x: Option<Vec<T>>,
    pub gamma: Vec<T>,
    pub beta: Vec<T>,
}

/// ```text
/// g = dy where the activation passes      dβ = Σ g      dγ = Σ g·x̂      x̂ = (x − μ)·rstd
/// dx = γ·rstd·(g − dβ/m − x̂·dγ/m) with statistics of the batch, γ·rstd·g with given ones
/// ```
pub(super) fn backward<T: Scalar>(
    p: &Planes,
    saved: Saved<T>,
    maps: &[Map<T>],
    bounds: (T, T),
    batch: bool,
    wanted: Wanted,
) -> Gradients<T> {
    let through = if batch { 1. / p.count() as f64 } else { 0. };
    let through = T::from_f64(through);
    let mut dx = wanted.x.then(|| room(saved.x.len()));
    let planes = match &mut dx {
        Some(dx) => p.by_channel(dx),
        None => (0..p.channels).map(|_| vec![]).collect(),
    };
    let (gamma, beta) = planes
        .into_par_iter()
        .enumerate()
        .map(|(channel, dx)| {
            let map = maps[channel];
            let sums = match batch || wanted.affine {
                true => reduce(p, saved, channel, map, bounds),
                false => (T::zero(), T::zero()),
            };
            let means = (sums.0 * through, sums.1 * through);
            grad_x(p, saved, channel, map, means, bounds, dx);
            sums
        })
        .unzip();
    // SAFETY: the planes of all channels are all of `dx`, and each is written by `GradX`.
    let x = dx.map(|dx| unsafe { written(dx) });
    Gradients { x, gamma, beta }
}

fn reduce<T: Scalar>(
    p: &Planes,
    saved: Saved<T>,
    channel: usize,
    map: Map<T>,
    bounds: (T, T),
) -> (T, T) {
    let mut totals = (0., 0.);
    for (x, dy) in p.of(saved.x, channel).zip(p.of(saved.dy, channel)) {
        dispatch(Reduce {
            saved: Saved { x, dy },
            map,
            bounds,
            totals: &mut totals,
        });
    }
    (T::from_f64(totals.0), T::from_f64(totals.1))
}

/// Right after the sums of the channel, beginning with what they read last.
fn grad_x<T: Scalar>(
    p: &Planes,
    saved: Saved<T>,
    channel: usize,
    map: Map<T>,
    means: (T, T),
    bounds: (T, T),
    dx: Vec<&mut [MaybeUninit<T>]>,
) {
    let planes = p.of(saved.x, channel).zip(p.of(saved.dy, channel));
    for (dx, (x, dy)) in dx.into_iter().zip(planes).rev() {
        dispatch(GradX {
            dx,
            saved: Saved { x, dy },
            map,
            means,
            bounds,
        });
    }
}

struct Sum<'a, T> {
    x: &'a [T],
    total: &'a mut f64,
}

impl<T: Scalar> Kernel for Sum<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut lanes = [T::zero(); LANES];
        let mut chunks = self.x.chunks_exact(LANES);
        for x in chunks.by_ref() {
            for lane in 0..LANES {
                lanes[lane] += x[lane];
            }
        }
        let rest: T = chunks.remainder().iter().copied().sum();
        *self.total += lanes.iter().map(|l| l.wide()).sum::<f64>() + rest.wide();
    }
}

struct Squares<'a, T> {
    x: &'a [T],
    mean: T,
    total: &'a mut f64,
}

impl<T: Scalar> Kernel for Squares<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut lanes = [T::zero(); LANES];
        let mut chunks = self.x.chunks_exact(LANES);
        for x in chunks.by_ref() {
            for lane in 0..LANES {
                let d = x[lane] - self.mean;
                lanes[lane] = d.multiply_add::<FMA>(d, lanes[lane]);
            }
        }
        let rest = chunks.remainder().iter();
        let rest: T = rest.map(|&x| (x - self.mean) * (x - self.mean)).sum();
        *self.total += lanes.iter().map(|l| l.wide()).sum::<f64>() + rest.wide();
    }
}

struct Normalise<'a, T> {
    y: &'a mut [MaybeUninit<T>],
    x: &'a [T],
    residual: Option<&'a [T]>,
    line: (T, T),
    bounds: (T, T),
}

impl<T: Scalar> Kernel for Normalise<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let pairs = self.y.iter_mut().zip(self.x);
        let normal = |x: &T| x.multiply_add::<FMA>(self.line.0, self.line.1);
        match self.residual {
            None => {
                for (y, x) in pairs {
                    y.write(clamp(normal(x), self.bounds));
                }
            }
            Some(residual) => {
                for ((y, x), r) in pairs.zip(residual) {
                    y.write(clamp(normal(x) + *r, self.bounds));
                }
            }
        }
    }
}

struct Reduce<'a, T> {
    saved: Saved<'a, T>,
    map: Map<T>,
    bounds: (T, T),
    totals: &'a mut (f64, f64),
}

/// As many elements of each as there are sums: loops of a fixed length become vectors.
type Part<'a, T> = [&'a [T; LANES]; 2];

impl<T: Scalar> Reduce<'_, T> {
    /// Adds `g·x̂` and `g` lane by lane.
    #[inline(always)]
    fn add<const FMA: bool>(&self, [hats, sums]: &mut [[T; LANES]; 2], [x, dy]: Part<T>) {
        let (scale, shift) = self.map.line();
        for i in 0..LANES {
            let normal = x[i].multiply_add::<FMA>(scale, shift);
            let g = pass(dy[i], normal, self.bounds);
            let hat = (x[i] - self.map.mean) * self.map.rstd;
            hats[i] = g.multiply_add::<FMA>(hat, hats[i]);
            sums[i] += g;
        }
    }
}

impl<T: Scalar> Kernel for Reduce<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut sums = [[T::zero(); LANES]; 2];
        let (x, rest_x) = self.saved.x.as_chunks::<LANES>();
        let (dy, rest_dy) = self.saved.dy.as_chunks::<LANES>();
        for (x, dy) in x.iter().zip(dy) {
            self.add::<FMA>(&mut sums, [x, dy]);
        }
        // No gradient behind the last element.
        let mut rest = [[self.map.mean; LANES], [T::zero(); LANES]];
        for (to, from) in rest.iter_mut().zip([rest_x, rest_dy]) {
            to[..from.len()].copy_from_slice(from);
        }
        self.add::<FMA>(&mut sums, rest.each_ref());
        let total = |lanes: &[T; LANES]| lanes.iter().map(|l| l.wide()).sum::<f64>();
        self.totals.0 += total(&sums[0]);
        self.totals.1 += total(&sums[1]);
    }
}

struct GradX<'a, T> {
    dx: &'a mut [MaybeUninit<T>],
    saved: Saved<'a, T>,
    map: Map<T>,
    /// `dγ/m` and `dβ/m`, or zeros.
    means: (T, T),
    bounds: (T, T),
}

impl<T: Scalar> Kernel for GradX<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Saved { x, dy } = self.saved;
        let Map { mean, rstd, .. } = self.map;
        let (scale, shift) = self.map.line();
        let (dgamma, dbeta) = self.means;
        for ((dx, x), dy) in self.dx.iter_mut().zip(x).zip(dy) {
            let normal = x.multiply_add::<FMA>(scale, shift);
            let g = pass(*dy, normal, self.bounds);
            let hat = (*x - mean) * rstd;
            dx.write(scale * (g - dbeta - hat * dgamma));
        }
    }
}
