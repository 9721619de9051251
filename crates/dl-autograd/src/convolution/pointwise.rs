//! 1×1 convolutions, with the lanes along the pixels.
//!
//! ```text
//! y[o, pixel] = b_o + Σ_c w[o, c] · x[c, pixel]
//! dw[o, c] = Σ_images Σ_pixels dy[o, pixel] · x[c, pixel]
//! ```
//!
//! The channels of a block of pixels stay near while all outputs are computed of them: where they lie, or put
//! beside each other if a norm makes something else of them, images are small or their planes would share a few
//! lines of the cache. In the weight gradient of small images the lanes lie along the channels of one side, so
//! that no sum is folded across a register; each task has its own channels of the other side and sums in the
//! order of the pixels. The number of threads changes no bit.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::bias::Affine;
use super::direct::{
    self, Layer, Method, PANEL, PIXELS, Part, Sums, Weights, bias_of_tile, panels,
};
use super::geometry::Geometry;
use super::op::Direction;
use super::phases::{LANES, crowded};
use super::pointwise_gradients::Backward;
use super::weight_gradient::{ROWS, Rows, turn_back};
use crate::activation::clamp;
use crate::batch_norm::cpu::{Map, Saved};
use crate::host::{cleared, room, written};
use crate::prefetch::prefetch;
use crate::rows;
use crate::simd::{self, Kernel, Scalar, dispatch};
use crate::turn::Turn;

/// Pixels of the weight gradient's blocks: what they read stays near.
const BLOCK: usize = 5 * PIXELS;
/// Channels that are asked for before they are read.
const AHEAD: usize = 4;

/// Of `x` itself or of what a norm makes of its channels.
pub(super) fn forward<T: Scalar>(
    g: &Geometry,
    x: &[T],
    norm: Option<&[Map<T>]>,
    affine: Affine<T>,
) -> Vec<T> {
    let layer = layer(g, Direction::Forward);
    let method = Pointwise {
        channels: g.c_in / g.config.groups,
        norm,
    };
    let weights = Weights::new(g, Direction::Forward, affine.weight);
    layer.run(x, affine.bias, &method, weights)
}

pub(super) fn grad_input<T: Scalar>(g: &Geometry, dy: &[T], affine: Affine<T>) -> Vec<T> {
    let layer = layer(g, Direction::Transposed);
    let method = Pointwise {
        channels: g.c_out / g.config.groups,
        norm: None,
    };
    let weights = Weights::new(g, Direction::Transposed, affine.weight);
    layer.run(dy, affine.bias, &method, weights)
}

/// Small images are put together, so that fewer lanes are lost where one ends.
fn layer(g: &Geometry, direction: Direction) -> Layer {
    let mut layer = Layer::new(g, direction, 0);
    let of_a_thread = g.batch.div_ceil(rayon::current_num_threads());
    if g.config.groups == 1 && of_a_thread > 0 {
        let most = (direct::BLOCK / g.pixels_in().max(1)).clamp(1, of_a_thread);
        layer.images = of_a_thread.div_ceil(of_a_thread.div_ceil(most));
    }
    layer
}

/// The sums over the input channels of a group.
struct Pointwise<'a, T> {
    channels: usize,
    /// Of the channels of all groups.
    norm: Option<&'a [Map<T>]>,
}

/// A block of pixels of all channels, where it has to be copied, and the sums of a tile of outputs over them.
struct Block<T> {
    channels: Vec<T>,
    sums: Vec<MaybeUninit<T>>,
}

