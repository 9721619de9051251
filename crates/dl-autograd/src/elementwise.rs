//! Functions of one number on all elements: one driver for the value and the gradient.

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::host::{read, room, slice, tensor, written};
use crate::simd::{Kernel, Scalar, dispatch};
use crate::smooth::Smooth;

/// Elements that one thread takes at a time: a few microseconds, so that small inputs stay on one.
const GRAIN: usize = 8192;

/// A function of one number with its derivative, for the CPU.
///
/// Which function it is gets decided once for a run of elements: a decision for each would keep the
/// loop from becoming vectors. The methods must be `#[inline(always)]`.
pub(crate) trait Elementwise: Copy + Send + Sync {
    /// Hands `f` over.
    fn value<T: Smooth, const FMA: bool>(self, to: impl Each<T>);
    /// Hands `f′` over.
    fn derivative<T: Smooth, const FMA: bool>(self, to: impl Each<T>);
}

/// A run of elements that waits for its function.
pub(crate) trait Each<T> {
    fn each(self, f: impl Fn(T) -> T);
}

/// `f(x)` of every element.
pub(crate) fn forward<T: Smooth>(
    f: impl Elementwise,
    s: &CpuStorage,
    l: &Layout,
) -> Result<(CpuStorage, Shape)> {
    let y = values(f, slice::<T>(s, l)?);
    Ok((T::to_cpu_storage_owned(y), l.shape().clone()))
}

pub(crate) fn values<T: Smooth>(f: impl Elementwise, x: &[T]) -> Vec<T> {
    let mut y = room(x.len());
    let chunks = y.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN));
    chunks.for_each(|(y, x)| dispatch(Forward(f, Values { x, y })));
    // SAFETY: the chunks of `x` and `y` have the same lengths, and each chunk writes all of its own.
    unsafe { written(y) }
}

/// [`values`] in the place of `x`.
pub(crate) fn replace<T: Smooth>(f: impl Elementwise, x: &mut [T]) {
    let chunks = x.par_chunks_mut(GRAIN);
    chunks.for_each(|x| dispatch(Replace(f, x)));
}

/// `dy·f′(x)` of every element.
pub(crate) fn backward<T: Smooth>(f: impl Elementwise, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let dx = read::<T, _>(x, |x| read::<T, _>(dy, |dy| Ok(gradients(f, x, dy))))?;
    tensor(dx, x.dims())
}

fn gradients<T: Smooth>(f: impl Elementwise, x: &[T], dy: &[T]) -> Vec<T> {
    let mut dx = room(x.len());
    let operands = x.par_chunks(GRAIN).zip(dy.par_chunks(GRAIN));
    let chunks = dx.par_chunks_mut(GRAIN).zip(operands);
    chunks.for_each(|(dx, (x, dy))| dispatch(Backward(f, Slopes { x, dy, dx })));
    // SAFETY: as above; `dy` has the shape of `x`.
    unsafe { written(dx) }
}

struct Values<'a, T> {
    x: &'a [T],
    y: &'a mut [MaybeUninit<T>],
}

impl<T: Scalar> Each<T> for Values<'_, T> {
    #[inline(always)]
    fn each(self, f: impl Fn(T) -> T) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            y.write(f(*x));
        }
    }
}

impl<T: Scalar> Each<T> for &mut [T] {
    #[inline(always)]
    fn each(self, f: impl Fn(T) -> T) {
        for x in self {
            *x = f(*x);
        }
    }
}

struct Slopes<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [MaybeUninit<T>],
}

impl<T: Scalar> Each<T> for Slopes<'_, T> {
    #[inline(always)]
    fn each(self, f: impl Fn(T) -> T) {
        for ((dx, x), dy) in self.dx.iter_mut().zip(self.x).zip(self.dy) {
            dx.write(*dy * f(*x));
        }
    }
}

struct Forward<'a, F, T>(F, Values<'a, T>);

impl<F: Elementwise, T: Smooth> Kernel for Forward<'_, F, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.0.value::<T, FMA>(self.1);
    }
}

struct Replace<'a, F, T>(F, &'a mut [T]);

impl<F: Elementwise, T: Smooth> Kernel for Replace<'_, F, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.0.value::<T, FMA>(self.1);
    }
}

struct Backward<'a, F, T>(F, Slopes<'a, T>);

impl<F: Elementwise, T: Smooth> Kernel for Backward<'_, F, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.0.derivative::<T, FMA>(self.1);
    }
}
