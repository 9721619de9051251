//! The loops of batch normalisation, one task a channel: what its sums read is near when it is written.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::activation::{clamp, pass};
use crate::host::{room, written};
use crate::prefetch::ahead;
use crate::simd::{Kernel, Scalar, dispatch, total};

const LANES: usize = 32;
/// Numbers that stay in the nearest cache.
const PART: usize = 4096;
/// Numbers between two calls for what comes.
const STEP: usize = 1024;

/// `(n, c, plane)`.
pub(crate) struct Planes {
    batch: usize,
    channels: usize,
    plane: usize,
}

impl Planes {
    pub(crate) fn new(shape: &[usize]) -> Self {
        Self {
            batch: shape[0],
            channels: shape[1],
            plane: shape[2..].iter().product(),
        }
    }

    fn count(&self) -> usize {
        self.batch * self.plane
    }

    /// The share of each value in the statistics of the batch; zero where they were given.
    pub(crate) fn through<T: Scalar>(&self, batch: bool) -> T {
        T::from_f64(if batch { 1. / self.count() as f64 } else { 0. })
    }

    /// The planes of every channel, image by image.
    pub(crate) fn by_channel<'a, T: Send>(&self, x: &'a mut [T]) -> ByChannel<'a, T> {
        let batch = self.batch.max(1);
        let mut planes: Vec<&mut [T]> = Vec::new();
        planes.resize_with(self.channels * batch, Default::default);
        for (i, plane) in x.chunks_mut(self.plane.max(1)).enumerate() {
            planes[i % self.channels * batch + i / self.channels] = plane;
        }
        ByChannel { planes, batch }
    }

    /// The planes of one channel, image by image.
    pub(crate) fn of<'a, T>(
        &self,
        x: &'a [T],
        channel: usize,
    ) -> impl DoubleEndedIterator<Item = &'a [T]> + ExactSizeIterator + Clone {
        let (plane, channels) = (self.plane, self.channels);
        (0..self.batch).map(move |n| &x[(n * channels + channel) * plane..][..plane])
    }
}

/// The planes of all channels, those of one behind each other.
pub(crate) struct ByChannel<'a, T> {
    planes: Vec<&'a mut [T]>,
    batch: usize,
}

impl<'a, T: Send> ByChannel<'a, T> {
    /// Channel by channel.
    pub(crate) fn par_iter_mut(
        &mut self,
    ) -> impl IndexedParallelIterator<Item = &mut [&'a mut [T]]> {
        self.planes.par_chunks_mut(self.batch)
    }
}

/// What happens to one channel: `γ·(x − μ)·rstd + β`, clamped.
#[derive(Clone, Copy)]
pub(crate) struct Map<T> {
    pub mean: T,
    pub rstd: T,
    pub gamma: T,
    pub beta: T,
    /// Of the activation.
    pub bounds: (T, T),
}

impl<T: Scalar> Map<T> {
    /// Factor and summand of what forward computes in one step.
    #[inline(always)]
    pub(crate) fn line(&self) -> (T, T) {
        let scale = self.gamma * self.rstd;
        (scale, self.beta - self.mean * scale)
    }

    /// Adds `g·x̂` and `g` of a plane.
    pub(crate) fn add_sums(self, saved: Saved<T>, totals: &mut Totals<T>) {
        dispatch(Reduce {
            saved,
            map: self,
            totals,
        });
    }

    /// Turns the gradients of the results, of which the sums are known, into those of `x`, plane by plane.
    /// Returns those of scale and shift.
    pub(crate) fn pull<'a>(
        self,
        planes: impl DoubleEndedIterator<Item = (&'a [T], &'a mut [T])>,
        sums: (f64, f64),
        through: T,
    ) -> (T, T) {
        let sums: (T, T) = narrow(sums);
        let means = (sums.0 * through, sums.1 * through);
        // Backwards, to begin with what the sums read last.
        for (x, dy) in planes.rev() {
            dispatch(Pull {
                dy,
                x,
                map: self,
                means,
            });
        }
        sums
    }

    /// From the result's gradient to that of `x`, with `dγ/m` and `dβ/m`, or zeros.
    #[inline(always)]
    fn grad<const FMA: bool>(self, x: T, dy: T, (dgamma, dbeta): (T, T)) -> T {
        let (scale, shift) = self.line();
        let g = pass(dy, x.multiply_add::<FMA>(scale, shift), self.bounds);
        let hat = (x - self.mean) * self.rstd;
        scale * (g - dbeta - hat * dgamma)
    }
}

