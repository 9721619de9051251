//! Convolution and its input gradient without unfolding: direct, with the lanes along the pixels.
//!
//! With `from` the [phases](super::phases) of all channels, or the outputs' gradient in rows as wide as
//! theirs, both are
//!
//! ```text
//! out[o, i] = b_o + Σ_c Σ_t w[o, c, t] · from[c, start_t + i]
//! ```
//!
//! A tile of eight channels by three vectors of pixels stays in registers over the whole sum, which
//! runs in one order whatever the number of threads. The columns between the end of an output row and
//! the end of a phase's row are computed and thrown away, which costs the share of the padding.

use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::bias::{Affine, alone};
use super::geometry::Geometry;
use super::op::Direction;
use super::phases::{LANES, Phases, spread};
use crate::batch_norm::cpu::Map;
use crate::host::{room, written};
use crate::simd::{self, Scalar};

/// Output channels whose weights lie together.
pub(super) const PANEL: usize = 4;
/// Output channels of one tile: two panels.
pub(super) const TILE: usize = 2 * PANEL;
/// Pixels of one tile: three vectors.
pub(super) const PIXELS: usize = 3 * LANES;
/// Pixels for which all channels are computed before the next ones: what they read stays near.
pub(super) const BLOCK: usize = 10 * PIXELS;

/// Of `x` itself or of what a norm makes of its channels.
pub(super) fn forward<T: Scalar>(
    g: &Geometry,
    x: &[T],
    norm: Option<&[Map<T>]>,
    affine: Affine<T>,
) -> Vec<T> {
    let phases = Phases::new(g);
    let product = Product {
        g,
        norm,
        direction: Direction::Forward,
        channels: g.c_in / g.config.groups,
        stride: Phases::count(g) * phases.len,
        passes: vec![Pass::forward(g, &phases)],
        phases,
    };
    let layer = Layer::new(g, product.direction, product.channels * product.stride);
    let weights = Weights::new(g, product.direction, affine.weight);
    layer.run(x, affine.bias, &product, weights)
}

pub(super) fn grad_input<T: Scalar>(g: &Geometry, dy: &[T], affine: Affine<T>) -> Vec<T> {
    let phases = Phases::new(g);
    let product = Product {
        g,
        norm: None,
        direction: Direction::Transposed,
        channels: g.c_out / g.config.groups,
        // Zeros in front and behind, so that every tap reads inside.
        stride: spread(phases.reach + phases.len + LANES),
        passes: (0..Phases::count(g))
            .map(|phase| Pass::backward(g, &phases, phase))
            .collect(),
        phases,
    };
    let layer = Layer::new(g, product.direction, product.channels * product.stride);
    let weights = Weights::new(g, product.direction, affine.weight);
    layer.run(dy, affine.bias, &product, weights)
}

/// How the sums over input channels and taps are taken.
pub(super) trait Method<T: Scalar>: Sync {
    /// What a thread needs besides the buffer.
    type Scratch;

    /// For at most so many output channels.
    fn scratch(&self, channels: usize) -> Self::Scratch;

    /// The weights in the order in which they are read, pass by pass.
    fn pack(&self, sizes: (usize, usize), weights: Weights<T>) -> Vec<Vec<T>>;

    /// The channels of a group of one image as [`run`](Self::run) reads them, in the buffer if
    /// need be.
    fn lay_out<'a>(&self, x: &'a [T], group: usize, buffer: &'a mut [T]) -> &'a [T];

    /// Writes every element of the planes `y` of some channels of every image.
    fn run(&self, part: &Part<T>, y: (&mut [MaybeUninit<T>], usize), scratch: &mut Self::Scratch);
}

/// Output channels of one group, from the first one on.
pub(super) struct Part<'a, T> {
    pub(super) from: &'a [T],
    pub(super) weights: &'a [Vec<T>],
    pub(super) group: usize,
    pub(super) first: usize,
    /// Of the whole group.
    pub(super) outputs: usize,
    /// From that of the first channel on.
    pub(super) bias: Option<&'a [T]>,
}

