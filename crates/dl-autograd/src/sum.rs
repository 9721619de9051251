//! Sums: of two tensors, and of all elements of one.

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::host::{by_dtype, has_kernel, room, same_shape, same_type, slice, tensor, written};
use crate::simd::{Scalar, run};
use crate::tape::{apply1, apply2, differentiable};
use crate::view::contiguous;

/// `a + b` of two tensors of one shape: the join of a residual connection.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let a = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
/// assert_eq!(dl_autograd::add(&a, &a)?.to_vec1::<f32>()?, [2., 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_shape("add", ("a", a), ("b", b))?;
    same_type("add", ("a", a), &[("b", b)])?;
    if !has_kernel(a) {
        return a + b;
    }
    let y = apply2(&contiguous(a)?, &contiguous(b)?, Add)?;
    Ok(differentiable(y, |x, _, dy| {
        Ok(x.iter().map(|x| x.track_op().then(|| dy.clone())).collect())
    }))
}

/// The sum of all elements, a scalar.
///
/// Added up in f64 in chunks of a fixed size, so the result depends on no number of threads.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// assert_eq!(dl_autograd::sum(&x)?.to_scalar::<f32>()?, 10.);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn sum(x: &Tensor) -> Result<Tensor> {
    match has_kernel(x) {
        true => Ok(differentiable(apply1(&contiguous(x)?, Sum)?, |x, _, dy| {
            Ok(vec![Some(dy.broadcast_as(x[0].shape())?)])
        })),
        false => x.sum_all(),
    }
}

struct Add;

impl Add {
    fn forward<T: Scalar>(
        &self,
        a: (&CpuStorage, &Layout),
        b: (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let shape = a.1.shape().clone();
        let (a, b) = (slice::<T>(a.0, a.1)?, slice::<T>(b.0, b.1)?);
        let pairs = a.par_iter().with_min_len(GRAIN).zip(b);
        let y: Vec<T> = pairs.map(|(a, b)| *a + *b).collect();
        Ok((T::to_cpu_storage_owned(y), shape))
    }
}

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s1);
        by_dtype!(dtype, "add", self.forward::<T>((s1, l1), (s2, l2)))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let to = |x: &Tensor| x.track_op().then(|| dy.clone());
        Ok((to(a), to(b)))
    }
}

struct Sum;

impl Sum {
    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let part = |x| run(Part(x));
        let parts: Vec<f64> = slice::<T>(s, l)?.par_chunks(GRAIN).map(part).collect();
        let total = T::from_f64(parts.iter().sum());
        Ok((T::to_cpu_storage_owned(vec![total]), ().into()))
    }
}

impl CustomOp1 for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s);
        by_dtype!(dtype, "sum", self.forward::<T>(s, l))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(dy.dtype(), "sum", repeated::<T>(dy, x.shape())).map(Some)
    }
}

/// Independent sums, for two of the widest registers.
const LANES: usize = 16;

/// The sum of a run of elements in f64.
struct Part<'a, T>(&'a [T]);

impl<T: Scalar> WithSimd for Part<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let (whole, rest) = self.0.as_chunks::<LANES>();
        let mut lanes = [0f64; LANES];
        for x in whole {
            lanes
                .iter_mut()
                .zip(x)
                .for_each(|(sum, x)| *sum += x.wide());
        }
        let rest = rest.iter().map(|x| x.wide());
        lanes.into_iter().chain(rest).sum()
    }
}

/// A scalar in every element of a shape. candle's own copy of a broadcast goes element by element.
fn repeated<T: Scalar>(x: &Tensor, shape: &Shape) -> Result<Tensor> {
    let x = x.to_scalar::<T>()?;
    let mut y = room(shape.elem_count());
    let chunks = y.par_chunks_mut(GRAIN);
    chunks.for_each(|y| y.fill(MaybeUninit::new(x)));
    // SAFETY: the chunks cover it.
    tensor(unsafe { written(y) }, shape)
}
