//! A padded image cut so that the outputs of any stride are neighbours.
//!
//! There are `s_h·s_w` phases: every s-th row and column. A tap of the kernel is then a phase and one
//! offset into its flattened rows.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::geometry::Geometry;
use crate::activation::clamp;
use crate::batch_norm::cpu::Map;
use crate::prefetch::ahead;
use crate::rows;
use crate::simd::{Kernel, Scalar, dispatch};
pub(super) use crate::turn::LANES;

/// Bytes of a page.
const PAGE: usize = 4096;

/// Where the taps of a kernel lie in the flattened phases.
pub(super) struct Phases {
    /// Width of every phase's row.
    pub(super) width: usize,
    /// Length of a phase, rounded up so that a whole vector may be read at any tap.
    pub(super) len: usize,
    /// Outputs, with the columns that are thrown away.
    pub(super) outputs: usize,
    /// The largest offset.
    pub(super) reach: usize,
    /// For each tap its phase and offset.
    pub(super) taps: Vec<(usize, usize)>,
    /// Where the columns `x, x + s, …` of an image row lie, for every `x` below the stride.
    columns: Vec<Range<usize>>,
}

impl Phases {
    pub(super) fn new(g: &Geometry) -> Self {
        let (s, d) = (g.config.stride, g.config.dilation);
        let width = Self::width_of(g);
        let tap = |t: usize| {
            let (u, v) = (t / g.kernel.1 * d.0, t % g.kernel.1 * d.1);
            (u % s.0 * s.1 + v % s.1, u / s.0 * width + v / s.1)
        };
        let taps: Vec<_> = (0..g.kernel.0 * g.kernel.1).map(tap).collect();
        let reach = taps.iter().map(|t| t.1).max().unwrap_or(0);
        let outputs = (g.output.0 * width).next_multiple_of(LANES);
        let rows = g.padded().0.div_ceil(s.0);
        let len = spread((rows * width).max(reach + outputs));
        Self {
            width,
            len,
            outputs,
            reach,
            taps,
            columns: Self::columns_of(g, len),
        }
    }

    fn columns_of(g: &Geometry, len: usize) -> Vec<Range<usize>> {
        let (step, width) = (g.config.stride.1, g.input.1);
        let run = |x: usize| {
            let place = Place::of(g.config.padding.left + x, step);
            let start = place.phase * len + place.index;
            start..start + (width - x).div_ceil(step)
        };
        (0..step.min(width)).map(run).collect()
    }

    /// At stride 1 the padding on the left of a row serves as that on the right of the row before.
    fn width_of(g: &Geometry) -> usize {
        let p = g.config.padding;
        match g.config.stride.1 {
            1 => (g.input.1 + p.left.max(p.right)).max(g.output.1),
            step => g.padded().1.div_ceil(step),
        }
    }

    /// Where each tap starts to read.
    pub(super) fn starts(&self) -> Vec<usize> {
        let start = |&(phase, offset): &(usize, usize)| phase * self.len + offset;
        self.taps.iter().map(start).collect()
    }

    pub(super) fn count(g: &Geometry) -> usize {
        g.config.stride.0 * g.config.stride.1
    }

    pub(super) fn buffer<T: Scalar>(&self, g: &Geometry) -> Vec<T> {
        vec![T::zero(); Self::count(g) * self.len]
    }

    /// For every row of the image where it starts in the buffer: its columns `x, x + s, …` are the
    /// elements from there on in the range `self.columns[x]`.
    #[inline(always)]
    fn starts_of_rows(&self, g: &Geometry) -> impl Iterator<Item = usize> {
        let (len, width, s) = (self.len, self.width, g.config.stride);
        let mut down = Place::of(g.config.padding.top, s.0);
        std::iter::repeat_with(move || {
            let start = down.phase * s.1 * len + down.index * width;
            down.advance(s.0);
            start
        })
    }

    /// Writes an image, or what a norm makes of it, into the phases; the padding is never written and
    /// stays zero.
    pub(super) fn split<T: Scalar>(
        &self,
        g: &Geometry,
        plane: &[T],
        norm: Option<Map<T>>,
        buffer: &mut [T],
    ) {
        dispatch(Split {
            phases: self,
            g,
            plane,
            norm,
            buffer,
        });
    }

    /// The inverse of [`split`](Self::split), dropping the padding: writes all of the plane.
    pub(super) fn join<T: Scalar>(&self, g: &Geometry, buffer: &[T], plane: &mut [MaybeUninit<T>]) {
        let phases = self;
        dispatch(Join {
            phases,
            g,
            buffer,
            plane,
        });
    }

    /// Copies the outputs of a plane to rows as wide as a phase's.
    pub(super) fn widen<T: Scalar>(&self, g: &Geometry, plane: &[T], wide: &mut [T]) {
        dispatch(Rows {
            to: (wide, self.width),
            from: (plane, g.output.1),
            store: |x| x,
        });
    }