impl<T> Part<'_, T> {
    fn of<'a>(&'a self, from: &'a [T], group: usize, first: usize) -> Part<'a, T> {
        let bias = self.bias.map(|bias| &bias[group * self.outputs + first..]);
        Part {
            from,
            group,
            first,
            bias,
            ..*self
        }
    }

    /// Number of the first panel among those of all groups.
    pub(super) fn panel(&self) -> usize {
        (self.group * self.outputs.next_multiple_of(TILE) + self.first) / PANEL
    }
}

/// Sizes of what comes out, and of what it is computed in.
pub(super) struct Layer {
    batch: usize,
    groups: usize,
    /// Pixels of a channel that comes out.
    plane: usize,
    /// Output channels of a group.
    outputs: usize,
    /// Images that are computed together, of one group.
    pub(super) images: usize,
    /// Of the buffer that one group of one image is laid out in.
    length: usize,
}

impl Layer {
    /// Of the way through a geometry, with a buffer of so many elements.
    pub(super) fn new(g: &Geometry, direction: Direction, length: usize) -> Self {
        let (channels, plane) = match direction {
            Direction::Forward => (g.c_out, g.pixels_out()),
            Direction::Transposed => (g.c_in, g.pixels_in()),
        };
        Self {
            batch: g.batch,
            groups: g.config.groups,
            plane,
            outputs: channels / g.config.groups,
            images: 1,
            length,
        }
    }

    pub(super) fn run<T: Scalar>(
        &self,
        x: &[T],
        bias: Option<&[T]>,
        method: &impl Method<T>,
        weights: Weights<T>,
    ) -> Vec<T> {
        let (outputs, plane) = (self.outputs, self.plane);
        let count = self.batch * self.groups * outputs * plane;
        if count == 0 || x.is_empty() {
            return alone(count, bias, plane);
        }
        let mut y = room(count);
        let weights = method.pack((self.groups, outputs), weights);
        let image = x.len() / (self.batch * self.groups);
        let tasks = (self.batch * self.groups).div_ceil(self.images);
        let channels = self.channels_of_a_part(tasks);
        let all = Part {
            from: x,
            weights: &weights,
            group: 0,
            first: 0,
            outputs,
            bias,
        };
        y.par_chunks_mut(self.images * outputs * plane)
            .zip(x.par_chunks(self.images * image))
            .enumerate()
            .with_min_len(tasks.div_ceil(4 * rayon::current_num_threads()))
            .for_each_init(
                || (vec![T::zero(); self.length], method.scratch(channels)),
                |(buffer, scratch), (i, (y, x))| {
                    let group = i % self.groups;
                    let from = method.lay_out(x, group, buffer);
                    if channels >= outputs {
                        return method.run(&all.of(from, group, 0), (y, plane), scratch);
                    }
                    y.par_chunks_mut(channels * plane)
                        .enumerate()
                        .for_each_init(
                            || method.scratch(channels),
                            |scratch, (i, y)| {
                                let part = all.of(from, group, i * channels);
                                method.run(&part, (y, plane), scratch);
                            },
                        );
                },
            );
        // SAFETY: the chunks are all of `y`, and a method writes every element of its planes.
        unsafe { written(y) }
    }

    /// All channels of an image are one task unless there are too few images for the threads.
    fn channels_of_a_part(&self, tasks: usize) -> usize {
        let parts = rayon::current_num_threads().div_ceil(tasks);
        self.outputs.div_ceil(parts).next_multiple_of(TILE)
    }
}

/// A grid of results laid end to end in rows of `width`, and where it goes in a plane.
struct Target {
    width: usize,
    step: (usize, usize),
    /// Row and column of the plane at which the grid starts; padding is cut off.
    origin: (isize, isize),
    size: (usize, usize),
}

/// The indices `i < limit` for which `i·step + origin` lies in `0..size`.
fn inside(step: usize, origin: isize, size: usize) -> (usize, usize) {
    let first = (-origin).max(0) as usize;
    let end = (size as isize - origin).max(0) as usize;
    (first.div_ceil(step), end.div_ceil(step))
}

