//! The two gradients of a convolution as operations of their own.
//!
//! `⟨dy, conv(x, w)⟩` is linear in each of its three tensors, so the derivatives of one gradient are
//! the convolution and the other gradient: nothing new is computed.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::{Conv2d, Geometry};
use crate::host::{by_dtype, if_tracked, slice};
use crate::simd::Scalar;
use crate::tape::{apply2, differentiable};
use crate::view::contiguous;

/// The gradients of `conv2d(x, w)` with a graph.
pub(super) fn pull(
    geometry: Geometry,
    inputs: &[Tensor],
    dy: &Tensor,
) -> Result<Vec<Option<Tensor>>> {
    let (x, w) = (&inputs[0], &inputs[1]);
    let dx = if_tracked(x, || grad_input(geometry, dy, w))?;
    let dw = if_tracked(w, || grad_weight(geometry, dy, x))?;
    Ok(vec![dx, dw])
}

fn conv(geometry: Geometry, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let y = apply2(&contiguous(x)?, &contiguous(w)?, Conv2d(geometry))?;
    Ok(differentiable(y, move |inputs, _, dy| {
        pull(geometry, inputs, dy)
    }))
}

fn grad_input(geometry: Geometry, dy: &Tensor, w: &Tensor) -> Result<Tensor> {
    let dx = apply2(&contiguous(dy)?, &contiguous(w)?, GradInput(geometry))?;
    Ok(differentiable(dx, move |i, _, u| {
        let ddy = if_tracked(&i[0], || conv(geometry, u, &i[1]))?;
        let dw = if_tracked(&i[1], || grad_weight(geometry, &i[0], u))?;
        Ok(vec![ddy, dw])
    }))
}

fn grad_weight(geometry: Geometry, dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    let dw = apply2(&contiguous(dy)?, &contiguous(x)?, GradWeight(geometry))?;
    Ok(differentiable(dw, move |i, _, u| {
        let ddy = if_tracked(&i[0], || conv(geometry, &i[1], u))?;
        let dx = if_tracked(&i[1], || grad_input(geometry, &i[0], u))?;
        Ok(vec![ddy, dx])
    }))
}

type Operand<'a> = (&'a CpuStorage, &'a Layout);

/// `(dy, w)` → the gradient of x.
struct GradInput(Geometry);

impl GradInput {
    fn forward<T: Scalar>(&self, dy: Operand, w: Operand) -> Result<(CpuStorage, Shape)> {
        let dx = self
            .0
            .grad_input(slice::<T>(dy.0, dy.1)?, slice::<T>(w.0, w.1)?);
        let shape = self.0.input_shape().to_vec();
        Ok((T::to_cpu_storage_owned(dx), shape.into()))
    }
}

impl CustomOp2 for GradInput {
    fn name(&self) -> &'static str {
        "conv2d's gradient of x"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(s1.dtype(), "conv2d", self.forward::<T>((s1, l1), (s2, l2)))
    }

    fn bwd(
        &self,
        dy: &Tensor,
        w: &Tensor,
        _: &Tensor,
        u: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (u, g) = (u.detach(), self.0);
        let ddy = if_tracked(dy, || conv(g, &u, &w.detach()))?;
        let dw = if_tracked(w, || grad_weight(g, &dy.detach(), &u))?;
        Ok((ddy, dw))
    }
}

/// `(dy, x)` → the gradient of w.
struct GradWeight(Geometry);

impl GradWeight {
    fn forward<T: Scalar>(&self, dy: Operand, x: Operand) -> Result<(CpuStorage, Shape)> {
        let dw = self
            .0
            .grad_weight(slice::<T>(dy.0, dy.1)?, slice::<T>(x.0, x.1)?);
        let shape = self.0.weight_shape().to_vec();
        Ok((T::to_cpu_storage_owned(dw), shape.into()))
    }
}

impl CustomOp2 for GradWeight {
    fn name(&self) -> &'static str {
        "conv2d's gradient of w"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(s1.dtype(), "conv2d", self.forward::<T>((s1, l1), (s2, l2)))
    }

    fn bwd(
        &self,
        dy: &Tensor,
        x: &Tensor,
        _: &Tensor,
        u: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (u, g) = (u.detach(), self.0);
        let ddy = if_tracked(dy, || conv(g, &x.detach(), &u))?;
        let dx = if_tracked(x, || grad_input(g, &dy.detach(), &u))?;
        Ok((ddy, dx))
    }
}
