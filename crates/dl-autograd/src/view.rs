//! candle's views and arithmetic, noted on the tape.

use candle_core::shape::ShapeWithOneHole;
use candle_core::{DType, Error, Result, Shape, Tensor};

use crate::tape::candle_op;

/// `x` in another shape, as candle's `reshape`, followed by the [`Tape`](crate::Tape).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let x = Tensor::zeros((2, 3, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(dl_autograd::reshape(&x, (2, ()))?.dims(), [2, 12]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn reshape(x: &Tensor, shape: impl ShapeWithOneHole) -> Result<Tensor> {
    let misfit = |error| {
        let (dims, count) = (x.shape(), x.elem_count());
        Error::msg(format!(
            "reshape of x {dims:?} of {count} elements: {error}"
        ))
    };
    let shape = shape.into_shape(x.elem_count()).map_err(misfit)?;
    candle_op(
        &[x],
        |x| x[0].reshape(&shape),
        |x, _, dy| Ok(vec![Some(dy.reshape(x[0].shape())?)]),
    )
}

/// The dimensions from `start` on as one, as `torch.flatten`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let x = Tensor::zeros((2, 3, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(dl_autograd::flatten_from(&x, 1)?.dims(), [2, 12]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn flatten_from(x: &Tensor, start: usize) -> Result<Tensor> {
    candle_op(
        &[x],
        |x| {
            let misfit = |error| {
                let dims = x[0].shape();
                Error::msg(format!("flatten_from of x {dims:?} at {start}: {error}"))
            };
            x[0].flatten_from(start).map_err(misfit)
        },
        |x, _, dy| Ok(vec![Some(dy.reshape(x[0].shape())?)]),
    )
}

/// Two dimensions exchanged, as candle's `transpose`, followed by the [`Tape`](crate::Tape).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let x = Tensor::zeros((2, 3, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(dl_autograd::transpose(&x, 0, 2)?.dims(), [4, 3, 2]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn transpose(x: &Tensor, a: usize, b: usize) -> Result<Tensor> {
    candle_op(
        &[x],
        |x| x[0].transpose(a, b),
        move |_, _, dy| Ok(vec![Some(dy.transpose(a, b)?)]),
    )
}

/// `factor·x`, followed by the [`Tape`](crate::Tape).
///
/// A factor of 0 gives a gradient of zeros, where candle's own walk loses the path.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[2f32, 3.], &Device::Cpu)?;
/// assert_eq!(dl_autograd::scale(&x, -2.)?.to_vec1::<f32>()?, [-4., -6.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn scale(x: &Tensor, factor: f64) -> Result<Tensor> {
    candle_op(
        &[x],
        |x| match factor == 0. {
            true => &x[0] * x[0].detach().zeros_like()?,
            false => &x[0] * factor,
        },
        move |_, _, dy| Ok(vec![Some((dy * factor)?)]),
    )
}

/// `x` broadcast to a shape, without a copy.
pub(crate) fn expand(x: &Tensor, shape: Vec<usize>) -> Result<Tensor> {
    if x.dims() == shape {
        return Ok(x.clone());
    }
    candle_op(
        &[x],
        |x| x[0].broadcast_as(shape),
        |x, _, dy| Ok(vec![Some(sum_to(dy, x[0].shape())?)]),
    )
}

/// The adjoint of a broadcast from `shape`: sums over what was repeated.
pub(crate) fn sum_to(x: &Tensor, shape: &Shape) -> Result<Tensor> {
    let extra = x.rank() - shape.rank();
    let repeated: Vec<usize> = (0..x.rank())
        .filter(|&d| d < extra || (shape.dims()[d - extra] == 1 && x.dims()[d] != 1))
        .collect();
    match repeated.is_empty() {
        true => Ok(x.clone()),
        false => x.sum_keepdim(repeated)?.reshape(shape),
    }
}

/// `x` with its elements in order, without a copy where they are.
pub(crate) fn contiguous(x: &Tensor) -> Result<Tensor> {
    if x.is_contiguous() {
        return Ok(x.clone());
    }
    candle_op(
        &[x],
        |x| x[0].contiguous(),
        |_, _, dy| Ok(vec![Some(dy.clone())]),
    )
}

/// `x` in another element type.
pub(crate) fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    candle_op(
        &[x],
        |x| x[0].to_dtype(dtype),
        |x, _, dy| Ok(vec![Some(dy.to_dtype(x[0].dtype())?)]),
    )
}

/// `x` with dimension `dim` before all others, which keep their order; without a copy.
pub(crate) fn to_front(x: &Tensor, dim: usize) -> Result<Tensor> {
    (0..dim)
        .rev()
        .try_fold(x.clone(), |x, d| transpose(&x, d, d + 1))
}

/// The inverse of [`to_front`].
pub(crate) fn from_front(x: &Tensor, dim: usize) -> Result<Tensor> {
    (0..dim).try_fold(x.clone(), |x, d| transpose(&x, d, d + 1))
}

/// `len` entries of a dimension from `start` on, as candle's `narrow`, followed by the
/// [`Tape`](crate::Tape).
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[1f32, 2., 3., 4.], &Device::Cpu)?;
/// assert_eq!(dl_autograd::narrow(&x, 0, 1, 2)?.to_vec1::<f32>()?, [2., 3.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn narrow(x: &Tensor, dim: usize, start: usize, len: usize) -> Result<Tensor> {
    candle_op(
        &[x],
        |x| slice(&x[0], dim, start, len),
        move |x, _, dy| {
            let rest = x[0].dim(dim)? - start - len;
            Ok(vec![Some(pad(dy, dim, (start, rest))?)])
        },
    )
}

/// candle's `narrow`, which points behind the memory of a tensor without elements.
pub(crate) fn slice(x: &Tensor, dim: usize, start: usize, len: usize) -> Result<Tensor> {
    let fits = dim < x.rank() && start.saturating_add(len) <= x.dims()[dim];
    match fits && x.elem_count() == 0 {
        true => x.narrow(dim, 0, len),
        false => x.narrow(dim, start, len),
    }
}

/// The adjoint of [`narrow`]: zeros before and after.
pub(crate) fn pad(x: &Tensor, dim: usize, (before, after): (usize, usize)) -> Result<Tensor> {
    candle_op(
        &[x],
        |x| x[0].pad_with_zeros(dim, before, after),
        move |x, _, dy| Ok(vec![Some(narrow(dy, dim, before, x[0].dim(dim)?)?)]),
    )
}
