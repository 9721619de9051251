//! One factor for every channel of every sample.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::host::{by_dtype, cleared, has_kernel, one_float_type, read, slice, tensor};
use crate::simd::{Kernel, Scalar, dispatch, row_sum};
use crate::tape::{apply2, differentiable};
use crate::view::contiguous;

/// Multiplies each channel of each sample by a factor: the gate of a squeeze-and-excitation block.
///
/// x `(n, c, …)`, factors `(n, c)` → `(n, c, …)`
///
/// ```text
/// yₙ꜀ₚ = sₙ꜀·xₙ꜀ₚ          ∂L/∂sₙ꜀ = Σₚ xₙ꜀ₚ·∂L/∂yₙ꜀ₚ
/// ```
///
/// Shapes that do not fit are an error. Source: Hu, Shen, Sun, "Squeeze-and-excitation networks", 2018.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1f32, 2.], [3., 4.]]], &Device::Cpu)?;
/// let s = Tensor::new(&[[10f32, 0.5]], &Device::Cpu)?;
/// let y = dl_autograd::scale_channels(&x, &s)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [10., 20., 1.5, 2.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn scale_channels(x: &Tensor, factors: &Tensor) -> Result<Tensor> {
    if x.rank() < 2 || x.dims()[..2] != *factors.dims() {
        bail!(
            "scale_channels takes x (n, c, …) and factors (n, c), got {:?} and {:?}",
            x.shape(),
            factors.shape()
        )
    }
    one_float_type("scale_channels", ("x", x), &[("factors", factors)])?;
    if !has_kernel(x) || x.elem_count() == 0 {
        return x.broadcast_mul(&over_channels(factors, x.rank())?);
    }
    let plane = x.dims()[2..].iter().product();
    let y = apply2(
        &contiguous(x)?,
        &contiguous(factors)?,
        ScaleChannels { plane },
    )?;
    Ok(differentiable(y, |operands, _, dy| {
        let [x, factors] = operands else {
            bail!("scale_channels has two operands")
        };
        let dx = x.track_op().then(|| {
            let factors = over_channels(factors, x.rank())?;
            dy.broadcast_mul(&factors)
        });
        let df = factors.track_op().then(|| {
            let products = (dy * x)?.reshape((factors.elem_count(), ()))?;
            products.sum(1)?.reshape(factors.shape())
        });
        Ok(vec![dx.transpose()?, df.transpose()?])
    }))
}

/// `(n, c)` → `(n, c, 1, …)`.
fn over_channels(factors: &Tensor, rank: usize) -> Result<Tensor> {
    let mut shape = factors.dims().to_vec();
    shape.resize(rank, 1);
    factors.reshape(shape)
}

struct ScaleChannels {
    plane: usize,
}

struct Scale<'a, T> {
    x: &'a [T],
    factor: T,
    y: &'a mut [T],
}

impl<T: Scalar> Kernel for Scale<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = *x * self.factor;
        }
    }
}

struct Dot<'a, T> {
    a: &'a [T],
    b: &'a [T],
    sum: &'a mut T,
}

impl<T: Scalar> Kernel for Dot<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let b = &self.b[..self.a.len()];
        *self.sum = row_sum(self.a.len(), |i| self.a[i] * b[i]);
    }
}

impl ScaleChannels {
    /// Planes that one thread takes at a time.
    fn planes(&self) -> usize {
        (GRAIN / self.plane).max(1)
    }

    fn forward<T: Scalar>(
        &self,
        (x, layout): (&CpuStorage, &Layout),
        factors: (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let (x, factors) = (slice::<T>(x, layout)?, slice::<T>(factors.0, factors.1)?);
        let mut y = cleared(x.len());
        y.par_chunks_exact_mut(self.plane)
            .zip(x.par_chunks_exact(self.plane))
            .zip(factors)
            .with_min_len(self.planes())
            .for_each(|((y, x), &factor)| dispatch(Scale { x, factor, y }));
        Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
    }

    fn backward<T: Scalar>(
        &self,
        x: &Tensor,
        factors: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (to_x, to_factors) = (x.track_op(), factors.track_op());
        let count = factors.elem_count();
        let mut dx = cleared(if to_x { x.elem_count() } else { 0 });
        let mut df = vec![T::zero(); count];
        // A plane of `dy` serves both gradients while it is in the cache.
        let mut planes: Vec<_> = dx.chunks_exact_mut(self.plane).map(Some).collect();
        planes.resize_with(count, || None);
        read::<T, _>(x, |x| {
            read::<T, _>(factors, |factors| {
                read::<T, _>(dy, |dy| {
                    let sources = x.par_chunks_exact(self.plane).zip(factors);
                    let sources = sources.zip(dy.par_chunks_exact(self.plane));
                    let targets = planes.into_par_iter().zip(&mut df);
                    let all = sources.zip(targets).with_min_len(self.planes());
                    all.for_each(|(((x, &factor), dy), (dx, sum))| {
                        if let Some(y) = dx {
                            dispatch(Scale { x: dy, factor, y });
                        }
                        if to_factors {
                            dispatch(Dot { a: dy, b: x, sum });
                        }
                    });
                    Ok(())
                })
            })
        })?;
        let dx = to_x.then(|| tensor(dx, x.dims())).transpose()?;
        let df = to_factors.then(|| tensor(df, factors.dims())).transpose()?;
        Ok((dx, df))
    }
}

impl CustomOp2 for ScaleChannels {
    fn name(&self) -> &'static str {
        "scale_channels"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        factors: &CpuStorage,
        factors_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, factors) = ((x, x_layout), (factors, factors_layout));
        let dtype = candle_core::backend::BackendStorage::dtype(x.0);
        by_dtype!(dtype, "scale_channels", self.forward::<T>(x, factors))
    }

    fn bwd(
        &self,
        x: &Tensor,
        factors: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        by_dtype!(
            x.dtype(),
            "scale_channels",
            self.backward::<T>(x, factors, dy)
        )
    }
}
