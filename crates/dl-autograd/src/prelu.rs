//! The leaky rectifier whose slope is learned.

use std::mem::MaybeUninit;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::host::{
    by_dtype, has_kernel, if_tracked, one_float_type, read, room, slice, tensor, written,
};
use crate::lanes::sums;
use crate::simd::{self, Kernel, Scalar, dispatch};
use crate::tape::{apply2, differentiable};
use crate::view::{contiguous, sum_to};

/// `x` above 0, `w·x` below, as `torch.nn.functional.prelu`.
///
/// `x (…)`, `weight (1,)`, or `x (n, channels, …)`, `weight (channels,)`
///
/// ```text
/// ∂L/∂x = dy·(x > 0 ? 1 : w)          ∂L/∂w = Σ dy·x over x ≤ 0
/// ```
///
/// An error if the weight has another number of elements.
///
/// Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[2f32, -2.]], &Device::Cpu)?;
/// let y = dl_autograd::prelu(&x, &Tensor::new(&[0.5f32, 0.25], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[2., -0.5]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn prelu(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    one_float_type("prelu", ("x", x), &[("weight", weight)])?;
    let channels = x.dims().get(1).copied().unwrap_or(1);
    let count = weight.elem_count();
    if weight.rank() > 1 || (count != 1 && count != channels) {
        let shape = weight.shape();
        bail!(
            "prelu: weight must be [1] or [{channels}] for x {:?}, got {shape:?}",
            x.shape()
        )
    }
    match has_kernel(x) {
        true => {
            let y = apply2(&contiguous(x)?, &contiguous(weight)?, PRelu)?;
            Ok(differentiable(y, |i, _, dy| pull(&i[0], &i[1], dy)))
        }
        false => composed(x, weight),
    }
}

/// A weight in a shape that broadcasts over `x`.
fn aligned(weight: &Tensor, x: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    if weight.elem_count() > 1 {
        shape[1] = weight.elem_count();
    }
    weight.reshape(shape)
}

fn composed(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let leak = x.broadcast_mul(&aligned(weight, x)?)?;
    x.gt(0.)?.where_cond(x, &leak)
}

/// The gradients as operations of their own.
fn pull(x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
    let (above, slope) = (x.gt(0.)?, aligned(weight, x)?);
    let dx = if_tracked(x, || {
        let slope = slope.broadcast_as(x.shape())?;
        dy * above.where_cond(&x.ones_like()?, &slope)?
    })?;
    let dweight = if_tracked(weight, || {
        let below = above.where_cond(&x.zeros_like()?, x)?;
        sum_to(&(dy * below)?, slope.shape())?.reshape(weight.shape())
    })?;
    Ok(vec![dx, dweight])
}

struct PRelu;

/// Elements of one channel that lie together, or some of them, and the number of channels.
fn runs(x: &Shape, weights: usize) -> (usize, usize) {
    match weights {
        1 => (GRAIN, 1),
        channels => (x.dims()[2..].iter().product::<usize>().max(1), channels),
    }
}

fn forward<T: Scalar>(x: &[T], weight: &[T], shape: &Shape) -> Vec<T> {
    leak(x, x, weight, shape)
}

/// `from`, times the slope of its channel where `x` is not above 0.
fn leak<T: Scalar>(from: &[T], x: &[T], weight: &[T], shape: &Shape) -> Vec<T> {
    let (run, channels) = runs(shape, weight.len());
    let mut to = room(x.len());
    let operands = from.par_chunks(run).zip(x.par_chunks(run));
    let chunks = to.par_chunks_mut(run).zip(operands).enumerate();
    chunks.for_each(|(i, (to, (from, x)))| {
        let slope = weight[i % channels];
        dispatch(Leak { from, x, slope, to });
    });
    // SAFETY: all are of one length, and each chunk writes all of its own.
    unsafe { written(to) }
}

struct Leak<'a, T> {
    from: &'a [T],
    x: &'a [T],
    slope: T,
    to: &'a mut [MaybeUninit<T>],
}

impl<T: Scalar> Kernel for Leak<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for ((to, from), x) in self.to.iter_mut().zip(self.from).zip(self.x) {
            let leak = self.slope * *from;
            to.write(if *x > T::zero() { *from } else { leak });
        }
    }
}

fn run<T: Scalar>(
    x: &CpuStorage,
    x_layout: &Layout,
    weight: &CpuStorage,
    weight_layout: &Layout,
) -> Result<(CpuStorage, Shape)> {
    let (x, weight) = (slice::<T>(x, x_layout)?, slice(weight, weight_layout)?);
    let y = forward(x, weight, x_layout.shape());
    Ok((T::to_cpu_storage_owned(y), x_layout.shape().clone()))
}

/// One channel after the other, each in the order of memory, so that threads change no bit.
fn weight_gradient<T: Scalar>(x: &[T], weights: usize, dy: &[T], shape: &Shape) -> Vec<T> {
    let (run, channels) = runs(shape, weights);
    let channel = |channel: usize| {
        let pairs = x.chunks(run).zip(dy.chunks(run));
        let own = pairs.skip(channel).step_by(channels);
        T::from_f64(own.map(|(x, dy)| simd::run(Below { x, dy })).sum())
    };
    (0..channels).into_par_iter().map(channel).collect()
}

/// The sum of `x·dy` where `x` is not above 0.
struct Below<'a, T> {
    x: &'a [T],
    dy: &'a [T],
}

impl<T: Scalar> WithSimd for Below<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let zero = T::zero();
        let [sum] = sums(self.x, self.dy, |x, dy, [sum]| {
            [sum + if x > zero { zero } else { x * dy }]
        });
        sum
    }
}

impl CustomOp2 for PRelu {
    fn name(&self) -> &'static str {
        "prelu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(
            x.dtype(),
            "prelu",
            run::<T>(x, x_layout, weight, weight_layout)
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        by_dtype!(x.dtype(), "prelu", gradients::<T>(x, weight, dy))
    }
}

fn gradients<T: Scalar>(
    x: &Tensor,
    weight: &Tensor,
    dy: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let dx = if_tracked(x, || {
        let dx = read::<T, _>(x, |xs| {
            read::<T, _>(weight, |w| {
                read::<T, _>(dy, |dy| Ok(leak(dy, xs, w, x.shape())))
            })
        })?;
        tensor(dx, x.dims())
    })?;
    let dw = if_tracked(weight, || {
        let dw = read::<T, _>(x, |xs| {
            read::<T, _>(dy, |dy| {
                Ok(weight_gradient(xs, weight.elem_count(), dy, x.shape()))
            })
        })?;
        tensor(dw, weight.dims())
    })?;
    Ok((dx, dw))
}
