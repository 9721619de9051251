//! Attention on the CPU, a block of queries at a time.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Layout, Result, Shape, Storage, Tensor, bail};
use gemm::Parallelism;
use rayon::prelude::*;

use super::rows::{Exponentials, Gradients};
use super::{Attention, Size};
use crate::exp::Exp;
use crate::host::{cleared, tensor};
use crate::matmul::{Matrix, Write, matmul};
use crate::simd::{Scalar, dispatch};

/// Scores in a block: what a core's second cache holds, twice in backward.
const BLOCK: usize = 1 << 15;

/// Multiplications below which heads are taken together by one thread.
const GRAIN: usize = 1 << 18;

/// An operand `(b, h, rows, width)` whose rows lie anywhere, each in one piece.
struct Heads<'a, T> {
    values: &'a [T],
    strides: [usize; 3],
    width: usize,
}

impl<'a, T: Scalar> Heads<'a, T> {
    fn new(s: &'a CpuStorage, l: &Layout) -> Result<Self> {
        let (&[_, _, _, width], &[b, h, row, _]) = (l.dims(), l.stride()) else {
            bail!("attention takes operands of rank 4, got {:?}", l.shape())
        };
        Ok(Self {
            values: &s.as_slice::<T>()?[l.start_offset()..],
            strides: [b, h, row],
            width,
        })
    }

    fn of(storage: &'a Storage, layout: &Layout) -> Result<Self> {
        match storage {
            Storage::Cpu(s) => Self::new(s, layout),
            _ => bail!("expected an operand of attention on the CPU"),
        }
    }

    /// Some rows of one head as a matrix.
    fn rows(&self, (b, h): (usize, usize), rows: Range<usize>) -> (&'a [T], Matrix) {
        let [by_b, by_h, by_row] = self.strides;
        let from = b * by_b + h * by_h + rows.start * by_row;
        let shape = (rows.len(), self.width);
        (
            &self.values[from..],
            Matrix::with_strides(shape, (by_row, 1)),
        )
    }

    fn row(&self, head: (usize, usize), row: usize) -> &'a [T] {
        &self.rows(head, row..row + 1).0[..self.width]
    }
}

/// The rows of a mask `(1 or b, 1 or h, 1 or t, s)`.
struct Bias<'a, T> {
    values: &'a [T],
    strides: [usize; 3],
    width: usize,
}

impl<'a, T: Scalar> Bias<'a, T> {
    fn of(storage: &'a Storage, layout: &Layout) -> Result<Self> {
        let (Storage::Cpu(s), &[b, h, t, width]) = (storage, layout.dims()) else {
            bail!("expected a mask of attention on the CPU")
        };
        let step = |dim: usize, stride: usize| if dim == 1 { 0 } else { stride };
        Ok(Self {
            values: &s.as_slice::<T>()?[layout.start_offset()..],
            strides: [step(b, h * t * width), step(h, t * width), step(t, width)],
            width,
        })
    }

    fn row(&self, (b, h): (usize, usize), i: usize) -> &'a [T] {
        let [by_b, by_h, by_t] = self.strides;
        &self.values[b * by_b + h * by_h + i * by_t..][..self.width]
    }
}

/// Buffers of one thread.
struct Scratch<T> {
    scores: Vec<T>,
    grads: Vec<T>,
    sums: Vec<T>,
    uniform: Vec<f32>,
    keep: Vec<T>,
}

impl<T: Scalar> Scratch<T> {
    fn new(size: &Size) -> Self {
        let block = rows_in_block(size) * size.s;
        Self {
            scores: vec![T::zero(); block],
            grads: vec![T::zero(); block],
            sums: vec![T::zero(); rows_in_block(size)],
            uniform: vec![0.; size.s],
            keep: vec![T::zero(); size.s],
        }
    }
}

/// Enough rows for the products to be good, few enough for the cache.
fn rows_in_block(size: &Size) -> usize {
    (BLOCK / size.s.max(1)).clamp(32, 256).min(size.t.max(1))
}

