//! Convolution as matrix products over unfolded images.
//!
//! A few small images are unfolded side by side into one `(c·k_h·k_w, images·pixels)` matrix, so that
//! the product has enough columns; a 1×1 kernel on a large image reads the image where it lies. The
//! work is cut by image alone and partial sums are added in order, so the number of threads does not
//! change a bit of the result.

use gemm::Parallelism;
use rayon::prelude::*;

use super::bias::{Affine, start};
use super::geometry::Geometry;
use crate::matmul::{Matrix, Write, matmul};
use crate::simd::Scalar;

/// Columns below which a product does not reach the speed of the machine.
const WIDE: usize = 256;
/// Partial sums of a weight gradient: enough for the threads, few enough to add cheaply.
const PARTS: usize = 8;

/// The sizes of one group's product, over `images` images at a time.
struct Plan<'a> {
    g: &'a Geometry,
    c_in: usize,
    c_out: usize,
    taps: usize,
    images: usize,
}

impl<'a> Plan<'a> {
    fn new(g: &'a Geometry) -> Self {
        let fill = WIDE.div_ceil(g.pixels_out().max(1));
        Self {
            g,
            c_in: g.c_in / g.config.groups,
            c_out: g.c_out / g.config.groups,
            taps: g.kernel.0 * g.kernel.1,
            images: fill.clamp(1, g.batch.div_ceil(PARTS).max(1)),
        }
    }

    fn rows(&self) -> usize {
        self.c_in * self.taps
    }

    fn weight_of<'w, T>(&self, w: &'w [T], group: usize) -> &'w [T] {
        let size = self.c_out * self.rows();
        &w[group * size..][..size]
    }

    /// The part of a group in the bias of the outputs.
    fn bias_of<'b, T>(&self, bias: Option<&'b [T]>, group: usize) -> Option<&'b [T]> {
        bias.map(|bias| &bias[group * self.c_out..][..self.c_out])
    }

    fn images_in<T>(&self, chunk: &[T]) -> usize {
        chunk.len() / (self.g.c_in * self.g.pixels_in())
    }

    /// `(c_in·taps, images·pixels)`: the image itself where that is the same thing.
    fn unfolded<'b, T: Scalar>(&self, x: &'b [T], group: usize, buffer: &'b mut Vec<T>) -> &'b [T] {
        let n = self.images_in(x);
        let plane = self.g.pixels_in();
        if self.g.is_pointwise() && n == 1 {
            return &x[group * self.c_in * plane..][..self.c_in * plane];
        }
        buffer.resize(self.rows() * n * self.g.pixels_out(), T::zero());
        let width = n * self.g.pixels_out();
        for (row, out) in buffer.chunks_exact_mut(width).enumerate() {
            let (c, tap) = (row / self.taps, row % self.taps);
            for (i, out) in out.chunks_exact_mut(self.g.pixels_out()).enumerate() {
                let channel = i * self.g.c_in + group * self.c_in + c;
                unfold(self.g, &x[channel * plane..][..plane], tap, out);
            }
        }
        buffer
    }

    /// Adds `(c_in·taps, images·pixels)` back to the pixels each value came from.
    fn fold<T: Scalar>(&self, columns: &[T], group: usize, dx: &mut [T]) {
        let (n, plane) = (self.images_in(dx), self.g.pixels_in());
        let width = n * self.g.pixels_out();
        for (row, from) in columns.chunks_exact(width).enumerate() {
            let (c, tap) = (row / self.taps, row % self.taps);
            for (i, from) in from.chunks_exact(self.g.pixels_out()).enumerate() {
                let channel = i * self.g.c_in + group * self.c_in + c;
                fold(self.g, from, tap, &mut dx[channel * plane..][..plane]);
            }
        }
    }

    /// One group's channels of a few images as `(c_out, images·pixels)`.
    fn gathered<'b, T: Scalar>(&self, y: &'b [T], group: usize, buffer: &'b mut Vec<T>) -> &'b [T] {
        let (image, plane) = (self.g.c_out * self.g.pixels_out(), self.g.pixels_out());
        let (n, first) = (y.len() / image, group * self.c_out * plane);
        if n == 1 {
            return &y[first..][..self.c_out * plane];
        }
        buffer.resize(self.c_out * n * plane, T::zero());
        for (row, out) in buffer.chunks_exact_mut(plane).enumerate() {
            let (c, i) = (row / n, row % n);
            out.copy_from_slice(&y[i * image + first + c * plane..][..plane]);
        }
        buffer
    }

    /// The inverse of [`gathered`](Self::gathered).
    fn scatter<T: Scalar>(&self, from: &[T], group: usize, y: &mut [T]) {
        let (image, plane) = (self.g.c_out * self.g.pixels_out(), self.g.pixels_out());
        let (n, first) = (y.len() / image, group * self.c_out * plane);
        for (row, from) in from.chunks_exact(plane).enumerate() {
            let (c, i) = (row / n, row % n);
            y[i * image + first + c * plane..][..plane].copy_from_slice(from);
        }
    }
}