impl Target {
    /// The flat range from the first to the last result that is kept.
    fn range(&self) -> (usize, usize) {
        let (top, bottom) = inside(self.step.0, self.origin.0, self.size.0);
        let (left, right) = inside(self.step.1, self.origin.1, self.size.1);
        if top >= bottom || left >= right {
            return (0, 0);
        }
        (top * self.width + left, (bottom - 1) * self.width + right)
    }

    /// Writes the results from `first` on.
    fn write<T: Scalar>(&self, first: usize, results: &[T], plane: &mut [MaybeUninit<T>]) {
        let (left, right) = inside(self.step.1, self.origin.1, self.size.1);
        let end = first + results.len();
        for row in first / self.width..end.div_ceil(self.width) {
            let start = (row * self.width + left).max(first);
            let stop = (row * self.width + right).min(end);
            if start < stop {
                let from = &results[start - first..stop - first];
                self.write_row(row, start - row * self.width, from, plane);
            }
        }
    }

    fn write_row<T: Scalar>(
        &self,
        row: usize,
        column: usize,
        from: &[T],
        plane: &mut [MaybeUninit<T>],
    ) {
        let y = (row * self.step.0) as isize + self.origin.0;
        let x = (column * self.step.1) as isize + self.origin.1;
        let to = &mut plane[y as usize * self.size.1 + x as usize..];
        if self.step.1 == 1 {
            to[..from.len()].write_copy_of_slice(from);
        } else {
            let to = to.iter_mut().step_by(self.step.1);
            to.zip(from).for_each(|(to, from)| {
                to.write(*from);
            });
        }
    }
}

/// One grid of results and the taps that lead to it.
struct Pass {
    /// Indices of the taps in the kernel, and where each starts to read.
    taps: Vec<(usize, usize)>,
    target: Target,
}

impl Pass {
    fn forward(g: &Geometry, phases: &Phases) -> Self {
        Self {
            taps: phases.starts().into_iter().enumerate().collect(),
            target: Target {
                width: phases.width,
                step: (1, 1),
                origin: (0, 0),
                size: g.output,
            },
        }
    }

    fn backward(g: &Geometry, phases: &Phases, phase: usize) -> Self {
        let (s, p) = (g.config.stride, g.config.padding);
        let of_phase = phases.taps.iter().enumerate().filter(|(_, t)| t.0 == phase);
        let origin = |phase: usize, padding: usize| phase as isize - padding as isize;
        Self {
            taps: of_phase.map(|(i, t)| (i, phases.reach - t.1)).collect(),
            target: Target {
                width: phases.width,
                step: s,
                origin: (origin(phase / s.1, p.top), origin(phase % s.1, p.left)),
                size: g.input,
            },
        }
    }
}

/// The sums over input channels and taps.
struct Product<'a, T> {
    g: &'a Geometry,
    norm: Option<&'a [Map<T>]>,
    phases: Phases,
    direction: Direction,
    /// Input channels of a group, and what lies between two of them in the buffer.
    channels: usize,
    stride: usize,
    passes: Vec<Pass>,
}

impl<T> Product<'_, T> {
    /// Where each channel and tap starts to read.
    fn offsets(&self, pass: &Pass) -> Vec<usize> {
        (0..self.channels)
            .flat_map(|c| pass.taps.iter().map(move |tap| c * self.stride + tap.1))
            .collect()
    }
}

