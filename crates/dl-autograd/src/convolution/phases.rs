//! A padded image cut so that the outputs of any stride are neighbours.
//!
//! There are `s_h·s_w` phases: every s-th row and column. A tap of the kernel is then a phase and one
//! offset into its flattened rows.

use std::mem::MaybeUninit;

use super::geometry::Geometry;
use crate::simd::Scalar;

/// Elements of one vector of f32, the unit in which buffers are laid out.
pub(super) const LANES: usize = 16;

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
        Self {
            width,
            len: spread((rows * width).max(reach + outputs)),
            outputs,
            reach,
            taps,
        }
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

    /// Calls `f(start in the plane, start in the buffer, length)` for runs of one image row that
    /// are `stride` apart in the plane and neighbours in the buffer.
    pub(super) fn for_runs(&self, g: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
        let (s, p, (h, w)) = (g.config.stride, g.config.padding, g.input);
        let (left, length) = (Place::of(p.left, s.1), Place::of(w, s.1));
        let mut down = Place::of(p.top, s.0);
        for y in 0..h {
            let mut across = left;
            for x in 0..s.1.min(w) {
                let phase = down.phase * s.1 + across.phase;
                let to = phase * self.len + down.index * self.width + across.index;
                f(y * w + x, to, length.index + usize::from(x < length.phase));
                across.advance(s.1);
            }
            down.advance(s.0);
        }
    }

    /// Writes an image into the phases; the padding is never written and stays zero.
    pub(super) fn split<T: Scalar>(&self, g: &Geometry, plane: &[T], phases: &mut [T]) {
        let step = g.config.stride.1;
        self.for_runs(g, |from, to, n| {
            let to = &mut phases[to..to + n];
            if step == 1 {
                to.copy_from_slice(&plane[from..from + n]);
            } else if step == 2 {
                let (pairs, last) = plane[from..].as_chunks::<2>();
                to.iter_mut().zip(pairs).for_each(|(t, x)| *t = x[0]);
                if let ([.., to], [x]) = (&mut to[pairs.len().min(n)..], last) {
                    *to = *x;
                }
            } else {
                let from = plane[from..].iter().step_by(step);
                to.iter_mut().zip(from).for_each(|(t, x)| *t = *x);
            }
        });
    }

    /// The inverse of [`split`](Self::split), dropping the padding: writes all of the plane.
    pub(super) fn join<T: Scalar>(&self, g: &Geometry, phases: &[T], plane: &mut [MaybeUninit<T>]) {
        let step = g.config.stride.1;
        self.for_runs(g, |to, from, n| {
            let to = plane[to..].iter_mut().step_by(step);
            to.zip(&phases[from..from + n]).for_each(|(t, x)| {
                t.write(*x);
            });
        });
    }

    /// Copies the outputs of a plane to rows as wide as a phase's.
    pub(super) fn widen<T: Scalar>(&self, g: &Geometry, plane: &[T], wide: &mut [T]) {
        for (from, to) in plane
            .chunks_exact(g.output.1)
            .zip(wide.chunks_mut(self.width))
        {
            to[..from.len()].copy_from_slice(from);
        }
    }

    /// The inverse of [`widen`](Self::widen): writes all of the plane.
    pub(super) fn narrow<T: Scalar>(&self, g: &Geometry, wide: &[T], plane: &mut [MaybeUninit<T>]) {
        for (to, from) in plane
            .chunks_exact_mut(g.output.1)
            .zip(wide.chunks(self.width))
        {
            to.write_copy_of_slice(&from[..to.len()]);
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
