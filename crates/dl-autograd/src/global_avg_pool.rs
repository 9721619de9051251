//! The mean of every channel of a batch of signals, images or volumes.

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::host::{by_dtype, cleared, float, has_kernel, read, slice, tensor};
use crate::simd::{Kernel, Scalar, dispatch, row_sum};
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// Averages each channel over its pixels: `torch.nn.AdaptiveAvgPool2d(1)`, flattened, and the same of
/// signals and volumes.
///
/// `(n, c, d…)` → `(n, c)`; an error for fewer dimensions or a channel without pixels.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[[1f32, 2.], [3., 6.]]]], &Device::Cpu)?;
/// assert_eq!(dl_autograd::global_avg_pool(&x)?.to_vec2::<f32>()?, [[3.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let &[n, c, _, ..] = x.dims() else {
        bail!("global_avg_pool takes x (n, c, d…), got {:?}", x.shape())
    };
    float("global_avg_pool", ("x", x))?;
    let plane = x.dims()[2..].iter().product();
    if plane == 0 {
        bail!("global_avg_pool takes x with pixels, got {:?}", x.shape())
    }
    if !has_kernel(x) {
        return x.flatten_from(2)?.mean(D::Minus1);
    }
    let op = GlobalAvgPool {
        shape: [n, c],
        plane,
    };
    let y = apply1(&contiguous(x)?, op)?;
    Ok(differentiable(y, move |x, _, dy| {
        let mut one = vec![1; x[0].rank()];
        (one[0], one[1]) = (n, c);
        let spread = dy.reshape(one)?.broadcast_as(x[0].shape())?;
        Ok(vec![Some((spread / plane as f64)?)])
    }))
}

struct Total<'a, T> {
    plane: &'a [T],
    sum: &'a mut T,
}

impl<T: Scalar> Kernel for Total<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        *self.sum = row_sum(self.plane.len(), |i| self.plane[i]);
    }
}

struct GlobalAvgPool {
    shape: [usize; 2],
    plane: usize,
}

impl GlobalAvgPool {
    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let size = T::from_f64(self.plane as f64);
        let mut y = vec![T::zero(); self.shape[0] * self.shape[1]];
        y.par_iter_mut()
            .with_min_len((GRAIN / self.plane).max(1))
            .zip(slice::<T>(s, l)?.par_chunks_exact(self.plane))
            .for_each(|(sum, plane)| {
                dispatch(Total { plane, sum });
                *sum /= size;
            });
        Ok((T::to_cpu_storage_owned(y), self.shape.to_vec().into()))
    }

    fn backward<T: Scalar>(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let size = T::from_f64(self.plane as f64);
        let mut dx = cleared(x.elem_count());
        read::<T, _>(dy, |dy| {
            dx.par_chunks_exact_mut(self.plane)
                .with_min_len((GRAIN / self.plane).max(1))
                .zip(dy)
                .for_each(|(dx, &dy)| dx.fill(dy / size));
            Ok(())
        })?;
        tensor(dx, x.dims())
    }
}

impl CustomOp1 for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s);
        by_dtype!(dtype, "global_avg_pool", self.forward::<T>(s, l))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(x.dtype(), "global_avg_pool", self.backward::<T>(x, dy)).map(Some)
    }
}