impl<T: Scalar> Method<T> for Product<'_, T> {
    type Scratch = Vec<MaybeUninit<T>>;

    fn scratch(&self, _: usize) -> Self::Scratch {
        room(TILE * BLOCK)
    }

    /// For each pass the weights in panels: `(group, panel, channel, tap, output of the panel)`.
    fn pack(&self, sizes: (usize, usize), weights: Weights<T>) -> Vec<Vec<T>> {
        let pack = |pass: &Pass| {
            let terms = |c| pass.taps.iter().map(move |tap| (c, tap.0));
            let terms: Vec<_> = (0..self.channels).flat_map(terms).collect();
            panels(sizes, &terms, weights)
        };
        self.passes.iter().map(pack).collect()
    }

    fn lay_out<'a>(&self, x: &'a [T], group: usize, buffer: &'a mut [T]) -> &'a [T] {
        let planes = x.chunks_exact(x.len() / self.channels);
        let buffers = buffer.chunks_exact_mut(self.stride).enumerate();
        for (plane, (channel, to)) in planes.zip(buffers) {
            let norm = self.norm.map(|maps| maps[group * self.channels + channel]);
            match self.direction {
                Direction::Forward => self.phases.split(self.g, plane, norm, to),
                Direction::Transposed => {
                    let wide = &mut to[self.phases.reach..][..self.phases.len];
                    self.phases.widen(self.g, plane, wide);
                }
            }
        }
        buffer
    }

    fn run(
        &self,
        part: &Part<T>,
        (y, plane): (&mut [MaybeUninit<T>], usize),
        sums: &mut Self::Scratch,
    ) {
        let mut sums: Vec<_> = sums.chunks_exact_mut(BLOCK).collect();
        for (pass, weights) in self.passes.iter().zip(part.weights) {
            let offsets = self.offsets(pass);
            let size = TILE * offsets.len();
            let weights = &weights[part.panel() * offsets.len() * PANEL..];
            let (start, end) = pass.target.range();
            let mut at = start;
            while at < end {
                let len = (end - at).next_multiple_of(LANES).min(BLOCK);
                for (tile, y) in y.chunks_mut(TILE * plane).enumerate() {
                    simd::run(Sums {
                        out: (&mut sums, 0),
                        len,
                        from: &part.from[at..],
                        pitch: PIXELS,
                        offsets: &offsets,
                        weights: &weights[tile * size..][..size],
                        bias: bias_of_tile(part.bias, tile),
                    });
                    for (sums, y) in sums.iter().zip(y.chunks_exact_mut(plane)) {
                        // SAFETY: `Sums` wrote as many of every line.
                        let sums = unsafe { sums[..len.min(end - at)].assume_init_ref() };
                        pass.target.write(at, sums, y);
                    }
                }
                at += len;
            }
        }
    }
}

/// Of a group, its outputs, the channels that each sums over and their taps, which are neighbours.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a, T> {
    values: &'a [T],
    /// From one to the next.
    group: usize,
    output: usize,
    channel: usize,
}

impl<'a, T> Weights<'a, T> {
    /// Of a convolution or, [`Transposed`](Direction::Transposed), of the way back through it.
    pub(super) fn new(g: &Geometry, direction: Direction, values: &'a [T]) -> Self {
        let (taps, groups) = (g.kernel.0 * g.kernel.1, g.config.groups);
        let row = g.c_in / groups * taps;
        let (output, channel) = match direction {
            Direction::Forward => (row, taps),
            Direction::Transposed => (taps, row),
        };
        Self {
            values,
            group: g.c_out / groups * row,
            output,
            channel,
        }
    }
}

/// The weights of every output and term, a channel and a tap, of its sum in panels:
/// `(group, panel, term, output of the panel)`.
pub(super) fn panels<T: Scalar>(
    (groups, outputs): (usize, usize),
    terms: &[(usize, usize)],
    weights: Weights<T>,
) -> Vec<T> {
    let panels = outputs.next_multiple_of(TILE) / PANEL;
    let size = terms.len() * PANEL;
    let mut packed = vec![T::zero(); groups * panels * size];
    let each = packed.par_chunks_mut(size.max(1)).enumerate();
    each.for_each(|(i, panel)| {
        let (group, first) = (i / panels, i % panels * PANEL);
        let lanes = PANEL.min(outputs.saturating_sub(first));
        if lanes == 0 {
            return;
        }
        let from = &weights.values[group * weights.group + first * weights.output..];
        let place = |&(channel, tap): &(usize, usize)| channel * weights.channel + tap;
        if weights.output == 1 {
            for (to, term) in panel.chunks_exact_mut(PANEL).zip(terms) {
                to[..lanes].copy_from_slice(&from[place(term)..][..lanes]);
            }
            return;
        }
        for lane in 0..lanes {
            let to = panel[lane..].iter_mut().step_by(PANEL);
            for (term, to) in terms.iter().zip(to) {
                *to = from[lane * weights.output + place(term)];
            }
        }
    });
    packed
}

