//! Running sums.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::host::{by_dtype, has_kernel, read, slice, tensor};
use crate::simd::Scalar;
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// The running sum along one dimension, as `torch.cumsum`.
///
/// ```text
/// yᵢ = x₀ + … + xᵢ          ∂xᵢ = dyᵢ + … + dyₙ₋₁
/// ```
///
/// One pass each way, where candle's own multiplies with an n×n matrix. An error if `dim` is not a
/// dimension of `x`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
/// assert_eq!(dl_autograd::cumsum(&x, 0)?.to_vec1::<f32>()?, [1., 3., 6.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn cumsum(x: &Tensor, dim: usize) -> Result<Tensor> {
    if dim >= x.rank() {
        bail!("cumsum along dimension {dim} of a tensor {:?}", x.shape())
    }
    match has_kernel(x) {
        true => CumSum {
            dim,
            from: Side::Start,
        }
        .apply(x),
        false => composed(x, dim),
    }
}

/// Sums over 2, 4, 8, … elements, where candle's own multiplies an infinity by 0 and has no gradient
/// for some shapes.
fn composed(x: &Tensor, dim: usize) -> Result<Tensor> {
    let (n, mut y, mut step) = (x.dim(dim)?, x.clone(), 1);
    while step < n && x.elem_count() > 0 {
        let before = y.narrow(dim, 0, n - step)?;
        y = (&y + before.pad_with_zeros(dim, step, 0)?)?;
        step *= 2;
    }
    Ok(y)
}

#[derive(Clone, Copy)]
struct CumSum {
    dim: usize,
    from: Side,
}

#[derive(Clone, Copy)]
enum Side {
    Start,
    End,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Start => Self::End,
            Self::End => Self::Start,
        }
    }
}

impl CumSum {
    fn apply(self, x: &Tensor) -> Result<Tensor> {
        let y = apply1(&contiguous(x)?, self)?;
        Ok(differentiable(y, move |_, _, dy| {
            Ok(vec![Some(self.reversed().apply(dy)?)])
        }))
    }

    /// The way of the gradient.
    fn reversed(self) -> Self {
        Self {
            from: self.from.other(),
            ..self
        }
    }

    /// Sums the planes of `inner` elements in each `(n, inner)` of `x` in place.
    fn run<T: Scalar>(self, x: &mut [T], dims: &[usize]) {
        let inner: usize = dims[self.dim + 1..].iter().product();
        let block = (dims[self.dim] * inner).max(1);
        x.par_chunks_exact_mut(block)
            .with_min_len(GRAIN.div_ceil(block))
            .for_each(|x| match self.from {
                Side::Start => sum_forwards(x, inner),
                Side::End => sum_backwards(x, inner),
            });
    }

    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = slice::<T>(s, l)?.to_vec();
        self.run(&mut y, l.dims());
        Ok((T::to_cpu_storage_owned(y), l.shape().clone()))
    }

    fn backward<T: Scalar>(&self, dy: &Tensor) -> Result<Tensor> {
        let mut dx = read::<T, _>(dy, |dy| Ok(dy.to_vec()))?;
        self.reversed().run(&mut dx, dy.dims());
        tensor(dx, dy.dims())
    }
}

fn sum_forwards<T: Scalar>(x: &mut [T], inner: usize) {
    if inner == 1 {
        return running(x.iter_mut());
    }
    for i in inner..x.len() {
        x[i] += x[i - inner];
    }
}

fn sum_backwards<T: Scalar>(x: &mut [T], inner: usize) {
    if inner == 1 {
        return running(x.iter_mut().rev());
    }
    for i in (inner..x.len()).rev() {
        x[i - inner] += x[i];
    }
}

/// Keeps the sum in a register instead of reading it back.
fn running<'a, T: Scalar>(x: impl Iterator<Item = &'a mut T>) {
    x.fold(T::zero(), |sum, x| {
        *x += sum;
        *x
    });
}

impl CustomOp1 for CumSum {
    fn name(&self) -> &'static str {
        "cumsum"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(s.dtype(), "cumsum", self.forward::<T>(s, l))
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(y.dtype(), "cumsum", self.backward::<T>(dy)).map(Some)
    }
}