pub(super) fn forward<T: Scalar>(g: &Geometry, x: &[T], affine: Affine<T>) -> Vec<T> {
    let plan = Plan::new(g);
    let mut y = vec![T::zero(); g.batch * g.c_out * g.pixels_out()];
    let (image_in, image_out) = (g.c_in * g.pixels_in(), g.c_out * g.pixels_out());
    if y.is_empty() || x.is_empty() {
        start(&mut y, affine.bias, g.pixels_out());
        return y;
    }
    y.par_chunks_mut(plan.images * image_out)
        .zip(x.par_chunks(plan.images * image_in))
        .for_each_init(
            || (vec![], vec![]),
            |(columns, product), (y, x)| {
                for group in 0..g.config.groups {
                    forward_group(&plan, group, x, affine, y, columns, product);
                }
            },
        );
    y
}

fn forward_group<T: Scalar>(
    plan: &Plan,
    group: usize,
    x: &[T],
    affine: Affine<T>,
    y: &mut [T],
    columns: &mut Vec<T>,
    product: &mut Vec<T>,
) {
    let width = plan.images_in(x) * plan.g.pixels_out();
    let columns = (
        plan.unfolded(x, group, columns),
        Matrix::new(plan.rows(), width),
    );
    let weight = (
        plan.weight_of(affine.weight, group),
        Matrix::new(plan.c_out, plan.rows()),
    );
    let (size, bias) = (plan.c_out * width, plan.bias_of(affine.bias, group));
    if plan.images_in(x) == 1 {
        let y = &mut y[group * size..][..size];
        let mode = start(y, bias, width);
        return matmul(y, weight, columns, mode, Parallelism::None);
    }
    product.resize(size, T::zero());
    let mode = start(product, bias, width);
    matmul(product, weight, columns, mode, Parallelism::None);
    plan.scatter(product, group, y);
}

pub(super) fn grad_input<T: Scalar>(g: &Geometry, dy: &[T], affine: Affine<T>) -> Vec<T> {
    let plan = Plan::new(g);
    let mut dx = vec![T::zero(); g.batch * g.c_in * g.pixels_in()];
    let (image_in, image_out) = (g.c_in * g.pixels_in(), g.c_out * g.pixels_out());
    if dx.is_empty() || dy.is_empty() {
        start(&mut dx, affine.bias, g.pixels_in());
        return dx;
    }
    dx.par_chunks_mut(plan.images * image_in)
        .zip(dy.par_chunks(plan.images * image_out))
        .for_each_init(
            || (vec![], vec![]),
            |(gathered, columns), (dx, dy)| {
                start(dx, affine.bias, g.pixels_in());
                for group in 0..g.config.groups {
                    grad_input_group(&plan, group, dy, affine, dx, gathered, columns);
                }
            },
        );
    dx
}

fn grad_input_group<T: Scalar>(
    plan: &Plan,
    group: usize,
    dy: &[T],
    affine: Affine<T>,
    dx: &mut [T],
    gathered: &mut Vec<T>,
    columns: &mut Vec<T>,
) {
    let width = plan.images_in(dx) * plan.g.pixels_out();
    let dy = (
        plan.gathered(dy, group, gathered),
        Matrix::new(plan.c_out, width),
    );
    let weight = (
        plan.weight_of(affine.weight, group),
        Matrix::new(plan.c_out, plan.rows()).t(),
    );
    if plan.g.is_pointwise() && plan.images_in(dx) == 1 {
        let size = plan.c_in * plan.g.pixels_in();
        let dx = &mut dx[group * size..][..size];
        let mode = match affine.bias {
            Some(_) => Write::Add,
            None => Write::Overwrite,
        };
        return matmul(dx, weight, dy, mode, Parallelism::None);
    }
    columns.resize(plan.rows() * width, T::zero());
    matmul(columns, weight, dy, Write::Overwrite, Parallelism::None);
    plan.fold(columns, group, dx);
}