/// Mean and biased variance of a channel. Each of its parts is read twice while it is near: for its mean
/// and for the squares about it, so that a large mean costs no digits. The parts are then merged.
///
/// Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
/// variances", 1979.
pub(super) fn statistics<T: Scalar>(p: &Planes, x: &[T], channel: usize) -> (T, T) {
    let parts = parts(p, x, channel);
    let count = p.count() as f64;
    let mean = parts.iter().map(|m| m.count * m.mean).sum::<f64>() / count;
    let squares: f64 = parts.iter().map(|m| m.squares_about(mean)).sum();
    (T::from_f64(mean), T::from_f64(squares / count))
}

/// Small planes of several images together, large ones cut.
fn parts<T: Scalar>(p: &Planes, x: &[T], channel: usize) -> Vec<Moments> {
    if p.plane > PART {
        let parts = p.of(x, channel).flat_map(|plane| plane.chunks(PART));
        return parts
            .map(|part| Moments::of(std::iter::once(part)))
            .collect();
    }
    let images = PART / p.plane.max(1);
    let first = (0..p.batch).step_by(images);
    let part = |first| p.of(x, channel).skip(first).take(images);
    first.map(|first| Moments::of(part(first))).collect()
}

struct Moments {
    count: f64,
    mean: f64,
    /// Sum about the mean.
    squares: f64,
}

impl Moments {
    fn of<'a, T: Scalar>(parts: impl Iterator<Item = &'a [T]> + Clone) -> Self {
        let (mut sum, mut squares) = (0., 0.);
        let count = parts.clone().map(<[T]>::len).sum::<usize>() as f64;
        dispatch(Sum {
            parts: parts.clone(),
            total: &mut sum,
        });
        let mean = T::from_f64(sum / count);
        dispatch(Squares {
            parts,
            mean,
            total: &mut squares,
        });
        // About the mean before it was rounded.
        let off = mean.wide() - sum / count;
        Self {
            count,
            mean: sum / count,
            squares: squares - count * off * off,
        }
    }

    fn squares_about(&self, mean: f64) -> f64 {
        let off = self.mean - mean;
        self.squares + self.count * off * off
    }
}

