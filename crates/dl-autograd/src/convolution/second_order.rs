//! The gradients of a convolution as operations of their own.
//!
//! `⟨dy, conv(x, w)⟩` is linear in each of its three tensors, so the derivatives of one gradient are
//! the convolution and the other gradient: nothing new is computed. The gradient of x is the same
//! convolution in the other direction.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::op::{Convolution, Operand};
use crate::host::{by_dtype, if_tracked, slice};
use crate::simd::Scalar;
use crate::tape::{apply2, differentiable};
use crate::view::contiguous;

/// The gradients of x, w and the bias, where there is one, with a graph.
pub(super) fn pull(
    op: &Convolution,
    operands: &[Tensor],
    dy: &Tensor,
) -> Result<Vec<Option<Tensor>>> {
    let (x, w) = (&operands[0], &operands[1]);
    let dx = if_tracked(x, || op.reversed(x).apply(dy, w, None))?;
    let dw = if_tracked(w, || grad_weight(op, dy, x, w))?;
    let mut grads = vec![dx, dw];
    if let Some(bias) = operands.get(2) {
        let others: Vec<usize> = (0..dy.rank()).filter(|&dim| dim != 1).collect();
        grads.push(if_tracked(bias, || dy.sum(others))?);
    }
    Ok(grads)
}

fn grad_weight(op: &Convolution, dy: &Tensor, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let grad = GradWeight {
        op: op.clone(),
        shape: w.shape().clone(),
    };
    let dw = apply2(&contiguous(dy)?, &contiguous(x)?, grad)?;
    let op = op.clone();
    Ok(differentiable(dw, move |i, _, u| {
        let ddy = if_tracked(&i[0], || op.clone().apply(&i[1], u, None))?;
        let dx = if_tracked(&i[1], || op.reversed(&i[1]).apply(&i[0], u, None))?;
        Ok(vec![ddy, dx])
    }))
}

/// `(dy, x)` → the gradient of w.
struct GradWeight {
    op: Convolution,
    shape: Shape,
}

impl GradWeight {
    fn forward<T: Scalar>(&self, dy: Operand, x: Operand) -> Result<(CpuStorage, Shape)> {
        let (dy, x) = (slice::<T>(dy.0, dy.1)?, slice::<T>(x.0, x.1)?);
        let dw = self.op.weight_gradient(dy, x);
        Ok((T::to_cpu_storage_owned(dw), self.shape.clone()))
    }
}

impl CustomOp2 for GradWeight {
    fn name(&self) -> &'static str {
        "a convolution's gradient of w"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(
            s1.dtype(),
            "convolution",
            self.forward::<T>((s1, l1), (s2, l2))
        )
    }

    fn bwd(
        &self,
        dy: &Tensor,
        x: &Tensor,
        _: &Tensor,
        u: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let u = u.detach();
        let ddy = if_tracked(dy, || self.op.clone().apply(&x.detach(), &u, None))?;
        let dx = if_tracked(x, || self.op.reversed(x).apply(&dy.detach(), &u, None))?;
        Ok((ddy, dx))
    }
}
