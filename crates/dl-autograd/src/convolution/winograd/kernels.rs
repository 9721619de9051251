//! Kernels, transformed, and the gradients of kernels.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::super::phases::LANES;
use super::transform::{self, POSITIONS};
use crate::host::{room, written, zeros};
use crate::simd::{self, Scalar};
use crate::turn::Turn;

/// Output channels whose weights lie together.
pub(super) const PANEL: usize = 2 * LANES;

/// The weights of a convolution, or of the way back through it.
#[derive(Clone, Copy)]
pub(super) struct Kernels<'a, T> {
    pub(super) weight: &'a [T],
    /// On the side of a kernel.
    pub(super) side: usize,
    pub(super) groups: usize,
    /// Of a group.
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Whether they are those of the way back: input channels lie outside, and kernels are turned by 180°.
    pub(super) back: bool,
}

/// `G g Gᵀ` as `(group, panel of outputs, position, input, output of the panel)`.
pub(super) struct Transformed<T> {
    values: Vec<T>,
    inputs: usize,
    /// Outputs of a group in whole vectors.
    width: usize,
}

impl<T: Scalar> Transformed<T> {
    /// At a position, for the outputs of a panel, of which there are as many as the second value says.
    pub(super) fn at(&self, group: usize, panel: usize, position: usize) -> (&[T], usize) {
        let size = POSITIONS * self.inputs;
        let width = PANEL.min(self.width - panel * PANEL);
        let start = (group * self.width + panel * PANEL) * size + position * self.inputs * width;
        (&self.values[start..][..self.inputs * width], width)
    }
}

impl<T: Scalar> Kernels<'_, T> {
    pub(super) fn transformed(&self) -> Transformed<T> {
        let width = self.outputs.next_multiple_of(LANES);
        let size = POSITIONS * self.inputs;
        let mut values = room(self.groups * width * size);
        values
            .par_chunks_mut(width * size)
            .enumerate()
            .for_each(|(group, values)| {
                let panels = values.par_chunks_mut(PANEL * size).enumerate();
                panels.for_each(|(panel, to)| {
                    let to = zeros(to);
                    match self.side {
                        3 => self.panel::<3>((group, panel), to),
                        _ => self.panel::<5>((group, panel), to),
                    }
                });
            });
        // SAFETY: the panels are all of it, and each was filled.
        let values = unsafe { written(values) };
        Transformed {
            values,
            inputs: self.inputs,
            width,
        }
    }

    fn panel<const K: usize>(&self, (group, panel): (usize, usize), to: &mut [T]) {
        let width = to.len() / (POSITIONS * self.inputs);
        let weight = &self.weight[group * self.inputs * self.outputs * K * K..];
        for first in (0..width).step_by(LANES) {
            let output = panel * PANEL + first;
            for input in 0..self.inputs {
                let (start, stride) = match self.back {
                    false => (output * self.inputs + input, self.inputs),
                    true => (input * self.outputs + output, 1),
                };
                let lines = LANES.min(self.outputs - output);
                let turn = Turn::flat(lines, stride * K * K, LANES);
                let mut taps = [[T::zero(); LANES]; 32];
                let weight = &weight[start * K * K..];
                turn.gather_over(weight, K * K, taps.as_flattened_mut());
                if self.back {
                    taps[..K * K].reverse();
                }
                simd::run(Forth::<T, K> {
                    taps: &taps,
                    to: &mut to[input * width + first..],
                    pitch: self.inputs * width,
                });
            }
        }
    }
}

/// [`LANES`] kernels to their positions.
struct Forth<'a, T, const K: usize> {
    taps: &'a [[T; LANES]],
    to: &'a mut [T],
    pitch: usize,
}

impl<T: Scalar, const K: usize> WithSimd for Forth<'_, T, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = T::lanes::<S>();
        for i in (0..LANES).step_by(lanes) {
            let mut g = [[T::splat(simd, T::zero()); K]; K];
            for (g, taps) in g.as_flattened_mut().iter_mut().zip(self.taps) {
                *g = T::vectors::<S>(&taps[i..i + lanes])[0];
            }
            let u = transform::kernel::<T, S, K>(simd, g);
            for (position, u) in u.as_flattened().iter().enumerate() {
                let to = &mut self.to[position * self.pitch + i..][..lanes];
                T::vectors_mut::<S>(to)[0] = *u;
            }
        }
    }
}

/// The sums of a group, `(task of so many channels, position, channel, output)`, from which the gradient of
/// its kernels follows.
pub(super) struct Gradients<'a, T> {
    pub(super) sums: &'a [T],
    /// On the side of a kernel.
    pub(super) side: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) channels: usize,
}

impl<T: Scalar> Gradients<'_, T> {
    /// `Gᵀ u G` as `(output, input, tap)`.
    pub(super) fn write(&self, dw: &mut [T]) {
        let taps = self.side * self.side;
        let blocks = dw.par_chunks_mut(LANES * self.inputs * taps).enumerate();
        blocks.for_each(|(block, dw)| match self.side {
            3 => self.block::<3>(block * LANES, dw),
            _ => self.block::<5>(block * LANES, dw),
        });
    }

    /// Of [`LANES`] outputs.
    fn block<const K: usize>(&self, first: usize, dw: &mut [T]) {
        let (inputs, width) = (self.inputs, self.outputs.next_multiple_of(LANES));
        let size = inputs * K * K;
        let turn = Turn::flat(dw.len() / size, size, LANES);
        for input in 0..inputs {
            let task = input / self.channels * self.channels;
            let rows = self.channels.min(inputs - task);
            let at = task * POSITIONS * width + (input - task) * width + first;
            let mut taps = [[T::zero(); LANES]; 32];
            simd::run(Back::<T, K> {
                from: &self.sums[at..],
                pitch: rows * width,
                taps: &mut taps,
            });
            let to = &mut dw[input * K * K..];
            turn.scatter_over(taps.as_flattened(), K * K, to);
        }
    }
}

/// The sums of [`LANES`] kernels to their taps.
struct Back<'a, T, const K: usize> {
    from: &'a [T],
    pitch: usize,
    taps: &'a mut [[T; LANES]],
}

impl<T: Scalar, const K: usize> WithSimd for Back<'_, T, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = T::lanes::<S>();
        for i in (0..LANES).step_by(lanes) {
            let mut u = [[T::splat(simd, T::zero()); transform::SIDE]; transform::SIDE];
            for (position, u) in u.as_flattened_mut().iter_mut().enumerate() {
                let from = &self.from[position * self.pitch + i..][..lanes];
                *u = T::vectors::<S>(from)[0];
            }
            let g = transform::kernel_gradient::<T, S, K>(simd, u);
            for (taps, g) in self.taps.iter_mut().zip(g.as_flattened()) {
                T::vectors_mut::<S>(&mut taps[i..i + lanes])[0] = *g;
            }
        }
    }
}