impl<T: Scalar> Method<T> for Pointwise<'_, T> {
    type Scratch = Block<T>;

    fn scratch(&self, _: usize) -> Block<T> {
        Block {
            channels: vec![T::zero(); self.channels * direct::BLOCK],
            sums: room(direct::TILE * direct::BLOCK),
        }
    }

    fn pack(&self, sizes: (usize, usize), weights: Weights<T>) -> Vec<Vec<T>> {
        let terms: Vec<_> = (0..self.channels).map(|c| (c, 0)).collect();
        vec![panels(sizes, &terms, weights)]
    }

    fn lay_out<'a>(&self, x: &'a [T], _: usize, _: &'a mut [T]) -> &'a [T] {
        x
    }

    fn run(
        &self,
        part: &Part<T>,
        (y, plane): (&mut [MaybeUninit<T>], usize),
        Block { channels, sums }: &mut Block<T>,
    ) {
        let weights = &part.weights[0][part.panel() * PANEL * self.channels..];
        let tiles = weights.chunks_exact(direct::TILE * self.channels);
        let pixels = part.from.len() / self.channels;
        let outputs = y.len() / pixels;
        let mut y: Vec<_> = y.chunks_exact_mut(plane).collect();
        let mut sums: Vec<_> = sums.chunks_exact_mut(direct::BLOCK).collect();
        let in_place = self.norm.is_none() && pixels == plane && !crowded::<T>(plane);
        let (stride, pitch) = match in_place {
            true => (plane, PIXELS),
            false => (PIXELS, self.channels * PIXELS),
        };
        let offsets: Vec<usize> = (0..self.channels).map(|c| c * stride).collect();
        for first in (0..pixels).step_by(direct::BLOCK) {
            let block = first..pixels.min(first + direct::BLOCK);
            let from = match in_place {
                true => &part.from[first..],
                false => self.gather(part, plane, &block, channels),
            };
            let rows = (0..outputs).step_by(direct::TILE);
            for (tile, (row, weights)) in rows.zip(tiles.clone()).enumerate() {
                let rows = row..outputs.min(row + direct::TILE);
                let out = match pixels == plane {
                    true => (&mut y[rows.clone()], first),
                    false => (sums.as_mut_slice(), 0),
                };
                simd::run(Sums {
                    out,
                    len: block.len(),
                    from,
                    pitch,
                    offsets: &offsets,
                    weights,
                    bias: bias_of_tile(part.bias, tile),
                });
                if pixels > plane {
                    scatter(&sums, (&block, plane), rows, (&mut y, outputs));
                }
            }
        }
    }
}

impl<T: Scalar> Pointwise<'_, T> {
    /// Puts a block of pixels of every channel beside each other.
    fn gather<'b>(
        &self,
        part: &Part<T>,
        plane: usize,
        block: &Range<usize>,
        to: &'b mut [T],
    ) -> &'b [T] {
        dispatch(Gather {
            x: part.from,
            of_image: self.channels,
            norm: self.norm.map(|maps| &maps[part.group * self.channels..]),
            channels: self.channels,
            plane,
            block: block.clone(),
            to: &mut *to,
        });
        to
    }
}

/// Copies the sums over a block of pixels of several images to the planes of the outputs in `rows`.
fn scatter<T: Scalar>(
    sums: &[&mut [MaybeUninit<T>]],
    (block, plane): (&Range<usize>, usize),
    rows: Range<usize>,
    (y, outputs): (&mut [&mut [MaybeUninit<T>]], usize),
) {
    for (row, sums) in rows.zip(sums) {
        for piece in pieces(block, plane) {
            let y = &mut y[piece.image * outputs + row][piece.pixels.clone()];
            // SAFETY: `Sums` wrote all pixels of the block.
            let sums = unsafe { sums[piece.at..][..y.len()].assume_init_ref() };
            y.write_copy_of_slice(sums);
        }
    }
}

/// Pixels of one image in a block of those of all.
struct Piece {
    image: usize,
    pixels: Range<usize>,
    /// Where they lie in the block.
    at: usize,
}

impl Piece {
    fn len(&self) -> usize {
        self.pixels.len()
    }

    /// Where they lie in `(image, channel, pixel)`.
    #[inline(always)]
    fn start(&self, channels: usize, channel: usize, plane: usize) -> usize {
        (self.image * channels + channel) * plane + self.pixels.start
    }
}

