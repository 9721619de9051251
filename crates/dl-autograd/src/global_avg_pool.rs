//! The mean of every plane of a batch of images.

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::host::{by_dtype, float, has_kernel, read, slice, tensor};
use crate::simd::Scalar;
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// Averages each channel over its pixels: `torch.nn.AdaptiveAvgPool2d(1)`, flattened.
///
/// `(n, c, h, w)` → `(n, c)`; an error for another rank or an image without pixels.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[[1f32, 2.], [3., 6.]]]], &Device::Cpu)?;
/// assert_eq!(dl_autograd::global_avg_pool(&x)?.to_vec2::<f32>()?, [[3.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let &[n, c, h, w] = x.dims() else {
        bail!("global_avg_pool takes x (n, c, h, w), got {:?}", x.shape())
    };
    float("global_avg_pool", ("x", x))?;
    if h * w == 0 {
        bail!("global_avg_pool takes x with pixels, got {:?}", x.shape())
    }
    if !has_kernel(x) {
        return x.flatten_from(2)?.mean(D::Minus1);
    }
    let op = GlobalAvgPool {
        shape: [n, c],
        plane: h * w,
    };
    let y = apply1(&contiguous(x)?, op)?;
    Ok(differentiable(y, |x, _, dy| {
        let (n, c, h, w) = x[0].dims4()?;
        let spread = dy.reshape((n, c, 1, 1))?.broadcast_as((n, c, h, w))?;
        Ok(vec![Some((spread / (h * w) as f64)?)])
    }))
}

struct GlobalAvgPool {
    shape: [usize; 2],
    plane: usize,
}

impl GlobalAvgPool {
    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let size = T::from_f64(self.plane as f64);
        let y: Vec<T> = slice::<T>(s, l)?
            .par_chunks_exact(self.plane)
            .with_min_len(64)
            .map(|plane| plane.iter().copied().sum::<T>() / size)
            .collect();
        Ok((T::to_cpu_storage_owned(y), self.shape.to_vec().into()))
    }

    fn backward<T: Scalar>(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let size = T::from_f64(self.plane as f64);
        let mut dx = vec![T::zero(); x.elem_count()];
        read::<T, _>(dy, |dy| {
            dx.par_chunks_exact_mut(self.plane)
                .with_min_len(64)
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
