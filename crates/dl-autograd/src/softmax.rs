//! Softmax and its logarithm over any dimension.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::exp::Exp;
use crate::host::{by_dtype, cleared, float, has_kernel, read, slice, tensor};
use crate::simd::{Kernel, dispatch, row_max, row_sum};
use crate::tape::{apply1, differentiable};
use crate::view::{contiguous, transpose};

/// `softmax(x)ᵢ = exp xᵢ / Σⱼ exp xⱼ` over one dimension, as `torch.softmax`.
///
/// ```text
/// ∂x = y ⊙ (dy − Σ dy ⊙ y)
/// ```
///
/// Stable for values of any size: the maximum is subtracted. candle's `softmax_last_dim` cuts the
/// graph in silence. An error if `dim` is not a dimension of `x`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[0f64, 3f64.ln()]], &Device::Cpu)?;
/// let y = dl_autograd::softmax(&x, 1)?.to_vec2::<f64>()?;
/// assert!((y[0][1] - 0.75).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn softmax(x: &Tensor, dim: usize) -> Result<Tensor> {
    over_last(x, dim, Softmax::Plain)
}

/// `xᵢ − log Σⱼ exp xⱼ` over one dimension, as `torch.log_softmax`.
///
/// ```text
/// ∂x = dy − softmax(x)·Σ dy
/// ```
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f64, 1.]], &Device::Cpu)?;
/// let y = dl_autograd::log_softmax(&x, 1)?.to_vec2::<f64>()?;
/// assert!((y[0][0] + 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn log_softmax(x: &Tensor, dim: usize) -> Result<Tensor> {
    over_last(x, dim, Softmax::Log)
}

fn over_last(x: &Tensor, dim: usize, op: Softmax) -> Result<Tensor> {
    if dim >= x.rank() {
        bail!(
            "{} over dimension {dim} of a tensor {:?}",
            op.name(),
            x.shape()
        )
    }
    float(op.name(), ("x", x))?;
    if dim + 1 < x.rank() {
        let last = x.rank() - 1;
        return transpose(&over_last(&transpose(x, dim, last)?, last, op)?, dim, last);
    }
    if !has_kernel(x) {
        return op.composed(x);
    }
    let y = apply1(&contiguous(x)?, op)?;
    Ok(differentiable(y, move |_, y, dy| {
        Ok(vec![Some(op.pull(y, dy)?)])
    }))
}

#[derive(Clone, Copy)]
enum Softmax {
    Plain,
    Log,
}

impl Softmax {
    fn composed(self, x: &Tensor) -> Result<Tensor> {
        let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
        let exp = shifted.exp()?;
        let sum = exp.sum_keepdim(D::Minus1)?;
        match self {
            Self::Plain => exp.broadcast_div(&sum),
            Self::Log => shifted.broadcast_sub(&sum.log()?),
        }
    }

    fn pull(self, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain => {
                let weighted = (dy * y)?.sum_keepdim(D::Minus1)?;
                y * dy.broadcast_sub(&weighted)?
            }
            Self::Log => dy - y.exp()?.broadcast_mul(&dy.sum_keepdim(D::Minus1)?)?,
        }
    }

    fn forward<T: Exp>(self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, dim) = (slice::<T>(s, l)?, self.dim(l.dims()));
        let mut y = cleared(x.len());
        y.par_chunks_exact_mut(dim)
            .zip(x.par_chunks_exact(dim))
            .with_min_len(GRAIN.div_ceil(dim))
            .for_each(|(y, x)| self.row(x, y));
        Ok((T::to_cpu_storage_owned(y), l.shape().clone()))
    }

    fn dim(self, dims: &[usize]) -> usize {
        dims.last().copied().unwrap_or(1).max(1)
    }

    fn row<T: Exp>(self, x: &[T], y: &mut [T]) {
        let (mut max, mut sum) = (T::zero(), T::zero());
        dispatch(Exponentials {
            x,
            y,
            max: &mut max,
            sum: &mut sum,
        });
        match self {
            Self::Plain => y.iter_mut().for_each(|y| *y /= sum),
            Self::Log => {
                let shift = max + sum.ln();
                y.iter_mut().zip(x).for_each(|(y, x)| *y = *x - shift);
            }
        }
    }

    fn backward<T: Exp>(self, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let dim = self.dim(y.dims());
        let mut dx = cleared(y.elem_count());
        read::<T, _>(y, |y| {
            read::<T, _>(dy, |dy| {
                dx.par_chunks_exact_mut(dim)
                    .zip(y.par_chunks_exact(dim).zip(dy.par_chunks_exact(dim)))
                    .with_min_len(GRAIN.div_ceil(dim))
                    .for_each(|(dx, (y, dy))| {
                        dispatch(Gradient {
                            op: self,
                            y,
                            dy,
                            dx,
                        })
                    });
                Ok(())
            })
        })?;
        tensor(dx, y.dims())
    }
}

/// `y = exp(x − max)` and its sum.
struct Exponentials<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    max: &'a mut T,
    sum: &'a mut T,
}

impl<T: Exp> Kernel for Exponentials<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let max = row_max(self.x);
        *self.max = max;
        // A NaN comes back here.
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = (*x - max).exp_below::<FMA>();
        }
        *self.sum = row_sum(self.y.len(), |i| self.y[i]);
    }
}

struct Gradient<'a, T> {
    op: Softmax,
    y: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Exp> Kernel for Gradient<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (y, dy, len) = (self.y, &self.dy[..self.y.len()], self.y.len());
        let pairs = self.dx.iter_mut().zip(y.iter().zip(dy));
        match self.op {
            Softmax::Plain => {
                let sum = row_sum(len, |i| y[i] * dy[i]);
                pairs.for_each(|(dx, (y, dy))| *dx = *y * (*dy - sum));
            }
            Softmax::Log => {
                let sum = row_sum(len, |i| dy[i]);
                pairs.for_each(|(dx, (y, dy))| *dx = *dy - y.exp_below::<FMA>() * sum);
            }
        }
    }
}

/// Elements that one thread takes at a time: exponentials are dear.
const GRAIN: usize = 4096;

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain => "softmax",
            Self::Log => "log_softmax",
        }
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(s.dtype(), "softmax", self.forward::<T>(s, l))
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(y.dtype(), "softmax", self.backward::<T>(y, dy)).map(Some)
    }
}