fn blocks(size: &Size) -> impl Iterator<Item = Range<usize>> {
    let (t, step) = (size.t, rows_in_block(size));
    (0..t).step_by(step).map(move |i| i..t.min(i + step))
}

/// One product on the thread that calls it: the threads share the heads.
fn product<T: Scalar>(out: &mut [T], a: (&[T], Matrix), b: (&[T], Matrix), mode: Write) {
    matmul(out, a, b, mode, Parallelism::None);
}

fn dot<T: Scalar>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(a, b)| *a * *b).sum()
}

/// The operands as matrices.
struct Operands<'a, T> {
    q: Heads<'a, T>,
    k: Heads<'a, T>,
    v: Heads<'a, T>,
    bias: Option<Bias<'a, T>>,
}

/// The output and what arrives for it.
struct Arrived<'a, T> {
    y: Heads<'a, T>,
    dy: Heads<'a, T>,
    log_sums: &'a [T],
}

/// The places for the gradients of one key head and its query heads; none for the untracked.
type Places<'a, T> = [Option<&'a mut [T]>; 3];

impl Attention {
    /// Heads that one thread takes at a time at least.
    fn grain(&self, heads: usize) -> usize {
        let Size {
            h, t, s, d, d_v, ..
        } = self.size;
        let work = t * s * (d + d_v) * (h / heads.max(1)).max(1);
        GRAIN.div_ceil(work.max(1))
    }

    pub(super) fn forward<T: Exp>(
        &self,
        [q, k, v]: [(&CpuStorage, &Layout); 3],
    ) -> Result<(CpuStorage, Shape)> {
        let Size {
            b, h, t, s, d_v, ..
        } = self.size;
        let mut y = cleared(b * h * t * d_v);
        let mut log_sums = vec![T::infinity(); b * h * t];
        if !y.is_empty() && s > 0 {
            let mask = self.mask.as_ref().map(Tensor::storage_and_layout);
            let x = Operands {
                q: Heads::new(q.0, q.1)?,
                k: Heads::new(k.0, k.1)?,
                v: Heads::new(v.0, v.1)?,
                bias: mask.as_ref().map(|(s, l)| Bias::of(s, l)).transpose()?,
            };
            y.par_chunks_exact_mut(t * d_v)
                .zip(log_sums.par_chunks_exact_mut(t))
                .enumerate()
                .with_min_len(self.grain(h))
                .for_each_init(
                    || Scratch::new(&self.size),
                    |scratch, (i, (y, log_sums))| {
                        self.head(&x, (i / h, i % h), scratch, y, log_sums);
                    },
                );
        }
        // Set once: an op runs forward once.
        let _ = self.log_sums.set(tensor(log_sums, (b, h, t))?);
        Ok((T::to_cpu_storage_owned(y), (b, h, t, d_v).into()))
    }

    fn head<T: Exp>(
        &self,
        x: &Operands<T>,
        head: (usize, usize),
        scratch: &mut Scratch<T>,
        y: &mut [T],
        log_sums: &mut [T],
    ) {
        let (d_v, kv) = (self.size.d_v, (head.0, head.1 / self.size.group()));
        for rows in blocks(&self.size) {
            let n = self.visible(rows.end - 1);
            if n == 0 {
                continue;
            }
            let scores = &mut scratch.scores[..rows.len() * n];
            let (q, k) = (x.q.rows(head, rows.clone()), x.k.rows(kv, 0..n));
            product(scores, q, (k.0, k.1.t()), Write::Overwrite);
            for (i, scores) in rows.clone().zip(scores.chunks_exact_mut(n)) {
                let seen = self.visible(i);
                scores[seen..].fill(T::zero());
                dispatch(Exponentials {
                    x: &mut scores[..seen],
                    bias: x.bias.as_ref().map(|bias| bias.row(head, i)),
                    scale: T::from_f64(self.scale),
                    sum: &mut scratch.sums[i - rows.start],
                    log_sum: &mut log_sums[i],
                });
                self.drop_out(head, i, &mut scores[..seen], &mut scratch.uniform);
            }
            let y = &mut y[rows.start * d_v..rows.end * d_v];
            let weights = (&*scores, Matrix::new(rows.len(), n));
            product(y, weights, x.v.rows(kv, 0..n), Write::Overwrite);
            for (y, sum) in y.chunks_exact_mut(d_v).zip(&scratch.sums) {
                let factor = self.normaliser(*sum);
                y.iter_mut().for_each(|y| *y *= factor);
            }
        }
    }