/// Image by image.
#[inline(always)]
fn pieces(block: &Range<usize>, plane: usize) -> impl Iterator<Item = Piece> {
    let (first, end) = (block.start, block.end);
    (first / plane..end.div_ceil(plane)).map(move |image| {
        let start = first.max(image * plane);
        Piece {
            image,
            pixels: start - image * plane..end.min((image + 1) * plane) - image * plane,
            at: start - first,
        }
    })
}

/// Puts a block of pixels of every channel into tiles of [`PIXELS`], `(tile, channel, pixel)`.
struct Gather<'a, T> {
    x: &'a [T],
    /// Channels of an image.
    of_image: usize,
    norm: Option<&'a [Map<T>]>,
    channels: usize,
    plane: usize,
    block: Range<usize>,
    to: &'a mut [T],
}

impl<T: Scalar> Kernel for Gather<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let (block, plane) = (self.block.clone(), self.plane);
        for piece in pieces(&block, plane) {
            for channel in 0..self.channels {
                let row = |channel| {
                    let from = piece.start(self.of_image, channel, plane);
                    &self.x[from..][..piece.len()]
                };
                let from = row(channel);
                prefetch(row((channel + AHEAD).min(self.channels - 1)));
                match self.norm {
                    None => self.put(piece.at, channel, from, |x| x),
                    Some(maps) => {
                        let ((scale, shift), bounds) = (maps[channel].line(), maps[channel].bounds);
                        let normal = |x: T| clamp(x.multiply_add::<FMA>(scale, shift), bounds);
                        self.put(piece.at, channel, from, normal);
                    }
                }
            }
        }
    }
}

impl<T: Scalar> Gather<'_, T> {
    /// From a pixel of the block on.
    #[inline(always)]
    fn put(&mut self, at: usize, channel: usize, from: &[T], store: impl Fn(T) -> T + Copy) {
        let pitch = self.channels * PIXELS;
        let mut to = at / PIXELS * pitch + channel * PIXELS;
        let begun = at % PIXELS;
        let (head, from) = from.split_at(from.len().min((PIXELS - begun) % PIXELS));
        if !head.is_empty() {
            rows::copy(&mut self.to[to + begun..][..head.len()], head, store);
            to += pitch;
        }
        let (whole, rest) = from.as_chunks::<PIXELS>();
        for tile in whole {
            for (to, x) in self.to[to..][..PIXELS].iter_mut().zip(tile) {
                *to = store(*x);
            }
            to += pitch;
        }
        if !rest.is_empty() {
            rows::copy(&mut self.to[to..][..rest.len()], rest, store);
        }
    }
}

/// Of `x` itself or of what a norm makes of its channels.
pub(super) fn grad_weight<T: Scalar>(
    g: &Geometry,
    dy: &[T],
    x: &[T],
    norm: Option<&[Map<T>]>,
) -> Vec<T> {
    let groups = g.config.groups;
    let (c_in, c_out) = (g.c_in / groups, g.c_out / groups);
    let mut dw = vec![T::zero(); g.c_out * c_in];
    if dy.is_empty() || x.is_empty() {
        return dw;
    }
    if let Some(large) = Backward::of(g, Saved { x, dy }, norm) {
        return large.run(None).weight;
    }
    let side = |values, channels, norm| Side {
        g,
        values,
        channels,
        norm,
    };
    let (x, dy) = (side(x, c_in, norm), side(dy, c_out, None));
    // The smaller one is turned over.
    if norm.is_none() && c_in < c_out {
        let sums = dy.products(&x);
        let rows = sums.par_chunks(x.width());
        let each = dw.par_chunks_mut(c_in).zip(rows);
        each.for_each(|(dw, sums)| dw.copy_from_slice(&sums[..c_in]));
    } else {
        let (sums, width) = (x.products(&dy), dy.width());
        dw.par_chunks_mut(c_out * c_in)
            .zip(sums.par_chunks(c_in * width))
            .for_each(|(dw, sums)| turn_back(dw, sums, c_in, width));
    }
    dw
}

