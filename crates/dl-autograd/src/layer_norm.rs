//! Layer and RMS normalisation over the last dimension.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::host::{by_dtype, has_kernel, if_tracked, one_float_type, read, slice, tensor};
use crate::simd::{Kernel, Scalar, dispatch, row_sum};
use crate::tape::{apply3, differentiable};
use crate::view::contiguous;

/// Rows of one task: sums over rows are added up task by task, so that no number of threads shows.
const ROWS: usize = 32;

/// Normalises each row to mean 0 and variance 1, then scales and shifts, as
/// `torch.nn.functional.layer_norm` over one dimension.
///
/// `x (…, d)`, `weight (d,)`, `bias (d,)` → `(…, d)`
///
/// ```text
/// y = γ·(x − μ)/√(σ² + ε) + β          μ, σ² of each row, σ² divided by d
/// ∂x = (g − mean(g) − x̂·mean(g ⊙ x̂))/√(σ² + ε)          g = γ·dy
/// ```
///
/// candle's own layer norm cuts the graph in silence. An error if the shapes do not fit.
///
/// Source: Ba, Kiros, Hinton, "Layer normalization", 2016.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f64, 3.]], &Device::Cpu)?;
/// let (one, zero) = (Tensor::new(&[1f64, 1.], &Device::Cpu)?, Tensor::new(&[0f64, 0.], &Device::Cpu)?);
/// let y = dl_autograd::layer_norm(&x, &one, &zero, 0.)?;
/// assert_eq!(y.to_vec2::<f64>()?, [[-1., 1.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    check("layer_norm", x, &[("weight", weight), ("bias", bias)])?;
    apply(x, weight, bias, Moments::Both, eps)
}

/// Divides each row by its root mean square, then scales, as `torch.nn.functional.rms_norm`.
///
/// `x (…, d)`, `weight (d,)` → `(…, d)`
///
/// ```text
/// y = γ·x/√(mean(x²) + ε)
/// ```
///
/// candle's own cuts the graph in silence. An error if the shapes do not fit.
///
/// Source: Zhang, Sennrich, "Root mean square layer normalization", 2019.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[3f64, 4.]], &Device::Cpu)?;
/// let two = Tensor::new(&[2f64, 2.], &Device::Cpu)?;
/// let y = dl_autograd::rms_norm(&x, &two, 0.)?.to_vec2::<f64>()?;
/// assert!((y[0][0] - 2. * 3. / 12.5f64.sqrt()).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    check("rms_norm", x, &[("weight", weight)])?;
    let no_bias = weight.detach().zeros_like()?;
    apply(x, weight, &no_bias, Moments::Second, eps)
}

fn check(op: &str, x: &Tensor, rows: &[(&str, &Tensor)]) -> Result<()> {
    let Some(&dim) = x.dims().last() else {
        bail!("{op} takes x (…, d), got {:?}", x.shape())
    };
    for (name, tensor) in rows {
        if tensor.dims() != [dim] {
            bail!("{op} of rows of {dim} got {name} {:?}", tensor.shape())
        }
    }
    one_float_type(op, ("x", x), rows)
}

/// What of a row is normalised.
#[derive(Clone, Copy, PartialEq)]
enum Moments {
    /// Mean and variance.
    Both,
    /// The mean square.
    Second,
}

fn apply(x: &Tensor, weight: &Tensor, bias: &Tensor, moments: Moments, eps: f64) -> Result<Tensor> {
    if !has_kernel(x) || weight.elem_count() == 0 {
        let (normal, _) = normalise(x, moments, eps)?;
        return normal.broadcast_mul(weight)?.broadcast_add(bias);
    }
    let op = RowNorm {
        moments,
        eps,
        rstd: OnceLock::new(),
    };
    let y = apply3(
        &contiguous(x)?,
        &contiguous(weight)?,
        &contiguous(bias)?,
        op,
    )?;
    Ok(differentiable(y, move |i, _, dy| {
        pull(&i[0], &i[1], &i[2], dy, moments, eps)
    }))
}

