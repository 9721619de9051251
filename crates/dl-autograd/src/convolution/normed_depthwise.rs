//! A depthwise convolution of a batch-normalised image, channel by channel.
//!
//! A channel's results need its own planes alone, so all passes over them follow one another while the
//! planes are near: statistics, norm, activation and convolution on the way forward; both gradients of the
//! convolution and those of the norm on the way back. The normalised image is never written down.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::bias::Affine;
use super::depthwise::{Channel, Correlation, Loops, Transposed, WeightGradient, Wide};
use super::geometry::Geometry;
use crate::batch_norm::cpu::{Map, Planes, Saved, Totals};
use crate::host::{room, written};
use crate::simd::Scalar;

/// What the passes in both directions have in common.
pub(super) struct Layer<'a, T> {
    g: &'a Geometry,
    loops: Loops<'a>,
    weights: Affine<'a, T>,
    images: Planes,
    results: Planes,
}

impl<'a, T: Scalar> Layer<'a, T> {
    /// Neither images nor results may be empty.
    pub(super) fn new(g: &'a Geometry, weight: &'a [T]) -> Self {
        Self {
            g,
            loops: Loops::new(g),
            weights: Affine { weight, bias: None },
            images: Planes::new(&g.input_shape()),
            results: Planes::new(&g.output_shape()),
        }
    }

    /// `map_of` tells what happens to a channel of `x`, and what to collect of it.
    pub(super) fn forward<R: Send>(
        &self,
        x: &[T],
        map_of: impl Fn(usize) -> (Map<T>, R) + Sync,
    ) -> (Vec<T>, Vec<R>) {
        let mut y = room(self.g.batch * self.g.c_out * self.g.pixels_out());
        let collected = self
            .results
            .by_channel(&mut y)
            .par_iter_mut()
            .enumerate()
            .map_init(
                || Correlation::new(&self.loops),
                |correlation, (channel, y)| {
                    let (map, collected) = map_of(channel);
                    let kernel = self.loops.kernel(self.weights, channel);
                    // Backwards, to begin with what the statistics read last.
                    for (y, x) in y.iter_mut().zip(self.images.of(x, channel)).rev() {
                        correlation.run(x, Some(map), kernel, y);
                    }
                    collected
                },
            )
            .collect();
        // SAFETY: the planes of all channels are all of `y`, and each is written by `Correlation`.
        (unsafe { written(y) }, collected)
    }

    /// With statistics of the batch or given ones; the weights' gradient is zero unless asked for.
    pub(super) fn backward(
        &self,
        saved: Saved<T>,
        maps: &[Map<T>],
        batch: bool,
        weights: bool,
    ) -> Gradients<T> {
        let through = self.images.through(batch);
        let mut dx = room(saved.x.len());
        let mut weight = vec![T::zero(); self.weights.weight.len()];
        let (gamma, beta) = self
            .images
            .by_channel(&mut dx)
            .par_iter_mut()
            .zip(weight.par_chunks_mut(self.loops.taps()))
            .enumerate()
            .map_init(
                || Scratch::new(self),
                |scratch, (channel, (dx, dw))| {
                    let planes = self.planes(saved, channel, dx);
                    let kernel = self.loops.kernel(self.weights, channel);
                    scratch.pull(
                        planes,
                        kernel,
                        (maps[channel], through),
                        weights.then_some(dw),
                    )
                },
            )
            .unzip();
        // SAFETY: the planes of all channels are all of `dx`, and each is written by `Transposed`.
        let x = unsafe { written(dx) };
        Gradients {
            x,
            gamma,
            beta,
            weight,
        }
    }

    /// Of a channel, image by image: `x`, the results' gradient and room for that of `x`.
    fn planes<'b>(
        &'b self,
        saved: Saved<'b, T>,
        channel: usize,
        dx: &'b mut [&mut [MaybeUninit<T>]],
    ) -> impl Iterator<Item = (Saved<'b, T>, &'b mut [MaybeUninit<T>])> {
        let results = self.results.of(saved.dy, channel);
        let planes = self.images.of(saved.x, channel).zip(results);
        let dx = dx.iter_mut().map(|dx| &mut **dx);
        planes.map(|(x, dy)| Saved { x, dy }).zip(dx)
    }
}

pub(super) struct Gradients<T> {
    pub(super) x: Vec<T>,
    pub(super) gamma: Vec<T>,
    pub(super) beta: Vec<T>,
    pub(super) weight: Vec<T>,
}

/// Of a thread on the way back.
struct Scratch<'a, T> {
    wide: Wide<'a, T>,
    transposed: Transposed<'a, T>,
    gradient: WeightGradient<'a, T>,
}

impl<'a, T: Scalar> Scratch<'a, T> {
    fn new(layer: &'a Layer<T>) -> Self {
        Self {
            wide: Wide::new(&layer.loops),
            transposed: Transposed::new(&layer.loops),
            gradient: WeightGradient::new(&layer.loops),
        }
    }

    /// Writes the gradients of a channel and returns those of its scale and shift.
    fn pull<'b>(
        &mut self,
        planes: impl Iterator<Item = (Saved<'b, T>, &'b mut [MaybeUninit<T>])>,
        kernel: Channel<T>,
        (map, through): (Map<T>, T),
        dw: Option<&mut [T]>,
    ) -> (T, T) {
        let mut totals = Totals::default();
        let mut written = vec![];
        for (Saved { x, dy }, dx) in planes {
            self.wide.fill(dy);
            if dw.is_some() {
                self.gradient.add(x, Some(map), &self.wide);
            }
            let dx = self.transposed.run(&self.wide, kernel, dx);
            map.add_sums(Saved { x, dy: dx }, &mut totals);
            written.push((x, dx));
        }
        if let Some(dw) = dw {
            self.gradient.take(dw);
        }
        map.pull(written.into_iter(), totals.sums(), through)
    }
}