/// `map_of` tells what happens to a channel, and what to collect of it.
pub(super) fn normalise<T: Scalar, R: Send>(
    p: &Planes,
    x: &[T],
    residual: Option<&[T]>,
    map_of: impl Fn(usize) -> (Map<T>, R) + Sync,
) -> (Vec<T>, Vec<R>) {
    let mut y = room(x.len());
    let collected = p
        .by_channel(&mut y)
        .par_iter_mut()
        .enumerate()
        .map(|(channel, y)| {
            let (map, collected) = map_of(channel);
            let residual = residual.map(|r| p.of(r, channel).rev());
            let mut residual = residual.into_iter().flatten();
            // Backwards, to begin with what was read last.
            for (y, x) in y.iter_mut().zip(p.of(x, channel)).rev() {
                dispatch(Normalise {
                    y,
                    x,
                    residual: residual.next(),
                    map,
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
pub(crate) struct Saved<'a, T> {
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
    batch: bool,
    wanted: Wanted,
) -> Gradients<T> {
    let through = p.through(batch);
    let mut dx = wanted.x.then(|| room(saved.x.len()));
    let (gamma, beta) = p
        .by_channel(dx.as_deref_mut().unwrap_or_default())
        .par_iter_mut()
        .enumerate()
        .map(|(channel, dx)| {
            let map = maps[channel];
            let sums = match batch || wanted.affine {
                true => reduce(p.of(saved.x, channel).zip(p.of(saved.dy, channel)), map),
                false => (0., 0.),
            };
            let sums: (T, T) = narrow(sums);
            let means = (sums.0 * through, sums.1 * through);
            grad_x(p, saved, channel, map, means, dx);
            sums
        })
        .unzip();
    // SAFETY: the planes of all channels are all of `dx`, and each is written by `GradX`.
    let x = dx.map(|dx| unsafe { written(dx) });
    Gradients { x, gamma, beta }
}

/// [`backward`] in the place of `dy`, with the sums of all channels if they are known: returns the gradients
/// of scale and shift.
pub(crate) fn pull<T: Scalar>(
    p: &Planes,
    x: &[T],
    maps: &[Map<T>],
    batch: bool,
    sums: Option<&[(f64, f64)]>,
    dy: &mut [T],
) -> (Vec<T>, Vec<T>) {
    let through = p.through(batch);
    let of_channel = |(channel, dy): (usize, &mut [&mut [T]])| {
        let map = maps[channel];
        let sums = match sums {
            Some(sums) => sums[channel],
            None => reduce(p.of(x, channel).zip(dy.iter().map(|dy| &**dy)), map),
        };
        let planes = p.of(x, channel).zip(dy.iter_mut().map(|dy| &mut **dy));
        map.pull(planes, sums, through)
    };
    let mut planes = p.by_channel(dy);
    let channels = planes.par_iter_mut().enumerate();
    channels.map(of_channel).unzip()
}

fn reduce<'a, T: Scalar>(
    planes: impl Iterator<Item = (&'a [T], &'a [T])>,
    map: Map<T>,
) -> (f64, f64) {
    let mut totals = Totals::default();
    for (x, dy) in planes {
        map.add_sums(Saved { x, dy }, &mut totals);
    }
    totals.sums()
}

fn narrow<T: Scalar>(sums: (f64, f64)) -> (T, T) {
    (T::from_f64(sums.0), T::from_f64(sums.1))
}

/// Right after the sums of the channel, beginning with what they read last.
fn grad_x<T: Scalar>(
    p: &Planes,
    saved: Saved<T>,
    channel: usize,
    map: Map<T>,
    means: (T, T),
    dx: &mut [&mut [MaybeUninit<T>]],
) {
    let planes = p.of(saved.x, channel).zip(p.of(saved.dy, channel));
    for (dx, (x, dy)) in dx.iter_mut().zip(planes).rev() {
        dispatch(GradX {
            dx,
            saved: Saved { x, dy },
            map,
            means,
        });
    }
}

struct Sum<'a, I> {
    parts: I,
    total: &'a mut f64,
}

impl<'b, T: Scalar, I: Iterator<Item = &'b [T]>> Kernel for Sum<'_, I> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut lanes = [T::zero(); LANES];
        for part in self.parts {
            for part in part.chunks(STEP) {
                ahead(part);
                each(part, &mut lanes, |x, lane| *lane += x);
            }
        }
        *self.total = total(&lanes);
    }
}

struct Squares<'a, I, T> {
    parts: I,
    mean: T,
    total: &'a mut f64,
}

impl<'b, T: Scalar, I: Iterator<Item = &'b [T]>> Kernel for Squares<'_, I, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut lanes = [T::zero(); LANES];
        for part in self.parts {
            each(part, &mut lanes, |x, lane| {
                let d = x - self.mean;
                *lane = d.multiply_add::<FMA>(d, *lane);
            });
        }
        *self.total = total(&lanes);
    }
}

/// Every element with its lane.
#[inline(always)]
fn each<T: Scalar>(x: &[T], lanes: &mut [T; LANES], f: impl Fn(T, &mut T)) {
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for lane in 0..LANES {
            f(x[lane], &mut lanes[lane]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        f(*x, lane);
    }
}

struct Normalise<'a, T> {
    y: &'a mut [MaybeUninit<T>],
    x: &'a [T],
    residual: Option<&'a [T]>,
    map: Map<T>,
}

