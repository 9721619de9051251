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

use super::bias::{Affine, start};
use super::geometry::Geometry;
use super::phases::{LANES, Phases, spread};
use crate::host::{room, written};
use crate::simd::{self, Scalar};

/// Output channels whose weights lie together.
pub(super) const PANEL: usize = 4;
/// Output channels of one tile: two panels.
pub(super) const TILE: usize = 2 * PANEL;
/// Pixels of one tile: three vectors.
pub(super) const PIXELS: usize = 3 * LANES;
/// Pixels for which all channels are computed before the next ones: what they read stays near.
const BLOCK: usize = 10 * PIXELS;

pub(super) fn forward<T: Scalar>(g: &Geometry, x: &[T], affine: Affine<T>) -> Vec<T> {
    let phases = Phases::new(g);
    let product = Product {
        channels: g.c_in / g.config.groups,
        place: Place::of(g, Phases::count(g) * phases.len, g.c_in),
        passes: vec![Pass::forward(g, &phases)],
    };
    let layer = Layer {
        batch: g.batch,
        groups: g.config.groups,
        planes: (g.pixels_in(), g.pixels_out()),
        outputs: g.c_out / g.config.groups,
        length: product.length(g),
    };
    let (taps, c_in) = (g.kernel.0 * g.kernel.1, product.channels);
    let weight = |o: usize, c: usize, t: usize| affine.weight[(o * c_in + c) * taps + t];
    layer.run(
        x,
        affine.bias,
        &product,
        weight,
        |plane, channel, from| match product.place {
            Place::Tiles { pitch } => tiles(plane, channel, pitch, from),
            Place::Planes { stride } => {
                phases.split(g, plane, &mut from[channel * stride..][..stride]);
            }
        },
    )
}

pub(super) fn grad_input<T: Scalar>(g: &Geometry, dy: &[T], affine: Affine<T>) -> Vec<T> {
    let phases = Phases::new(g);
    let product = Product {
        channels: g.c_out / g.config.groups,
        // Zeros in front and behind, so that every tap reads inside.
        place: Place::of(g, spread(phases.reach + phases.len + LANES), g.c_out),
        passes: (0..Phases::count(g))
            .map(|phase| Pass::backward(g, &phases, phase))
            .collect(),
    };
    let layer = Layer {
        batch: g.batch,
        groups: g.config.groups,
        planes: (g.pixels_out(), g.pixels_in()),
        outputs: g.c_in / g.config.groups,
        length: product.length(g),
    };
    let (taps, c_in, c_out) = (g.kernel.0 * g.kernel.1, layer.outputs, product.channels);
    let weight = |c: usize, o: usize, t: usize| {
        let (group, c) = (c / c_in, c % c_in);
        affine.weight[((group * c_out + o) * c_in + c) * taps + t]
    };
    layer.run(
        dy,
        affine.bias,
        &product,
        weight,
        |plane, channel, from| match product.place {
            Place::Tiles { pitch } => tiles(plane, channel, pitch, from),
            Place::Planes { stride } => {
                let wide = &mut from[channel * stride + phases.reach..][..phases.len];
                phases.widen(g, plane, wide);
            }
        },
    )
}

/// Where the channels lie that a product reads.
#[derive(Clone, Copy)]
enum Place {
    /// One plane after the other, `stride` apart.
    Planes { stride: usize },
    /// A 1×1 kernel reads each pixel once: the channels of [`PIXELS`] pixels lie together, in order.
    Tiles { pitch: usize },
}

impl Place {
    fn of(g: &Geometry, stride: usize, channels: usize) -> Self {
        match g.is_pointwise() {
            true => Self::Tiles {
                pitch: channels / g.config.groups * PIXELS,
            },
            false => Self::Planes { stride },
        }
    }
}

fn tiles<T: Scalar>(plane: &[T], channel: usize, pitch: usize, to: &mut [T]) {
    for (pixels, tile) in plane.chunks(PIXELS).zip(to.chunks_exact_mut(pitch)) {
        tile[channel * PIXELS..][..pixels.len()].copy_from_slice(pixels);
    }
}

/// How the sums over input channels and taps are taken.
pub(super) trait Method: Sync {
    /// The weights `(group, output, channel, tap)` in the order in which they are read, pass by pass.
    fn pack<T: Scalar>(
        &self,
        sizes: (usize, usize),
        weight: impl Fn(usize, usize, usize) -> T + Sync,
    ) -> Vec<Vec<T>>;