/// One of the two tensors `(image, group, channel, pixel)` whose products are the gradient.
struct Side<'a, T> {
    g: &'a Geometry,
    values: &'a [T],
    /// Of a group.
    channels: usize,
    /// Of the channels of all groups.
    norm: Option<&'a [Map<T>]>,
}

impl<T: Scalar> Side<'_, T> {
    /// Channels in whole vectors.
    fn width(&self) -> usize {
        self.channels.next_multiple_of(LANES)
    }

    /// As `(group, image, pixel, channel)`.
    fn turned(&self) -> Vec<T> {
        let (g, pixels, width) = (self.g, self.g.pixels_in(), self.width());
        let mut turned = room(g.batch * g.config.groups * pixels * width);
        let planes = turned.par_chunks_mut(pixels * width).enumerate();
        planes.for_each(|(i, turned)| {
            let (group, image) = (i / g.batch, i % g.batch);
            let from = (image * g.config.groups + group) * self.channels * pixels;
            let turn = Turn::flat(self.channels, pixels, width);
            turn.gather(
                &self.values[from..][..self.channels * pixels],
                pixels,
                turned,
            );
        });
        // SAFETY: the vectors of all channels are whole pixels.
        unsafe { written(turned) }
    }

    /// `Σ_images Σ_pixels self[channel, pixel] · lanes[pixel, lane]` as `(group, channel, lane)`.
    fn products(&self, lanes: &Self) -> Vec<T> {
        let (groups, width, turned) = (self.g.config.groups, lanes.width(), lanes.turned());
        let mut sums = cleared(groups * self.channels * width);
        let tasks = (2 * rayon::current_num_threads()).div_ceil(groups);
        let part = self.channels.div_ceil(tasks).next_multiple_of(ROWS);
        sums.par_chunks_mut(self.channels * width)
            .zip(turned.par_chunks(turned.len() / groups))
            .enumerate()
            .for_each(|(group, (sums, turned))| {
                let parts = sums.par_chunks_mut(part * width).enumerate();
                parts.for_each(|(i, sums)| {
                    self.add(group * self.channels + i * part, turned, (sums, width));
                });
            });
        sums
    }

    /// Adds the products of some channels, from one of all groups on.
    fn add(&self, first: usize, turned: &[T], (sums, width): (&mut [T], usize)) {
        let plane = self.g.pixels_in();
        let (pixels, channels) = (self.g.batch * plane, sums.len() / width);
        let mut from = vec![T::zero(); channels * BLOCK];
        let offsets: Vec<usize> = (0..channels).map(|c| c * PIXELS).collect();
        for start in (0..pixels).step_by(BLOCK) {
            let block = start..pixels.min(start + BLOCK);
            let (lines, rest) = (block.len() / PIXELS, block.len() % PIXELS);
            dispatch(Gather {
                x: &self.values[first * plane..],
                of_image: self.g.config.groups * self.channels,
                norm: self.norm.map(|maps| &maps[first..]),
                channels,
                plane,
                block: block.clone(),
                to: &mut from,
            });
            let lanes = &turned[start * width..][..block.len() * width];
            let (whole, last) = lanes.split_at(lines * PIXELS * width);
            let tiles = [
                (0, whole, (PIXELS, channels * PIXELS)),
                (lines * channels * PIXELS, last, (rest, rest)),
            ];
            for (start, lanes, lines) in tiles.into_iter().filter(|tile| !tile.1.is_empty()) {
                simd::run(Rows {
                    sums,
                    from: &from[start..],
                    offsets: &offsets,
                    dy: lanes,
                    width,
                    lines,
                });
            }
        }
    }
}