pub(super) fn grad_weight<T: Scalar>(g: &Geometry, dy: &[T], x: &[T]) -> Vec<T> {
    let plan = Plan::new(g);
    let size = plan.c_out * plan.rows() * g.config.groups;
    let (image_in, image_out) = (g.c_in * g.pixels_in(), g.c_out * g.pixels_out());
    if dy.is_empty() || x.is_empty() {
        return vec![T::zero(); size];
    }
    let part = g.batch.div_ceil(PARTS).next_multiple_of(plan.images);
    let parts: Vec<Vec<T>> = dy
        .par_chunks(part * image_out)
        .zip(x.par_chunks(part * image_in))
        .map(|(dy, x)| {
            let (mut dw, mut gathered, mut columns) = (vec![T::zero(); size], vec![], vec![]);
            let images = dy
                .chunks(plan.images * image_out)
                .zip(x.chunks(plan.images * image_in));
            for (dy, x) in images {
                for group in 0..g.config.groups {
                    grad_weight_group(&plan, group, dy, x, &mut dw, &mut gathered, &mut columns);
                }
            }
            dw
        })
        .collect();
    sum(parts)
}

fn grad_weight_group<T: Scalar>(
    plan: &Plan,
    group: usize,
    dy: &[T],
    x: &[T],
    dw: &mut [T],
    gathered: &mut Vec<T>,
    columns: &mut Vec<T>,
) {
    let width = plan.images_in(x) * plan.g.pixels_out();
    let size = plan.c_out * plan.rows();
    let dy = (
        plan.gathered(dy, group, gathered),
        Matrix::new(plan.c_out, width),
    );
    let columns = (
        plan.unfolded(x, group, columns),
        Matrix::new(plan.rows(), width).t(),
    );
    let dw = &mut dw[group * size..][..size];
    matmul(dw, dy, columns, Write::Add, Parallelism::None);
}

fn sum<T: Scalar>(parts: Vec<Vec<T>>) -> Vec<T> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_default();
    for part in parts {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
    }
    total
}

/// Calls `f(output row, first column, end column, input offset of the first column)` for each row of
/// outputs whose `tap` reads inside the image.
fn for_rows(g: &Geometry, tap: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
    let (c, (h, w)) = (&g.config, g.input);
    let (u, v) = (
        tap / g.kernel.1 * c.dilation.0,
        tap % g.kernel.1 * c.dilation.1,
    );
    let first = c.padding.left.saturating_sub(v).div_ceil(c.stride.1);
    let end = (w + c.padding.left)
        .saturating_sub(v)
        .div_ceil(c.stride.1)
        .min(g.output.1);
    for row in 0..g.output.0 {
        let y = row * c.stride.0 + u;
        if first < end && (c.padding.top..c.padding.top + h).contains(&y) {
            let x = first * c.stride.1 + v - c.padding.left;
            f(row, first, end, (y - c.padding.top) * w + x);
        }
    }
}

fn unfold<T: Scalar>(g: &Geometry, plane: &[T], tap: usize, out: &mut [T]) {
    let (width, step) = (g.output.1, g.config.stride.1);
    if g.config.padding != Default::default() {
        out.fill(T::zero());
    }
    for_rows(g, tap, |row, first, end, from| {
        let out = &mut out[row * width + first..row * width + end];
        if step == 1 {
            out.copy_from_slice(&plane[from..][..out.len()]);
        } else {
            let from = plane[from..].iter().step_by(step);
            out.iter_mut().zip(from).for_each(|(o, x)| *o = *x);
        }
    });
}

fn fold<T: Scalar>(g: &Geometry, columns: &[T], tap: usize, plane: &mut [T]) {
    let (width, step) = (g.output.1, g.config.stride.1);
    for_rows(g, tap, |row, first, end, to| {
        let from = &columns[row * width + first..row * width + end];
        let to = plane[to..].iter_mut().step_by(step);
        to.zip(from).for_each(|(t, x)| *t += *x);
    });
}