    fn normaliser<T: Scalar>(&self, sum: T) -> T {
        match sum == T::zero() {
            true => T::zero(),
            false => T::from_f64(self.kept()) / sum,
        }
    }

    /// Sets the weights to zero that dropout takes; the others are scaled with the result.
    fn drop_out<T: Scalar>(
        &self,
        (b, h): (usize, usize),
        i: usize,
        weights: &mut [T],
        uniform: &mut [f32],
    ) {
        let Some((p, rng)) = self.dropout else { return };
        let row = (b * self.size.h + h) * self.size.t + i;
        let uniform = &mut uniform[..weights.len()];
        rng.fill_uniform(self.first_draw(row), uniform);
        for (w, u) in weights.iter_mut().zip(uniform) {
            if *u < p as f32 {
                *w = T::zero();
            }
        }
    }

    pub(super) fn backward<T: Exp>(
        &self,
        [q, k, v, y, dy]: [&Tensor; 5],
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(log_sums) = self.log_sums.get() else {
            bail!("attention runs backward before forward")
        };
        let mut grads = [q, k, v].map(|x| x.track_op().then(|| cleared(x.elem_count())));
        if y.elem_count() > 0 && self.size.s > 0 {
            let [qs, ks, vs, ys, dys, ls] =
                [q, k, v, y, dy, log_sums].map(Tensor::storage_and_layout);
            let mask = self.mask.as_ref().map(Tensor::storage_and_layout);
            let x = Operands {
                q: Heads::of(&qs.0, qs.1)?,
                k: Heads::of(&ks.0, ks.1)?,
                v: Heads::of(&vs.0, vs.1)?,
                bias: mask.as_ref().map(|(s, l)| Bias::of(s, l)).transpose()?,
            };
            let Storage::Cpu(log_sums) = ls.0.deref() else {
                bail!("expected the sums of attention on the CPU")
            };
            let arrived = Arrived {
                y: Heads::of(&ys.0, ys.1)?,
                dy: Heads::of(&dys.0, dys.1)?,
                log_sums: log_sums.as_slice::<T>()?,
            };
            self.groups(&x, &arrived, &mut grads);
        }
        let [dq, dk, dv] = grads;
        let give =
            |x: &Tensor, grad: Option<Vec<T>>| grad.map(|grad| tensor(grad, x.dims())).transpose();
        Ok((give(q, dq)?, give(k, dk)?, give(v, dv)?))
    }

    /// Every key head, with the query heads that use it, in parallel.
    fn groups<T: Exp>(
        &self,
        x: &Operands<T>,
        arrived: &Arrived<T>,
        grads: &mut [Option<Vec<T>>; 3],
    ) {
        let Size { b, h_kv, .. } = self.size;
        let mut places: Vec<Places<T>> = (0..b * h_kv).map(|_| [None, None, None]).collect();
        for (which, grad) in grads.iter_mut().enumerate() {
            let Some(grad) = grad.as_mut().filter(|g| !g.is_empty()) else {
                continue;
            };
            let each = grad.len() / (b * h_kv);
            for (place, grad) in places.iter_mut().zip(grad.chunks_exact_mut(each)) {
                place[which] = Some(grad);
            }
        }
        places
            .into_par_iter()
            .enumerate()
            .with_min_len(self.grain(h_kv))
            .for_each_init(
                || Scratch::new(&self.size),
                |scratch, (i, mut places)| {
                    let group = self.size.group();
                    for j in 0..group {
                        let head = (i / h_kv, i % h_kv * group + j);
                        self.head_backward(x, arrived, head, scratch, &mut places);
                    }
                },
            );
    }

