//! The product of two tensors, element by element.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::host::{by_dtype, has_kernel, if_tracked, read, same_shape, same_type, slice, tensor};
use crate::simd::Scalar;
use crate::tape::{apply2, differentiable};
use crate::view::contiguous;

/// The element-wise product of two tensors of one shape.
///
/// ```text
/// ∂a = dy ⊙ b          ∂b = dy ⊙ a
/// ```
///
/// candle's own computes the gradient of an untracked operand too. An error if the shapes or types
/// differ.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[2f32, 3.], &Device::Cpu)?;
/// assert_eq!(dl_autograd::mul(&x, &x)?.to_vec1::<f32>()?, [4., 9.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_shape("mul", ("a", a), ("b", b))?;
    same_type("mul", ("a", a), &[("b", b)])?;
    if !has_kernel(a) {
        return a * b;
    }
    let y = apply2(&contiguous(a)?, &contiguous(b)?, Mul)?;
    Ok(differentiable(y, |x, _, dy| {
        let da = if_tracked(&x[0], || mul(dy, &x[1]))?;
        Ok(vec![da, if_tracked(&x[1], || mul(dy, &x[0]))?])
    }))
}

struct Mul;

fn products<T: Scalar>(a: &[T], b: &[T]) -> Vec<T> {
    let pairs = a.par_iter().with_min_len(GRAIN).zip(b);
    pairs.map(|(a, b)| *a * *b).collect()
}

fn forward<T: Scalar>(
    a: (&CpuStorage, &Layout),
    b: (&CpuStorage, &Layout),
) -> Result<(CpuStorage, Shape)> {
    let y = products::<T>(slice(a.0, a.1)?, slice(b.0, b.1)?);
    Ok((T::to_cpu_storage_owned(y), a.1.shape().clone()))
}

fn gradient<T: Scalar>(dy: &Tensor, other: &Tensor) -> Result<Tensor> {
    let dx = read::<T, _>(dy, |dy| read::<T, _>(other, |x| Ok(products(dy, x))))?;
    tensor(dx, other.dims())
}

impl CustomOp2 for Mul {
    fn name(&self) -> &'static str {
        "mul"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(s1.dtype(), "mul", forward::<T>((s1, l1), (s2, l2)))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of = |other: &Tensor| by_dtype!(dy.dtype(), "mul", gradient::<T>(dy, other));
        Ok((if_tracked(a, || of(b))?, if_tracked(b, || of(a))?))
    }
}