/// The normalised rows and the reciprocal of their deviation, composed.
fn normalise(x: &Tensor, moments: Moments, eps: f64) -> Result<(Tensor, Tensor)> {
    let centred = match moments {
        Moments::Both => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
        Moments::Second => x.clone(),
    };
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let rstd = (variance + eps)?.sqrt()?.recip()?;
    Ok((centred.broadcast_mul(&rstd)?, rstd))
}

fn pull(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    dy: &Tensor,
    moments: Moments,
    eps: f64,
) -> Result<Vec<Option<Tensor>>> {
    let (normal, rstd) = normalise(x, moments, eps)?;
    let rows = |t: &Tensor| t.reshape(((), x.dim(D::Minus1)?))?.sum(0);
    let dx = if_tracked(x, || {
        let g = dy.broadcast_mul(weight)?;
        let along = (&g * &normal)?.mean_keepdim(D::Minus1)?;
        let inner = (&g - normal.broadcast_mul(&along)?)?;
        let inner = match moments {
            Moments::Both => inner.broadcast_sub(&g.mean_keepdim(D::Minus1)?)?,
            Moments::Second => inner,
        };
        inner.broadcast_mul(&rstd)
    })?;
    let dweight = if_tracked(weight, || rows(&(dy * &normal)?))?;
    let dbias = if_tracked(bias, || rows(dy))?;
    Ok(vec![dx, dweight, dbias])
}

struct RowNorm {
    moments: Moments,
    eps: f64,
    /// Mean and reciprocal deviation of each row, kept for backward.
    rstd: OnceLock<Tensor>,
}

impl RowNorm {
    fn forward<T: Scalar>(
        &self,
        (s, l): (&CpuStorage, &Layout),
        weight: (&CpuStorage, &Layout),
        bias: (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let x = slice::<T>(s, l)?;
        let (weight, bias) = (slice::<T>(weight.0, weight.1)?, slice::<T>(bias.0, bias.1)?);
        let dim = weight.len().max(1);
        let mut y = vec![T::zero(); x.len()];
        let mut saved = vec![T::zero(); 2 * (x.len() / dim)];
        y.par_chunks_mut(ROWS * dim)
            .zip(saved.par_chunks_mut(2 * ROWS))
            .zip(x.par_chunks(ROWS * dim))
            .for_each(|((y, saved), x)| {
                let (moments, eps) = (self.moments, T::from_f64(self.eps));
                dispatch(Forward {
                    x,
                    y,
                    saved,
                    weight,
                    bias,
                    moments,
                    eps,
                });
            });
        // The op is created for one call, so the cell is empty.
        let _ = self.rstd.set(tensor(saved, x.len() / dim * 2)?);
        Ok((T::to_cpu_storage_owned(y), l.shape().clone()))
    }

    /// The gradient of x, and of weight and bias side by side for every task.
    fn backward<T: Scalar>(&self, x: &[T], weight: &[T], dy: &[T]) -> Result<(Vec<T>, Vec<T>)> {
        let Some(saved) = self.rstd.get() else {
            bail!("backward of a normalisation came before its forward")
        };
        let (saved, dim) = (saved.to_vec1::<T>()?, weight.len().max(1));
        let tasks = x.len().div_ceil(ROWS * dim);
        let mut dx = vec![T::zero(); x.len()];
        let mut sums = vec![T::zero(); tasks * 2 * dim];
        dx.par_chunks_mut(ROWS * dim)
            .zip(sums.par_chunks_mut(2 * dim))
            .zip(x.par_chunks(ROWS * dim).zip(dy.par_chunks(ROWS * dim)))
            .zip(saved.par_chunks(2 * ROWS))
            .for_each(|(((dx, sums), (x, dy)), saved)| {
                let moments = self.moments;
                dispatch(Backward {
                    x,
                    dy,
                    dx,
                    sums,
                    saved,
                    weight,
                    moments,
                });
            });
        Ok((dx, total(&sums, 2 * dim)))
    }

    fn gradients<T: Scalar>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, sums) = read::<T, _>(x, |x| {
            read::<T, _>(weight, |w| read::<T, _>(dy, |dy| self.backward(x, w, dy)))
        })?;
        let dim = weight.elem_count();
        let part = |from: usize| tensor(sums[from..from + dim].to_vec(), dim);
        let dweight = if_tracked(weight, || part(0))?;
        let dbias = if_tracked(bias, || part(dim))?;
        Ok((if_tracked(x, || tensor(dx, x.dims()))?, dweight, dbias))
    }
}

