//! The largest and the smallest element along a dimension.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::host::{by_dtype, has_kernel, is_half, read, tensor};
use crate::many_inputs::CustomOpN;
use crate::simd::Scalar;
use crate::tape::{apply_n, differentiable};

/// The largest element along a dimension and its index (u32), as `torch.max(x, dim)`.
///
/// `(…, n, …)` → two of `(…)`
///
/// Of equal elements the first counts: its index is given and it gets the gradient. A NaN is the
/// largest of all. candle's own gives every one of them the whole gradient.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 3., 3.]], &Device::Cpu)?;
/// let (y, index) = dl_autograd::max(&x, 1)?;
/// assert_eq!((y.to_vec1::<f32>()?, index.to_vec1::<u32>()?), (vec![3.], vec![1]));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn max(x: &Tensor, dim: usize) -> Result<(Tensor, Tensor)> {
    one_of(x, dim, Extremum::Max)
}

/// The smallest element along a dimension and its index (u32), as `torch.min(x, dim)`. See [`max`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// let (y, index) = dl_autograd::min(&Tensor::new(&[2f32, 1., 1.], &Device::Cpu)?, 0)?;
/// assert_eq!((y.to_scalar::<f32>()?, index.to_scalar::<u32>()?), (1., 1));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn min(x: &Tensor, dim: usize) -> Result<(Tensor, Tensor)> {
    one_of(x, dim, Extremum::Min)
}

/// The largest element along a dimension, as `torch.amax`: equal ones share the gradient evenly.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// let x = Var::from_tensor(&Tensor::new(&[1f32, 3., 3.], &Device::Cpu)?)?;
/// let grads = dl_autograd::amax(&x, 0)?.backward()?;
/// assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>()?, [0., 0.5, 0.5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn amax(x: &Tensor, dim: usize) -> Result<Tensor> {
    shared(x, dim, Extremum::Max, "amax")
}

/// The smallest element along a dimension, as `torch.amin`: equal ones share the gradient evenly.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::amin(&Tensor::new(&[2f32, 1., 1.], &Device::Cpu)?, 0)?;
/// assert_eq!(y.to_scalar::<f32>()?, 1.);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn amin(x: &Tensor, dim: usize) -> Result<Tensor> {
    shared(x, dim, Extremum::Min, "amin")
}

fn shared(x: &Tensor, dim: usize, extremum: Extremum, name: &'static str) -> Result<Tensor> {
    let (y, _) = extremum.find(name, x, dim)?;
    let op = Shared { name, dim };
    let y = apply_n(&[x], y, op)?;
    Ok(differentiable(y, move |x, y, dy| op.bwd(x, y, dy)))
}

fn one_of(x: &Tensor, dim: usize, extremum: Extremum) -> Result<(Tensor, Tensor)> {
    let (y, index) = extremum.find(extremum.name(), x, dim)?;
    let op = First {
        name: extremum.name(),
        dim,
        index: index.clone(),
    };
    let y = apply_n(&[x], y, op.clone())?;
    let y = differentiable(y, move |x, y, dy| op.bwd(x, y, dy));
    Ok((y, index))
}

#[derive(Clone, Copy)]
enum Extremum {
    Max,
    Min,
}

impl Extremum {
    fn name(self) -> &'static str {
        match self {
            Self::Max => "max",
            Self::Min => "min",
        }
    }

    fn find(self, op: &str, x: &Tensor, dim: usize) -> Result<(Tensor, Tensor)> {
        if dim >= x.rank() || x.dims()[dim] == 0 {
            bail!(
                "{op} needs elements along its dimension {dim}, got x {:?}",
                x.shape()
            )
        }
        let x = x.detach();
        if has_kernel(&x) && !is_half(x.dtype()) {
            return by_dtype!(x.dtype(), "max", self.scan::<T>(&x, dim));
        }
        let index = match self {
            Self::Max => x.argmax_keepdim(dim)?,
            Self::Min => x.argmin_keepdim(dim)?,
        };
        let y = x.contiguous()?.gather(&index.contiguous()?, dim)?;
        Ok((y.squeeze(dim)?, index.squeeze(dim)?))
    }

    fn scan<T: Scalar>(self, x: &Tensor, dim: usize) -> Result<(Tensor, Tensor)> {
        let mut shape = x.dims().to_vec();
        let n = shape.remove(dim);
        let inner: usize = shape[dim..].iter().product();
        let count = shape.iter().product();
        let (mut y, mut index) = (vec![T::zero(); count], vec![0u32; count]);
        read::<T, _>(x, |x| {
            y.par_chunks_exact_mut(inner.max(1))
                .zip(index.par_chunks_exact_mut(inner.max(1)))
                .zip(x.par_chunks_exact((n * inner).max(1)))
                .with_min_len(4096usize.div_ceil((n * inner).max(1)))
                .for_each(|((y, index), x)| self.scan_block(x, y, index));
            Ok(())
        })?;
        Ok((
            tensor(y, shape.as_slice())?,
            Tensor::from_vec(index, shape, x.device())?,
        ))
    }

    fn scan_block<T: Scalar>(self, x: &[T], y: &mut [T], index: &mut [u32]) {
        let mut rows = x.chunks_exact(y.len());
        if let Some(first) = rows.next() {
            y.copy_from_slice(first);
        }
        for (i, row) in rows.enumerate() {
            for ((y, index), x) in y.iter_mut().zip(index.iter_mut()).zip(row) {
                if self.beats(*x, *y) {
                    (*y, *index) = (*x, i as u32 + 1);
                }
            }
        }
    }

    #[inline(always)]
    fn beats<T: Scalar>(self, x: T, best: T) -> bool {
        let further = match self {
            Self::Max => x > best,
            Self::Min => x < best,
        };
        further || (x.is_nan() && !best.is_nan())
    }
}

/// The gradients of both kinds are linear in `dy`, of operations that have gradients themselves.
#[derive(Clone)]
struct First {
    name: &'static str,
    dim: usize,
    index: Tensor,
}

impl CustomOpN for First {
    fn name(&self) -> &'static str {
        self.name
    }

    fn bwd(&self, x: &[Tensor], _: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let at = |t: &Tensor| t.unsqueeze(self.dim)?.contiguous();
        let zeros = x[0].detach().contiguous()?.zeros_like()?;
        let dx = zeros.scatter_add(&at(&self.index)?, &at(dy)?, self.dim)?;
        Ok(vec![Some(dx)])
    }
}

#[derive(Clone, Copy)]
struct Shared {
    name: &'static str,
    dim: usize,
}

impl CustomOpN for Shared {
    fn name(&self) -> &'static str {
        self.name
    }

    fn bwd(&self, x: &[Tensor], y: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = x[0].detach();
        let y = y.detach().unsqueeze(self.dim)?;
        let equal = x.broadcast_eq(&y)?.to_dtype(x.dtype())?;
        let share = (dy.unsqueeze(self.dim)? / equal.sum_keepdim(self.dim)?)?;
        Ok(vec![Some(equal.broadcast_mul(&share)?)])
    }
}
