//! The loops of row normalisation: one task for some rows.

use rayon::prelude::*;

use super::{Moments, Rows};
use crate::host::cleared;
use crate::lanes::{column_sums, sums};
use crate::simd::{Kernel, Scalar, dispatch};

/// Elements of one task, at least: small work stays on one thread.
const GRAIN: usize = 8 * 1024;

/// What is kept of a row for backward.
const KEPT: usize = 3;

/// What the op was given. The rows are those of `x`, or of `x + residual`.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a, T> {
    pub x: &'a [T],
    pub residual: Option<&'a [T]>,
    pub weight: &'a [T],
}

impl<'a, T: Scalar> Operands<'a, T> {
    /// The elements from `start` on.
    fn from(self, start: usize, len: usize) -> Self {
        let part = |x: &'a [T]| &x[start..start + len];
        Self {
            x: part(self.x),
            residual: self.residual.map(part),
            ..self
        }
    }

    fn scratch(&self, len: usize) -> Vec<T> {
        vec![T::zero(); self.residual.map_or(0, |_| len)]
    }

    /// Row `i`, made in `scratch` if it is a sum.
    #[inline(always)]
    fn row<'b>(&'b self, i: usize, len: usize, scratch: &'b mut [T]) -> &'b [T] {
        let x = &self.x[i * len..][..len];
        let Some(residual) = self.residual else {
            return x;
        };
        let residual = &residual[i * len..][..len];
        for ((s, x), r) in scratch.iter_mut().zip(x).zip(residual) {
            *s = *x + *r;
        }
        scratch
    }
}

impl Rows {
    /// Rows of one task. It depends on the shape alone, so that no number of threads shows in sums
    /// over rows; where the weight runs along the row, a task is made of whole samples.
    fn of_task(&self, rows: usize) -> usize {
        let few = rows.div_ceil(32).clamp(1, 32);
        let rows = few.max(GRAIN / self.len().max(1));
        match self.plane {
            1 => rows.next_multiple_of(self.groups),
            _ => rows,
        }
    }

    /// Sums for weight and bias that a task of `rows` rows leaves.
    fn left_by_task(&self, rows: usize) -> usize {
        match self.plane {
            1 => self.weights(),
            _ => rows * self.channels,
        }
    }

    /// Where the weights of row `i` start.
    #[inline(always)]
    fn first_weight(&self, i: usize) -> usize {
        i % self.groups * self.channels
    }
}

/// The result, and what backward needs of each row.
pub(super) fn forward<T: Scalar>(
    rows: Rows,
    operands: Operands<T>,
    bias: &[T],
    moments: Moments,
    eps: f64,
) -> (Vec<T>, Vec<T>) {
    let (len, total) = (rows.len(), operands.x.len());
    let mut y = cleared(total);
    let mut kept = vec![T::zero(); total / len.max(1) * KEPT];
    if total == 0 {
        return (y, kept);
    }
    let task = rows.of_task(total / len);
    y.par_chunks_mut(task * len)
        .zip(kept.par_chunks_mut(task * KEPT))
        .enumerate()
        .for_each(|(i, (y, kept))| {
            dispatch(Forward {
                rows,
                first: i * task,
                operands: operands.from(i * task * len, y.len()),
                y,
                kept,
                bias,
                moments,
                eps,
            });
        });
    (y, kept)
}

pub(super) struct Gradients<T> {
    pub x: Vec<T>,
    pub weight: Vec<T>,
    pub bias: Vec<T>,
}

/// Which gradients are computed; those of the others are zeros that no memory was touched for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub x: bool,
    pub weights: bool,
}