pub(super) fn bias_of_tile<T: Scalar>(bias: Option<&[T]>, tile: usize) -> [T; TILE] {
    let mut starts = [T::zero(); TILE];
    if let Some(bias) = bias {
        starts
            .iter_mut()
            .zip(&bias[tile * TILE..])
            .for_each(|(s, b)| *s = *b);
    }
    starts
}

/// `out[o, i] = bias[o] + Σ_k weights[k, o] · from[offsets[k] + i]` for two panels of outputs.
pub(super) struct Sums<'a, 'b, T> {
    /// A line for each output that is wanted, written from an element on.
    pub(super) out: (&'a mut [&'b mut [MaybeUninit<T>]], usize),
    pub(super) len: usize,
    pub(super) from: &'a [T],
    /// From a tile of pixels in `from` to the next.
    pub(super) pitch: usize,
    pub(super) offsets: &'a [usize],
    pub(super) weights: &'a [T],
    pub(super) bias: [T; TILE],
}

impl<T: Scalar> WithSimd for Sums<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = T::lanes::<S>();
        for (tile, start) in (0..self.len).step_by(PIXELS).enumerate() {
            let base = tile * self.pitch;
            let pixels = PIXELS.min(self.len - start);
            let mut first = 0;
            while first + 3 * lanes <= pixels {
                self.panels::<S, 3, true>(simd, (base + first, start + first), 3 * lanes);
                first += 3 * lanes;
            }
            while first + lanes <= pixels {
                self.panels::<S, 1, true>(simd, (base + first, start + first), lanes);
                first += lanes;
            }
            if first < pixels {
                self.panels::<S, 1, false>(simd, (base + first, start + first), pixels - first);
            }
        }
    }
}

impl<T: Scalar> Sums<'_, '_, T> {
    /// Both panels at once where the registers hold their sums.
    #[inline(always)]
    fn panels<S: Simd, const V: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        at: (usize, usize),
        len: usize,
    ) {
        if S::REGISTER_COUNT >= 32 {
            self.tile::<S, 2, V, WHOLE>(simd, at, len, 0);
        } else {
            self.tile::<S, 1, V, WHOLE>(simd, at, len, 0);
            self.tile::<S, 1, V, WHOLE>(simd, at, len, 1);
        }
    }

    /// `V` whole vectors, or `len` numbers of one.
    #[inline(always)]
    fn tile<S: Simd, const P: usize, const V: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        (from, out): (usize, usize),
        len: usize,
        panel: usize,
    ) {
        let size = self.offsets.len() * PANEL;
        let mut panels = [[].as_slice(); P];
        let mut sums = [[[T::splat(simd, T::zero()); V]; PANEL]; P];
        for (p, (panel_of, sums)) in panels.iter_mut().zip(&mut sums).enumerate() {
            *panel_of = self.weights[(panel + p) * size..][..size].as_chunks().0;
            for (o, sum) in sums.iter_mut().enumerate() {
                *sum = [T::splat(simd, self.bias[(panel + p) * PANEL + o]); V];
            }
        }
        let len = if WHOLE { V * T::lanes::<S>() } else { len };
        for (k, offset) in self.offsets.iter().enumerate() {
            let from = &self.from[offset + from..][..len];
            let mut x = [T::splat(simd, T::zero()); V];
            match WHOLE {
                true => x.copy_from_slice(T::vectors::<S>(from)),
                false => x[0] = T::partial(simd, from),
            }
            for (panel, sums) in panels.iter().zip(&mut sums) {
                let weights: &[T; PANEL] = &panel[k];
                for (w, sum) in weights.iter().zip(sums) {
                    let w = T::splat(simd, *w);
                    for v in 0..V {
                        sum[v] = T::fused(simd, w, x[v], sum[v]);
                    }
                }
            }
        }
        let (lines, first) = &mut self.out;
        let lines = lines.iter_mut().skip(panel * PANEL);
        for (line, sum) in lines.zip(sums.as_flattened()) {
            let out = &mut line[*first + out..][..len];
            if WHOLE {
                T::vectors_of_room::<S>(out).write_copy_of_slice(sum);
            } else {
                let mut last = [T::zero(); LANES];
                T::vectors_mut::<S>(&mut last)[0] = sum[0];
                out.write_copy_of_slice(&last[..len]);
            }
        }
    }
}