    fn head_backward<T: Exp>(
        &self,
        x: &Operands<T>,
        arrived: &Arrived<T>,
        head: (usize, usize),
        scratch: &mut Scratch<T>,
        [dq, dk, dv]: &mut Places<T>,
    ) {
        let Size { t, d, d_v, .. } = self.size;
        let (group, through_scores) = (self.size.group(), dq.is_some() || dk.is_some());
        let kv = (head.0, head.1 / group);
        for rows in blocks(&self.size) {
            let n = self.visible(rows.end - 1);
            if n == 0 {
                continue;
            }
            let shape = Matrix::new(rows.len(), n);
            let (q, k) = (x.q.rows(head, rows.clone()), x.k.rows(kv, 0..n));
            let (dy, v) = (arrived.dy.rows(head, rows.clone()), x.v.rows(kv, 0..n));
            let scores = &mut scratch.scores[..rows.len() * n];
            product(scores, q, (k.0, k.1.t()), Write::Overwrite);
            let grads = match through_scores {
                true => &mut scratch.grads[..rows.len() * n],
                false => &mut [],
            };
            if through_scores {
                product(grads, dy, (v.0, v.1.t()), Write::Overwrite);
            }
            let mut grad_rows = grads.chunks_exact_mut(n);
            for (i, scores) in rows.clone().zip(scores.chunks_exact_mut(n)) {
                let grads = grad_rows.next().unwrap_or_default();
                let keep = self.keep_row(head, i, &mut scratch.uniform, &mut scratch.keep);
                self.row_backward(x, arrived, (head, i), scores, grads, keep);
            }
            let (weights, grads) = ((&*scores, shape), (&*grads, shape));
            if let Some(dv) = dv {
                let weights = (weights.0, shape.t());
                product(&mut dv[..n * d_v], weights, dy, Write::Add);
            }
            if let Some(dq) = dq {
                let first = (head.1 % group * t + rows.start) * d;
                product(
                    &mut dq[first..][..rows.len() * d],
                    grads,
                    k,
                    Write::Overwrite,
                );
            }
            if let Some(dk) = dk {
                product(&mut dk[..n * d], (grads.0, shape.t()), q, Write::Add);
            }
        }
    }

    fn row_backward<T: Exp>(
        &self,
        x: &Operands<T>,
        arrived: &Arrived<T>,
        (head, i): ((usize, usize), usize),
        scores: &mut [T],
        grads: &mut [T],
        keep: Option<&[T]>,
    ) {
        let seen = self.visible(i);
        scores[seen..].fill(T::zero());
        let row = (head.0 * self.size.h + head.1) * self.size.t + i;
        let grads = match grads.is_empty() {
            true => grads,
            false => {
                grads[seen..].fill(T::zero());
                &mut grads[..seen]
            }
        };
        dispatch(Gradients {
            x: &mut scores[..seen],
            dp: grads,
            bias: x.bias.as_ref().map(|bias| bias.row(head, i)),
            keep,
            scale: T::from_f64(self.scale),
            log_sum: arrived.log_sums[row],
            delta: dot(arrived.dy.row(head, i), arrived.y.row(head, i)),
        });
    }

    /// The factors of dropout for one row.
    fn keep_row<'a, T: Scalar>(
        &self,
        head: (usize, usize),
        i: usize,
        uniform: &mut [f32],
        keep: &'a mut [T],
    ) -> Option<&'a [T]> {
        self.dropout?;
        keep.fill(T::from_f64(self.kept()));
        self.drop_out(head, i, keep, uniform);
        Some(keep)
    }
}