/// ```text
/// g = γ·dy      x̂ = (x − μ)·rstd      dγ = Σ dy·x̂      dβ = Σ dy
/// dx = rstd·(g − mean(g) − x̂·mean(g·x̂))          without mean(g) where μ is not subtracted
/// ```
pub(super) fn backward<T: Scalar>(
    rows: Rows,
    operands: Operands<T>,
    kept: &[T],
    dy: &[T],
    moments: Moments,
    wanted: Wanted,
) -> Gradients<T> {
    let (len, total) = (rows.len(), operands.x.len());
    let mut dx = cleared(total);
    if total == 0 {
        return Gradients {
            x: dx,
            weight: vec![T::zero(); rows.weights()],
            bias: vec![T::zero(); rows.weights()],
        };
    }
    let task = rows.of_task(total / len);
    let left = rows.left_by_task(task);
    let all = match rows.plane {
        1 => (total / len).div_ceil(task) * left,
        _ => total / len * rows.channels,
    };
    let (mut dweight, mut dbias) = (vec![T::zero(); all], vec![T::zero(); all]);
    dx.par_chunks_mut(task * len)
        .zip(dweight.par_chunks_mut(left))
        .zip(dbias.par_chunks_mut(left))
        .enumerate()
        .for_each(|(i, ((dx, dweight), dbias))| {
            let start = i * task * len;
            dispatch(Backward {
                rows,
                first: i * task,
                operands: operands.from(start, dx.len()),
                kept: &kept[i * task * KEPT..],
                dy: &dy[start..start + dx.len()],
                dx,
                dweight,
                dbias,
                moments,
                wanted,
            });
        });
    let total = |sums: Vec<T>| match wanted.weights {
        true => column_sums(&sums, rows.weights()),
        false => vec![],
    };
    Gradients {
        x: dx,
        weight: total(dweight),
        bias: total(dbias),
    }
}

/// How a row is normalised: `((x − mean) − rest)·rstd`. The mean is kept as two numbers, because
/// one is too coarse where the deviation is a few units of its last place.
#[derive(Clone, Copy)]
struct Normal<T> {
    mean: T,
    rest: T,
    rstd: T,
}

impl<T: Scalar> Normal<T> {
    #[inline(always)]
    fn of<const FMA: bool>(x: &[T], moments: Moments, eps: f64) -> Self {
        let count = x.len() as f64;
        let centred = matches!(moments, Moments::Both);
        let mean = match centred {
            true => T::from_f64(sums(x, x, |x, _, [s]| [s + x])[0] / count),
            false => T::zero(),
        };
        let [shift, squares] = sums(x, x, |x, _, [s, q]| {
            let d = x - mean;
            [s + d, d.multiply_add::<FMA>(d, q)]
        });
        let rest = if centred { shift / count } else { 0. };
        let variance = squares / count - rest * rest;
        // Rounding can leave a constant row below zero; a NaN must stay one.
        let variance = if variance < 0. { 0. } else { variance };
        Self {
            mean,
            rest: T::from_f64(rest),
            rstd: T::from_f64((variance + eps).sqrt().recip()),
        }
    }

    #[inline(always)]
    fn at(self, x: T) -> T {
        (x - self.mean - self.rest) * self.rstd
    }
}

struct Forward<'a, T> {
    rows: Rows,
    first: usize,
    operands: Operands<'a, T>,
    y: &'a mut [T],
    kept: &'a mut [T],
    bias: &'a [T],
    moments: Moments,
    eps: f64,
}

impl<T: Scalar> Kernel for Forward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (rows, len) = (self.rows, self.rows.len());
        let mut scratch = self.operands.scratch(len);
        let each = self.y.chunks_exact_mut(len);
        for (i, (y, kept)) in each.zip(self.kept.chunks_exact_mut(KEPT)).enumerate() {
            let x = self.operands.row(i, len, &mut scratch);
            let normal = Normal::of::<FMA>(x, self.moments, self.eps);
            kept.copy_from_slice(&[normal.mean, normal.rest, normal.rstd]);
            let from = rows.first_weight(self.first + i);
            let weight = &self.operands.weight[from..][..rows.channels];
            let bias = &self.bias[from..][..rows.channels];
            if rows.plane == 1 {
                for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                    *y = normal.at(*x).multiply_add::<FMA>(*w, *b);
                }
                continue;
            }
            let planes = y.chunks_exact_mut(rows.plane);
            let planes = planes.zip(x.chunks_exact(rows.plane));
            for ((y, x), (w, b)) in planes.zip(weight.iter().zip(bias)) {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = normal.at(*x).multiply_add::<FMA>(*w, *b);
                }
            }
        }
    }
}

struct Backward<'a, T> {
    rows: Rows,
    first: usize,
    operands: Operands<'a, T>,
    kept: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    dweight: &'a mut [T],
    dbias: &'a mut [T],
    moments: Moments,
    wanted: Wanted,
}