impl<T: Scalar> Kernel for Normalise<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let ((scale, shift), bounds) = (self.map.line(), self.map.bounds);
        let normal = |x: &T| x.multiply_add::<FMA>(scale, shift);
        let mut residual = self.residual.map(|r| r.chunks(STEP));
        for (y, x) in self.y.chunks_mut(STEP).zip(self.x.chunks(STEP)) {
            ahead(y);
            ahead(x);
            match residual.as_mut().and_then(Iterator::next) {
                None => {
                    for (y, x) in y.iter_mut().zip(x) {
                        y.write(clamp(normal(x), bounds));
                    }
                }
                Some(residual) => {
                    ahead(residual);
                    for ((y, x), r) in y.iter_mut().zip(x).zip(residual) {
                        y.write(clamp(normal(x) + *r, bounds));
                    }
                }
            }
        }
    }
}

/// `Σ g·x̂` and `Σ g` of a channel: sums of some thousand numbers in lanes, their own sum wide.
pub(crate) struct Totals<T> {
    lanes: [[T; LANES]; 2],
    /// Numbers in the lanes.
    count: usize,
    wide: (f64, f64),
}

impl<T: Scalar> Default for Totals<T> {
    fn default() -> Self {
        Self {
            lanes: [[T::zero(); LANES]; 2],
            count: 0,
            wide: (0., 0.),
        }
    }
}

impl<T: Scalar> Totals<T> {
    #[inline(always)]
    fn fold(&mut self) {
        self.wide.0 += total(&self.lanes[0]);
        self.wide.1 += total(&self.lanes[1]);
        (self.lanes, self.count) = ([[T::zero(); LANES]; 2], 0);
    }

    pub(crate) fn sums(mut self) -> (f64, f64) {
        self.fold();
        self.wide
    }
}

struct Reduce<'a, T> {
    saved: Saved<'a, T>,
    map: Map<T>,
    totals: &'a mut Totals<T>,
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
            let g = pass(dy[i], normal, self.map.bounds);
            let hat = (x[i] - self.map.mean) * self.map.rstd;
            hats[i] = g.multiply_add::<FMA>(hat, hats[i]);
            sums[i] += g;
        }
    }
}

impl<T: Scalar> Kernel for Reduce<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut sums = self.totals.lanes;
        let (x, rest_x) = self.saved.x.as_chunks::<LANES>();
        let (dy, rest_dy) = self.saved.dy.as_chunks::<LANES>();
        for (x, dy) in x.iter().zip(dy) {
            ahead(x);
            ahead(dy);
            self.add::<FMA>(&mut sums, [x, dy]);
        }
        // No gradient behind the last element.
        let mut rest = [[self.map.mean; LANES], [T::zero(); LANES]];
        for (to, from) in rest.iter_mut().zip([rest_x, rest_dy]) {
            to[..from.len()].copy_from_slice(from);
        }
        self.add::<FMA>(&mut sums, rest.each_ref());
        self.totals.lanes = sums;
        self.totals.count += self.saved.x.len();
        if self.totals.count >= PART {
            self.totals.fold();
        }
    }
}

struct GradX<'a, T> {
    dx: &'a mut [MaybeUninit<T>],
    saved: Saved<'a, T>,
    map: Map<T>,
    means: (T, T),
}

impl<T: Scalar> Kernel for GradX<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Saved { x, dy } = self.saved;
        let parts = self.dx.chunks_mut(STEP).zip(x.chunks(STEP));
        for ((dx, x), dy) in parts.zip(dy.chunks(STEP)) {
            ahead(dx);
            ahead(x);
            ahead(dy);
            for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
                dx.write(self.map.grad::<FMA>(*x, *dy, self.means));
            }
        }
    }
}

/// [`GradX`] in the place of `dy`.
struct Pull<'a, T> {
    dy: &'a mut [T],
    x: &'a [T],
    map: Map<T>,
    means: (T, T),
}

impl<T: Scalar> Kernel for Pull<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (dy, x) in self.dy.chunks_mut(STEP).zip(self.x.chunks(STEP)) {
            ahead(dy);
            ahead(x);
            for (dy, x) in dy.iter_mut().zip(x) {
                *dy = self.map.grad::<FMA>(*x, *dy, self.means);
            }
        }
    }
}