    /// Writes every element of the planes `y` of some channels of a group, from the first one on.
    fn run<T: Scalar>(
        &self,
        from: &[T],
        weights: &[Vec<T>],
        outputs: usize,
        channels: (usize, usize),
        bias: Option<&[T]>,
        y: (&mut [MaybeUninit<T>], usize),
    );
}

/// Sizes of what goes in and what comes out.
pub(super) struct Layer {
    pub(super) batch: usize,
    pub(super) groups: usize,
    /// Pixels of a channel that goes in and of one that comes out.
    pub(super) planes: (usize, usize),
    /// Output channels of a group.
    pub(super) outputs: usize,
    /// Of the buffer that one group of one image is laid out in.
    pub(super) length: usize,
}

impl Layer {
    pub(super) fn run<T: Scalar>(
        &self,
        x: &[T],
        bias: Option<&[T]>,
        method: &impl Method,
        weight: impl Fn(usize, usize, usize) -> T + Sync,
        lay_out: impl Fn(&[T], usize, &mut [T]) + Sync,
    ) -> Vec<T> {
        let (outputs, (plane_in, plane_out)) = (self.outputs, self.planes);
        let count = self.batch * self.groups * outputs * plane_out;
        if count == 0 || x.is_empty() {
            let mut y = vec![T::zero(); count];
            start(&mut y, bias, plane_out);
            return y;
        }
        let mut y = room(count);
        let weights = method.pack((self.groups, outputs), weight);
        let tasks = self.batch * self.groups;
        let part = self.channels_of_a_part(tasks);
        y.par_chunks_mut(outputs * plane_out)
            .zip(x.par_chunks(x.len() / tasks))
            .enumerate()
            .with_min_len(tasks.div_ceil(4 * rayon::current_num_threads()))
            .for_each_init(
                || vec![T::zero(); self.length],
                |from, (i, (y, x))| {
                    for (channel, plane) in x.chunks_exact(plane_in).enumerate() {
                        lay_out(plane, channel, from);
                    }
                    let group = i % self.groups;
                    let parts = y.par_chunks_mut(part * plane_out).enumerate();
                    parts.for_each(|(i, y)| {
                        let channels = (group, i * part);
                        let bias = bias.map(|bias| &bias[group * outputs + channels.1..]);
                        method.run(from, &weights, outputs, channels, bias, (y, plane_out));
                    });
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
struct Product {
    /// Input channels of a group.
    channels: usize,
    place: Place,
    passes: Vec<Pass>,
}

impl Product {
    /// Of the buffer that the channels of a group are laid out in.
    fn length(&self, g: &Geometry) -> usize {
        match self.place {
            Place::Planes { stride } => self.channels * stride,
            Place::Tiles { pitch } => g.pixels_in().div_ceil(PIXELS) * pitch,
        }
    }

    /// From a tile of pixels to the next.
    fn pitch(&self) -> usize {
        match self.place {
            Place::Planes { .. } => PIXELS,
            Place::Tiles { pitch } => pitch,
        }
    }

    /// Where each channel and tap starts to read.
    fn offsets(&self, pass: &Pass) -> Vec<usize> {
        match self.place {
            Place::Tiles { .. } => (0..self.channels).map(|c| c * PIXELS).collect(),
            Place::Planes { stride } => (0..self.channels)
                .flat_map(|c| pass.taps.iter().map(move |tap| c * stride + tap.1))
                .collect(),
        }
    }
}

impl Method for Product {
    /// For each pass the weights in panels: `(group, panel, channel, tap, output of the panel)`.
    fn pack<T: Scalar>(
        &self,
        sizes: (usize, usize),
        weight: impl Fn(usize, usize, usize) -> T + Sync,
    ) -> Vec<Vec<T>> {
        let pack = |pass: &Pass| {
            let taps = pass.taps.len();
            panels(sizes, self.channels * taps, |o, i| {
                weight(o, i / taps, pass.taps[i % taps].0)
            })
        };
        self.passes.iter().map(pack).collect()
    }

    fn run<T: Scalar>(
        &self,
        from: &[T],
        weights: &[Vec<T>],
        outputs: usize,
        (group, first): (usize, usize),
        bias: Option<&[T]>,
        (y, plane): (&mut [MaybeUninit<T>], usize),
    ) {
        let panels = outputs.next_multiple_of(TILE) / PANEL;
        let mut sums = vec![T::zero(); TILE * BLOCK];
        for (pass, weights) in self.passes.iter().zip(weights) {
            let offsets = self.offsets(pass);
            let size = TILE * offsets.len();
            let weights = &weights[(group * panels + first / PANEL) * offsets.len() * PANEL..];
            let (start, end) = pass.target.range();
            let pitch = self.pitch();
            let mut at = start;
            while at < end {
                let len = (end - at).next_multiple_of(LANES).min(BLOCK);
                for (tile, y) in y.chunks_mut(TILE * plane).enumerate() {
                    simd::run(Sums {
                        out: &mut sums,
                        stride: BLOCK,
                        len,
                        from: &from[start + (at - start) / PIXELS * pitch..],
                        pitch,
                        offsets: &offsets,
                        weights: &weights[tile * size..][..size],
                        bias: bias_of_tile(bias, tile),
                    });
                    for (sums, y) in sums.chunks_exact(BLOCK).zip(y.chunks_exact_mut(plane)) {
                        pass.target.write(at, &sums[..len.min(end - at)], y);
                    }
                }
                at += len;
            }
        }
    }
}

/// The weights `(output, term of its sum)` in panels: `(group, panel, term, output of the panel)`.
pub(super) fn panels<T: Scalar>(
    (groups, outputs): (usize, usize),
    terms: usize,
    weight: impl Fn(usize, usize) -> T + Sync,
) -> Vec<T> {
    let panels = outputs.next_multiple_of(TILE) / PANEL;
    let size = terms * PANEL;
    let mut packed = vec![T::zero(); groups * panels * size];
    let each = packed.par_chunks_mut(size.max(1)).enumerate();
    each.for_each(|(i, panel)| {
        let (group, first) = (i / panels, i % panels * PANEL);
        let (lanes, o) = (outputs.saturating_sub(first), group * outputs + first);
        for (term, to) in panel.chunks_exact_mut(PANEL).enumerate() {
            let lanes = to.iter_mut().take(lanes).enumerate();
            lanes.for_each(|(lane, to)| *to = weight(o + lane, term));
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
pub(super) struct Sums<'a, T> {
    pub(super) out: &'a mut [T],
    /// From an output to the next.
    pub(super) stride: usize,
    pub(super) len: usize,
    pub(super) from: &'a [T],
    /// From a tile of pixels in `from` to the next.
    pub(super) pitch: usize,
    pub(super) offsets: &'a [usize],
    pub(super) weights: &'a [T],
    pub(super) bias: [T; TILE],
}

impl<T: Scalar> WithSimd for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = T::lanes::<S>();
        for (tile, start) in (0..self.len).step_by(PIXELS).enumerate() {
            let base = tile * self.pitch;
            let pixels = PIXELS.min(self.len - start);
            let mut first = 0;
            while first + 3 * lanes <= pixels {
                self.panels::<S, 3>(simd, base + first, start + first);
                first += 3 * lanes;
            }
            while first < pixels {
                self.panels::<S, 1>(simd, base + first, start + first);
                first += lanes;
            }
        }
    }
}

impl<T: Scalar> Sums<'_, T> {
    /// Both panels at once where the registers hold their sums.
    #[inline(always)]
    fn panels<S: Simd, const V: usize>(&mut self, simd: S, from: usize, out: usize) {
        if S::REGISTER_COUNT >= 32 {
            self.tile::<S, 2, V>(simd, (from, out), 0);
        } else {
            self.tile::<S, 1, V>(simd, (from, out), 0);
            self.tile::<S, 1, V>(simd, (from, out), 1);
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const P: usize, const V: usize>(
        &mut self,
        simd: S,
        (from, out): (usize, usize),
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
        for (k, offset) in self.offsets.iter().enumerate() {
            let x = &self.from[offset + from..][..V * T::lanes::<S>()];
            let x = T::vectors::<S>(x);
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
        for (o, sum) in sums.as_flattened().iter().enumerate() {
            let out = &mut self.out[(panel * PANEL + o) * self.stride + out..];
            T::vectors_mut::<S>(&mut out[..V * T::lanes::<S>()]).copy_from_slice(sum);
        }
    }
}