impl<T: Scalar> Kernel for Backward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (rows, len) = (self.rows, self.rows.len());
        let mut scratch = self.operands.scratch(len);
        let each = self.dx.chunks_exact_mut(len).zip(self.dy.chunks_exact(len));
        for (i, ((dx, dy), kept)) in each.zip(self.kept.chunks_exact(KEPT)).enumerate() {
            let x = self.operands.row(i, len, &mut scratch);
            let normal = Normal {
                mean: kept[0],
                rest: kept[1],
                rstd: kept[2],
            };
            let from = rows.first_weight(self.first + i);
            let weight = &self.operands.weight[from..][..rows.channels];
            let row = Row {
                x,
                dy,
                weight,
                normal,
                moments: self.moments,
            };
            // Tasks of whole samples share their sums, others have their own for each row.
            let sums = match rows.plane {
                1 => from,
                _ => i * rows.channels,
            };
            let dweight = &mut self.dweight[sums..][..rows.channels];
            let dbias = &mut self.dbias[sums..][..rows.channels];
            if rows.plane != 1 {
                row.by_planes::<FMA>(rows.plane, dx, dweight, dbias, self.wanted.x);
                continue;
            }
            if self.wanted.x {
                row.by_elements::<FMA>(dx);
            }
            if self.wanted.weights {
                row.weights_by_elements::<FMA>(dweight, dbias);
            }
        }
    }
}

struct Row<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    weight: &'a [T],
    normal: Normal<T>,
    moments: Moments,
}

impl<T: Scalar> Row<'_, T> {
    /// The means of `g` and of `g·x̂` from their sums.
    #[inline(always)]
    fn means(&self, [g, along]: [f64; 2]) -> (T, T) {
        let count = self.x.len() as f64;
        let shift = match self.moments {
            Moments::Both => T::from_f64(g / count),
            Moments::Second => T::zero(),
        };
        (shift, T::from_f64(along / count))
    }

    #[inline(always)]
    fn by_elements<const FMA: bool>(&self, dx: &mut [T]) {
        let normal = self.normal;
        for ((dx, dy), w) in dx.iter_mut().zip(self.dy).zip(self.weight) {
            *dx = *dy * *w;
        }
        let (shift, along) = self.means(sums(self.x, dx, |x, g, [a, b]| {
            [a + g, g.multiply_add::<FMA>(normal.at(x), b)]
        }));
        for (dx, x) in dx.iter_mut().zip(self.x) {
            let g = *dx - shift;
            *dx = normal.rstd * normal.at(*x).multiply_add::<FMA>(-along, g);
        }
    }

    #[inline(always)]
    fn weights_by_elements<const FMA: bool>(&self, dweight: &mut [T], dbias: &mut [T]) {
        let sums = dweight.iter_mut().zip(dbias);
        for (((dw, db), x), dy) in sums.zip(self.x).zip(self.dy) {
            *dw = dy.multiply_add::<FMA>(self.normal.at(*x), *dw);
            *db += *dy;
        }
    }

    #[inline(always)]
    fn by_planes<const FMA: bool>(
        &self,
        plane: usize,
        dx: &mut [T],
        dweight: &mut [T],
        dbias: &mut [T],
        wants_x: bool,
    ) {
        let normal = self.normal;
        let mut row = [0.; 2];
        let planes = self.x.chunks_exact(plane).zip(self.dy.chunks_exact(plane));
        let sums_of = dweight.iter_mut().zip(dbias).zip(self.weight);
        for ((x, dy), ((dw, db), w)) in planes.zip(sums_of) {
            let [g, along] = sums(x, dy, |x, dy, [a, b]| {
                [a + dy, dy.multiply_add::<FMA>(normal.at(x), b)]
            });
            (*db, *dw) = (T::from_f64(g), T::from_f64(along));
            row = [row[0] + w.wide() * g, row[1] + w.wide() * along];
        }
        if !wants_x {
            return;
        }
        let (shift, along) = self.means(row);
        let planes = dx.chunks_exact_mut(plane).zip(self.x.chunks_exact(plane));
        let planes = planes.zip(self.dy.chunks_exact(plane));
        for (((dx, x), dy), w) in planes.zip(self.weight) {
            for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
                let g = dy.multiply_add::<FMA>(*w, -shift);
                *dx = normal.rstd * normal.at(*x).multiply_add::<FMA>(-along, g);
            }
        }
    }
}
