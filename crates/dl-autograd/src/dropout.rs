//! Dropout whose mask is generated again in backward instead of being stored.

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::host::{by_dtype, float, has_kernel, read, slice, tensor};
use crate::rng::Rng;
use crate::simd::Scalar;
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// Sets each element to zero with probability `p` and divides the others by `1 − p`.
///
/// Element `i` is kept when `rng.uniform(i) ≥ p`: the mask is a function of the stream alone, so it
/// is the same for any number of threads and in a resumed run. `p` lies in `[0, 1]`; at 0 the input
/// is returned as it is.
///
/// Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout", 2014.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{Purpose, Rng, dropout};
/// let x = Tensor::ones(1000, DType::F32, &Device::Cpu)?;
/// let y = dropout(&x, 0.5, Rng::new(0, Purpose::Dropout, 0))?.to_vec1::<f32>()?;
/// assert!(y.iter().all(|&y| y == 0. || y == 2.));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn dropout(x: &Tensor, p: f64, rng: Rng) -> Result<Tensor> {
    if !(0. ..=1.).contains(&p) {
        bail!("dropout needs a p in [0, 1], got {p}")
    }
    float("dropout", ("x", x))?;
    let op = Dropout { p, rng };
    match p {
        0. => Ok(x.clone()),
        _ if has_kernel(x) => {
            let y = apply1(&contiguous(x)?, op)?;
            Ok(differentiable(y, move |_, _, dy| {
                Ok(vec![Some(dropout(dy, p, rng)?)])
            }))
        }
        _ => x * op.mask_like(x)?,
    }
}

struct Dropout {
    p: f64,
    rng: Rng,
}

impl Dropout {
    fn mask_like(&self, x: &Tensor) -> Result<Tensor> {
        let ones = vec![1f32; x.elem_count()];
        let mask = Tensor::from_vec(self.apply(&ones), x.shape(), &Device::Cpu)?;
        mask.to_device(x.device())?.to_dtype(x.dtype())
    }

    fn apply<T: Scalar>(&self, x: &[T]) -> Vec<T> {
        let scale = match self.p {
            1. => T::zero(),
            p => T::from_f64(1. / (1. - p)),
        };
        let threshold = self.p as f32;
        let mut y = vec![T::zero(); x.len()];
        y.par_chunks_mut(GRAIN)
            .zip(x.par_chunks(GRAIN))
            .enumerate()
            .for_each_init(
                || vec![0f32; GRAIN],
                |uniform, (i, (y, x))| {
                    let uniform = &mut uniform[..x.len()];
                    self.rng.fill_uniform((i * GRAIN) as u64, uniform);
                    for ((y, x), u) in y.iter_mut().zip(x).zip(uniform) {
                        *y = if *u < threshold {
                            T::zero()
                        } else {
                            *x * scale
                        };
                    }
                },
            );
        y
    }

    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.apply(slice::<T>(s, l)?);
        Ok((T::to_cpu_storage_owned(y), l.shape().clone()))
    }

    fn backward<T: Scalar>(&self, dy: &Tensor) -> Result<Tensor> {
        tensor(read::<T, _>(dy, |dy| Ok(self.apply(dy)))?, dy.dims())
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s);
        by_dtype!(dtype, "dropout", self.forward::<T>(s, l))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(dy.dtype(), "dropout", self.backward::<T>(dy)).map(Some)
    }
}