    /// The inverse of [`widen`](Self::widen): writes all of the plane.
    pub(super) fn narrow<T: Scalar>(&self, g: &Geometry, wide: &[T], plane: &mut [MaybeUninit<T>]) {
        dispatch(Rows {
            to: (plane, g.output.1),
            from: (wide, self.width),
            store: MaybeUninit::new,
        });
    }
}

struct Split<'a, T> {
    phases: &'a Phases,
    g: &'a Geometry,
    plane: &'a [T],
    norm: Option<Map<T>>,
    buffer: &'a mut [T],
}

impl<T: Scalar> Kernel for Split<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        match self.norm {
            None => self.rows(|x| x),
            Some(norm) => {
                let ((scale, shift), bounds) = (norm.line(), norm.bounds);
                self.rows(|x: T| clamp(x.multiply_add::<FMA>(scale, shift), bounds));
            }
        }
    }
}

impl<T: Scalar> Split<'_, T> {
    #[inline(always)]
    fn rows(self, store: impl Fn(T) -> T + Copy) {
        let (rows, columns) = (
            self.plane.chunks_exact(self.g.input.1),
            &self.phases.columns,
        );
        for (row, start) in rows.zip(self.phases.starts_of_rows(self.g)) {
            ahead(row);
            let buffer = &mut self.buffer[start..];
            match columns.as_slice() {
                [all] => rows::copy(&mut buffer[all.clone()], row, store),
                [even, odd] => {
                    let parts = [even.clone(), odd.clone()];
                    if let Ok([even, odd]) = buffer.get_disjoint_mut(parts) {
                        rows::deinterleave(even, odd, row, store);
                    }
                }
                _ => {
                    for (x, to) in columns.iter().enumerate() {
                        let from = row[x..].iter().step_by(columns.len());
                        let to = buffer[to.clone()].iter_mut();
                        to.zip(from).for_each(|(t, x)| *t = store(*x));
                    }
                }
            }
        }
    }
}

struct Join<'a, T> {
    phases: &'a Phases,
    g: &'a Geometry,
    buffer: &'a [T],
    plane: &'a mut [MaybeUninit<T>],
}

impl<T: Scalar> Kernel for Join<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (width, columns) = (self.g.input.1, &self.phases.columns);
        let starts = self.phases.starts_of_rows(self.g);
        for (row, start) in self.plane.chunks_exact_mut(width).zip(starts) {
            ahead(row);
            let buffer = &self.buffer[start..];
            match columns.as_slice() {
                [all] => rows::copy(row, &buffer[all.clone()], MaybeUninit::new),
                [even, odd] => {
                    let (even, odd) = (&buffer[even.clone()], &buffer[odd.clone()]);
                    rows::interleave(row, even, odd, MaybeUninit::new);
                }
                _ => {
                    for (x, from) in columns.iter().enumerate() {
                        let to = row[x..].iter_mut().step_by(columns.len());
                        to.zip(&buffer[from.clone()]).for_each(|(t, x)| {
                            t.write(*x);
                        });
                    }
                }
            }
        }
    }
}

/// Copies rows from one width to another, as many elements of each as both have.
struct Rows<'a, T, U, F> {
    to: (&'a mut [U], usize),
    from: (&'a [T], usize),
    store: F,
}

impl<T: Copy, U: Copy, F: Fn(T) -> U + Copy> Kernel for Rows<'_, T, U, F> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let width = self.to.1.min(self.from.1);
        let rows = self.to.0.chunks_mut(self.to.1);
        for (to, from) in rows.zip(self.from.0.chunks(self.from.1)) {
            // One of the two is a buffer and near, the other a plane.
            ahead(from);
            ahead(to);
            rows::copy(&mut to[..width], &from[..width], self.store);
        }
    }
}

/// A coordinate of a padded image: its phase and its index there.
#[derive(Clone, Copy)]
struct Place {
    phase: usize,
    index: usize,
}

impl Place {
    fn of(coordinate: usize, stride: usize) -> Self {
        Self {
            phase: coordinate % stride,
            index: coordinate / stride,
        }
    }

    /// To the next coordinate, without a division.
    fn advance(&mut self, stride: usize) {
        self.phase += 1;
        if self.phase == stride {
            (self.phase, self.index) = (0, self.index + 1);
        }
    }
}

/// At least `len`, in an odd number of vectors: planes that lie a multiple of a page apart would
/// share a few lines of the cache.
pub(super) fn spread(len: usize) -> usize {
    (len.div_ceil(LANES) | 1) * LANES
}

/// Whether planes of so many pixels lie that far apart.
pub(super) fn crowded<T>(plane: usize) -> bool {
    (plane * size_of::<T>()).is_multiple_of(PAGE)
}