/// The sum of the tasks' rows, in their order.
fn total<T: Scalar>(rows: &[T], len: usize) -> Vec<T> {
    let mut sum = vec![T::zero(); len];
    for row in rows.chunks_exact(len) {
        sum.iter_mut().zip(row).for_each(|(s, r)| *s += *r);
    }
    sum
}

impl CustomOp3 for RowNorm {
    fn name(&self) -> &'static str {
        match self.moments {
            Moments::Both => "layer_norm",
            Moments::Second => "rms_norm",
        }
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(
            s1.dtype(),
            "layer_norm",
            self.forward::<T>((s1, l1), (s2, l2), (s3, l3))
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        by_dtype!(
            x.dtype(),
            "layer_norm",
            self.gradients::<T>(x, weight, bias, dy)
        )
    }
}

struct Forward<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    saved: &'a mut [T],
    weight: &'a [T],
    bias: &'a [T],
    moments: Moments,
    eps: T,
}

impl<T: Scalar> Kernel for Forward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let dim = self.weight.len();
        let count = T::from_f64(dim as f64);
        let rows = self.x.chunks_exact(dim).zip(self.y.chunks_exact_mut(dim));
        for ((x, y), saved) in rows.zip(self.saved.chunks_exact_mut(2)) {
            let mean = match self.moments {
                Moments::Both => row_sum(dim, |i| x[i]) / count,
                Moments::Second => T::zero(),
            };
            let square = |i: usize| (x[i] - mean) * (x[i] - mean);
            let rstd = (row_sum(dim, square) / count + self.eps).sqrt().recip();
            (saved[0], saved[1]) = (mean, rstd);
            for i in 0..dim {
                y[i] = ((x[i] - mean) * rstd).multiply_add::<FMA>(self.weight[i], self.bias[i]);
            }
        }
    }
}

struct Backward<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    sums: &'a mut [T],
    saved: &'a [T],
    weight: &'a [T],
    moments: Moments,
}

impl<T: Scalar> Kernel for Backward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (dim, weight) = (self.weight.len(), self.weight);
        let count = T::from_f64(dim as f64);
        let (dweight, dbias) = self.sums.split_at_mut(dim);
        let rows = self.x.chunks_exact(dim).zip(self.dy.chunks_exact(dim));
        let rows = rows.zip(self.dx.chunks_exact_mut(dim));
        for (((x, dy), dx), saved) in rows.zip(self.saved.chunks_exact(2)) {
            let (mean, rstd) = (saved[0], saved[1]);
            let normal = |i: usize| (x[i] - mean) * rstd;
            let along = row_sum(dim, |i| dy[i] * weight[i] * normal(i)) / count;
            let shift = match self.moments {
                Moments::Both => row_sum(dim, |i| dy[i] * weight[i]) / count,
                Moments::Second => T::zero(),
            };
            for i in 0..dim {
                let normal = (x[i] - mean) * rstd;
                dx[i] = rstd * (dy[i] * weight[i] - shift - normal * along);
                dweight[i] += dy[i] * normal;
                dbias[i] += dy[i];
            }
        }
    }
}
