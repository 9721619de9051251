//! Channels as pixels and back.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::host::{LIMIT, by_dtype, cleared, has_kernel, read, slice, tensor};
use crate::simd::Scalar;
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// Every `factor²` channels as one plane of `factor` times the size, as
/// `torch.nn.functional.pixel_shuffle`.
///
/// `(n, c·r², h, w)` → `(n, c, h·r, w·r)`
///
/// ```text
/// y[n, c, i·r + a, j·r + b] = x[n, (c·r + a)·r + b, i, j]
/// ```
///
/// An error for another rank or channels that are no multiple of `r²`.
///
/// Source: Shi and others, "Real-time single image and video super-resolution using an efficient
/// sub-pixel convolutional neural network", 2016.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[1f32, 2., 3., 4.], &Device::Cpu)?.reshape((1, 4, 1, 1))?;
/// let y = dl_autograd::pixel_shuffle(&x, 2)?.squeeze(0)?.squeeze(0)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[1., 2.], [3., 4.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn pixel_shuffle(x: &Tensor, factor: usize) -> Result<Tensor> {
    let square = factor.saturating_mul(factor);
    match *x.dims() {
        [n, c, h, w] if (1..LIMIT).contains(&factor) && c.is_multiple_of(square) => {
            let large = [n, c / square, h * factor, w * factor];
            shuffle(
                x,
                Shuffle {
                    large,
                    factor,
                    back: false,
                },
            )
        }
        _ => bail!(
            "pixel_shuffle by the factor {factor} takes x (n, c·{factor}², h, w), got {:?}",
            x.shape()
        ),
    }
}

/// The inverse of [`pixel_shuffle`], as `torch.nn.functional.pixel_unshuffle`.
///
/// `(n, c, h·r, w·r)` → `(n, c·r², h, w)`; an error for another rank or a size that is no multiple.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[[1f32, 2.], [3., 4.]]]], &Device::Cpu)?;
/// let y = dl_autograd::pixel_unshuffle(&x, 2)?;
/// assert_eq!(y.dims(), [1, 4, 1, 1]);
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1., 2., 3., 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn pixel_unshuffle(x: &Tensor, factor: usize) -> Result<Tensor> {
    match *x.dims() {
        [n, c, h, w]
            if (1..LIMIT).contains(&factor)
                && h.is_multiple_of(factor)
                && w.is_multiple_of(factor) =>
        {
            let large = [n, c, h, w];
            shuffle(
                x,
                Shuffle {
                    large,
                    factor,
                    back: true,
                },
            )
        }
        _ => bail!(
            "pixel_unshuffle by the factor {factor} takes x (n, c, {factor}·h, {factor}·w), got {:?}",
            x.shape()
        ),
    }
}

#[derive(Clone, Copy)]
struct Shuffle {
    /// Sizes of the side with few channels.
    large: [usize; 4],
    factor: usize,
    /// From that side to the other.
    back: bool,
}

fn shuffle(x: &Tensor, op: Shuffle) -> Result<Tensor> {
    if !has_kernel(x) {
        return op.composed(x);
    }
    let y = apply1(&contiguous(x)?, op)?;
    let reverse = op.reversed();
    Ok(differentiable(y, move |_, _, dy| {
        Ok(vec![Some(shuffle(dy, reverse)?)])
    }))
}

impl Shuffle {
    fn reversed(self) -> Self {
        Self {
            back: !self.back,
            ..self
        }
    }

    fn result(&self) -> [usize; 4] {
        let ([n, c, h, w], r) = (self.large, self.factor);
        match self.back {
            true => [n, c * r * r, h / r, w / r],
            false => self.large,
        }
    }

    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let ([n, c, h, w], r) = (self.large, self.factor);
        let split = match self.back {
            true => x
                .reshape(&[n, c, h / r, r, w / r, r])?
                .permute([0, 1, 3, 5, 2, 4])?,
            false => x
                .reshape(&[n, c, r, r, h / r, w / r])?
                .permute([0, 1, 4, 2, 5, 3])?,
        };
        split.contiguous()?.reshape(self.result().as_slice())
    }

    fn apply<T: Scalar>(&self, x: &[T]) -> Vec<T> {
        let ([_, _, h, w], r) = (self.large, self.factor);
        let mut y = cleared(x.len());
        let plane = (h * w).max(1);
        y.par_chunks_exact_mut(plane)
            .zip(x.par_chunks_exact(plane))
            .with_min_len((GRAIN / plane).max(1))
            .for_each(|(y, x)| {
                // A row of a small plane lies at every r-th pixel of a row of the large one.
                let rows = (0..r * r * (h / r)).map(|row| {
                    let (a, b, i) = (row / (h / r) / r, row / (h / r) % r, row % (h / r));
                    (row * (w / r), (i * r + a) * w + b)
                });
                for (small, large) in rows {
                    match self.back {
                        true => {
                            let from = x[large..].iter().step_by(r);
                            for (y, x) in y[small..small + w / r].iter_mut().zip(from) {
                                *y = *x;
                            }
                        }
                        false => {
                            let to = y[large..].iter_mut().step_by(r);
                            for (y, x) in to.zip(&x[small..small + w / r]) {
                                *y = *x;
                            }
                        }
                    }
                }
            });
        y
    }

    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.apply(slice::<T>(s, l)?);
        Ok((T::to_cpu_storage_owned(y), self.result().to_vec().into()))
    }

    fn backward<T: Scalar>(&self, dy: &Tensor) -> Result<Tensor> {
        let reversed = self.reversed();
        let dx = read::<T, _>(dy, |dy| Ok(reversed.apply(dy)))?;
        tensor(dx, reversed.result().to_vec())
    }
}

impl CustomOp1 for Shuffle {
    fn name(&self) -> &'static str {
        "pixel_shuffle"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s);
        by_dtype!(dtype, "pixel_shuffle", self.forward::<T>(s, l))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(dy.dtype(), "pixel_shuffle", self.backward::<T>(dy)).map(Some)
    }
}
