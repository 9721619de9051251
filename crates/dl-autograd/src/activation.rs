//! Activations that clamp: ReLU and ReLU6, alone and fused behind another op.

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::host::{by_dtype, float, has_kernel, read, room, slice, tensor, written};
use crate::simd::{Kernel, Scalar, dispatch};
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// Elements that one thread takes at a time: small work stays on one thread.
pub(crate) const GRAIN: usize = 32 * 1024;

/// An activation that an op applies to its result on the way out.
///
/// The derivative at a kink is 0, as PyTorch's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `y = x`.
    #[default]
    Identity,
    /// `y = max(x, 0)`.
    Relu,
    /// `y = min(max(x, 0), 6)`.
    Relu6,
}

impl Activation {
    /// Applies the activation as an op of its own.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use dl_autograd::Activation;
    /// let y = Activation::Relu6.forward(&Tensor::new(&[-1f32, 3., 9.], &Device::Cpu)?)?;
    /// assert_eq!(y.to_vec1::<f32>()?, [0., 3., 6.]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            _ if !x.dtype().is_float() => float(self.name(), ("x", x)).map(|()| x.clone()),
            _ if has_kernel(x) => {
                let y = apply1(&contiguous(x)?, Clamp(self))?;
                Ok(differentiable(y, move |_, y, dy| {
                    Ok(vec![Some((dy * self.open(y)?)?)])
                }))
            }
            _ => self.composed(x),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
        }
    }

    fn composed(self, x: &Tensor) -> Result<Tensor> {
        let (low, high) = self.bounds::<f64>();
        let below = x.le(low)?.where_cond(&x.zeros_like()?, x)?;
        if high.is_infinite() {
            return Ok(below);
        }
        let top = x.zeros_like()?.affine(1., high)?;
        x.ge(high)?.where_cond(&top, &below)
    }

    /// 1 where the gradient passes a result, 0 elsewhere.
    pub(crate) fn open(self, y: &Tensor) -> Result<Tensor> {
        let (low, high) = self.bounds::<f64>();
        let y = y.detach();
        (y.gt(low)? * y.lt(high)?)?.to_dtype(y.dtype())
    }

    /// The gradient in front of the activation whose result was `y`, on the CPU.
    pub(crate) fn pass_back(self, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        if self == Self::Identity {
            return Ok(dy.clone());
        }
        let clamp = Clamp(self);
        by_dtype!(y.dtype(), "activation", clamp.backward::<T>(y, dy))
    }

    /// The values between which the activation is the identity.
    pub(crate) fn bounds<T: Scalar>(self) -> (T, T) {
        match self {
            Self::Identity => (T::neg_infinity(), T::infinity()),
            Self::Relu => (T::zero(), T::infinity()),
            Self::Relu6 => (T::zero(), T::from_f64(6.)),
        }
    }
}

/// Clamps to `[low, high]` and lets a NaN through, which `min` and `max` would swallow.
#[inline(always)]
pub(crate) fn clamp<T: Scalar>(x: T, (low, high): (T, T)) -> T {
    if x < low {
        low
    } else if x > high {
        high
    } else {
        x
    }
}

/// The gradient that passes an activation whose result was `y`.
#[inline(always)]
pub(crate) fn pass<T: Scalar>(dy: T, y: T, (low, high): (T, T)) -> T {
    // Both comparisons always: a branch would keep the loop around it from becoming vectors.
    if (y <= low) | (y >= high) {
        T::zero()
    } else {
        dy
    }
}

/// The rectifier, `max(x, 0)`, with the derivative 0 at 0 (candle's own has 1).
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// let x = Var::from_tensor(&Tensor::new(&[-1f32, 0., 2.], &Device::Cpu)?)?;
/// let grads = dl_autograd::relu(&x)?.sum_all()?.backward()?;
/// assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>()?, [0., 0., 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn relu(x: &Tensor) -> Result<Tensor> {
    Activation::Relu.forward(x)
}

/// `min(max(x, 0), 6)`, with the derivative 0 at both kinks.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::relu6(&Tensor::new(&[-1f32, 3., 9.], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec1::<f32>()?, [0., 3., 6.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn relu6(x: &Tensor) -> Result<Tensor> {
    Activation::Relu6.forward(x)
}

struct Clamp(Activation);

impl Clamp {
    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, bounds) = (slice::<T>(s, l)?, self.0.bounds());
        let mut y = room(x.len());
        y.par_chunks_mut(GRAIN)
            .zip(x.par_chunks(GRAIN))
            .for_each(|(y, x)| dispatch(Forward { y, x, bounds }));
        // SAFETY: the chunks of `x` and `y` have the same lengths, and each chunk writes all of its own.
        let y = unsafe { written(y) };
        Ok((T::to_cpu_storage_owned(y), l.shape().clone()))
    }

    fn backward<T: Scalar>(&self, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let bounds = self.0.bounds();
        let dx = read::<T, _>(y, |y| {
            read::<T, _>(dy, |dy| {
                let mut dx = room(y.len());
                dx.par_chunks_mut(GRAIN)
                    .zip(dy.par_chunks(GRAIN).zip(y.par_chunks(GRAIN)))
                    .for_each(|(dx, (dy, y))| dispatch(Backward { dx, dy, y, bounds }));
                // SAFETY: as above; `dy` has the shape of `y`.
                Ok(unsafe { written(dx) })
            })
        })?;
        tensor(dx, y.dims())
    }
}

impl CustomOp1 for Clamp {
    fn name(&self) -> &'static str {
        "clamp"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s);
        by_dtype!(dtype, "activation", self.forward::<T>(s, l))
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        self.0.pass_back(y, dy).map(Some)
    }
}

struct Forward<'a, T> {
    y: &'a mut [MaybeUninit<T>],
    x: &'a [T],
    bounds: (T, T),
}

impl<T: Scalar> Kernel for Forward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            y.write(clamp(*x, self.bounds));
        }
    }
}

struct Backward<'a, T> {
    dx: &'a mut [MaybeUninit<T>],
    dy: &'a [T],
    y: &'a [T],
    bounds: (T, T),
}

impl<T: Scalar> Kernel for Backward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for ((dx, dy), y) in self.dx.iter_mut().zip(self.dy).zip(self.y) {
            dx.write(pass(*dy, *y, self.bounds));
        }
    }
}
