//! The one op under every convolution.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::bias::{Affine, grad_bias};
use super::geometry::Geometry;
use super::pointwise_gradients::{Backward, pays};
use super::winograd::Winograd;
use super::{composed, depthwise, direct, pointwise, second_order, weight_gradient};
use crate::autocast;
use crate::batch_norm::cpu::{Map, Saved};
use crate::host::{by_dtype, has_kernel, if_tracked, one_float_type, read, slice, tensor};
use crate::simd::Scalar;
use crate::tape::{apply2, apply3, differentiable};
use crate::view::contiguous;

/// Which way an image goes through a [`Geometry`].
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Direction {
    /// From its input to its output.
    Forward,
    /// From its output to its input.
    Transposed,
}

impl Direction {
    fn reversed(self) -> Self {
        match self {
            Self::Forward => Self::Transposed,
            Self::Transposed => Self::Forward,
        }
    }
}

#[derive(Clone)]
pub(super) struct Convolution {
    name: &'static str,
    direction: Direction,
    geometry: Geometry,
    /// Of the result: a signal has no height.
    shape: Vec<usize>,
}

pub(super) type Operand<'a> = (&'a CpuStorage, &'a Layout);

impl Convolution {
    pub(super) fn new(
        name: &'static str,
        direction: Direction,
        geometry: Geometry,
        shape: Vec<usize>,
    ) -> Self {
        Self {
            name,
            direction,
            geometry,
            shape,
        }
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(super) fn run(self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        if let Some(scope) = autocast::lowering() {
            let bias = bias.map(|bias| scope.lower(bias)).transpose()?;
            let (low, weight) = (scope.lower(x)?, scope.lower(weight)?);
            return scope.raise(self.run(&low, &weight, bias.as_ref())?, x);
        }
        self.check(x, weight, bias)?;
        match has_kernel(x) {
            true => self.apply(x, weight, bias),
            false => self.composed(x, weight, bias),
        }
    }

    /// The op on operands that are known to fit.
    pub(super) fn apply(
        self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (x, weight, op) = (contiguous(x)?, contiguous(weight)?, self.clone());
        let y = match bias {
            Some(bias) => apply3(&x, &weight, &contiguous(bias)?, self)?,
            None => apply2(&x, &weight, self)?,
        };
        Ok(differentiable(y, move |operands, _, dy| {
            second_order::pull(&op, operands, dy)
        }))
    }

    /// The way back to the gradient of `x`.
    pub(super) fn reversed(&self, x: &Tensor) -> Self {
        Self {
            direction: self.direction.reversed(),
            shape: x.dims().to_vec(),
            ..self.clone()
        }
    }

    pub(super) fn check(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        let (name, channels) = (self.name, self.shape[1]);
        let others = [Some(("weight", weight)), bias.map(|bias| ("bias", bias))];
        let others: Vec<_> = others.into_iter().flatten().collect();
        one_float_type(name, ("x", x), &others)?;
        if let Some(bias) = bias
            && bias.dims() != [channels]
        {
            bail!(
                "{name} needs a bias of ({channels},), got {:?}",
                bias.shape()
            )
        }
        Ok(())
    }

    fn composed(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let g = &self.geometry;
        let weight = weight.reshape(&g.weight_shape())?;
        let y = match self.direction {
            Direction::Forward => composed::conv2d(&x.reshape(&g.input_shape())?, &weight, g),
            Direction::Transposed => {
                composed::conv_transpose2d(&x.reshape(&g.output_shape())?, &weight, g)
            }
        }?;
        let y = match bias {
            Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?,
            None => y,
        };
        y.reshape(self.shape.as_slice())
    }

    fn forward<T: Scalar>(
        &self,
        x: Operand,
        w: Operand,
        bias: Option<Operand>,
    ) -> Result<(CpuStorage, Shape)> {
        let affine = Affine {
            weight: slice::<T>(w.0, w.1)?,
            bias: bias.map(|(s, l)| slice::<T>(s, l)).transpose()?,
        };
        let y = self.pass(self.direction, slice::<T>(x.0, x.1)?, affine);
        Ok((
            T::to_cpu_storage_owned(y),
            Shape::from(self.shape.as_slice()),
        ))
    }

    pub(super) fn pass<T: Scalar>(
        &self,
        direction: Direction,
        x: &[T],
        affine: Affine<T>,
    ) -> Vec<T> {
        let g = &self.geometry;
        match (direction, g.is_depthwise()) {
            (Direction::Forward, true) => depthwise::forward(g, x, affine),
            (Direction::Transposed, true) => depthwise::grad_input(g, x, affine),
            (Direction::Forward, _) if g.is_pointwise() => pointwise::forward(g, x, None, affine),
            (Direction::Transposed, _) if g.is_pointwise() => pointwise::grad_input(g, x, affine),
            (Direction::Forward, false) => match Winograd::of(g) {
                Some(winograd) => winograd.forward(x, affine),
                None => direct::forward(g, x, None, affine),
            },
            (Direction::Transposed, false) => match Winograd::backwards(g) {
                Some(winograd) => winograd.grad_input(x, affine),
                None => direct::grad_input(g, x, affine),
            },
        }
    }

    /// Forward, without Winograd's way, of what a norm makes of the channels of `x`.
    pub(super) fn forward_of<T: Scalar>(&self, x: &[T], maps: &[Map<T>], weight: &[T]) -> Vec<T> {
        let (g, affine) = (&self.geometry, Affine { weight, bias: None });
        match g.is_pointwise() {
            true => pointwise::forward(g, x, Some(maps), affine),
            false => direct::forward(g, x, Some(maps), affine),
        }
    }

    fn grad_input<T: Scalar>(&self, dy: &Tensor, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        let dx = read::<T, _>(dy, |dy| {
            read::<T, _>(w, |weight| {
                let affine = Affine { weight, bias: None };
                Ok(self.pass(self.direction.reversed(), dy, affine))
            })
        })?;
        tensor(dx, x.dims())
    }

    fn grad_weight<T: Scalar>(&self, dy: &Tensor, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        let dw = read::<T, _>(dy, |dy| {
            read::<T, _>(x, |x| Ok(self.weight_gradient(dy, x)))
        })?;
        tensor(dw, w.dims())
    }

    pub(super) fn weight_gradient<T: Scalar>(&self, dy: &[T], x: &[T]) -> Vec<T> {
        let g = &self.geometry;
        let (output, input) = match self.direction {
            Direction::Forward => (dy, x),
            Direction::Transposed => (x, dy),
        };
        match Winograd::of(g) {
            Some(winograd) => winograd.grad_weight(output, input),
            None if g.is_depthwise() => depthwise::grad_weight(g, output, input),
            None => weight_gradient::grad_weight(g, output, input, None),
        }
    }

    fn grad_bias<T: Scalar>(&self, dy: &Tensor) -> Result<Tensor> {
        let (channels, pixels) = (self.shape[1], self.shape[2..].iter().product());
        let db = read::<T, _>(dy, |dy| Ok(grad_bias(dy, channels, pixels)))?;
        tensor(db, channels)
    }

    /// In one pass over the images, where there is a way.
    fn both<T: Scalar>(
        &self,
        dy: &Tensor,
        x: &Tensor,
        w: &Tensor,
    ) -> Result<Option<(Tensor, Tensor)>> {
        let g = &self.geometry;
        if self.direction == Direction::Transposed || !pays(g) {
            return Ok(None);
        }
        let grads = read::<T, _>(dy, |dy| {
            read::<T, _>(x, |x| {
                read::<T, _>(w, |weight| {
                    let both = Backward::of(g, Saved { x, dy }, None);
                    Ok(both.map(|both| both.run(Some(weight))))
                })
            })
        })?;
        let tensors =
            grads.map(|grads| Ok((tensor(grads.x, x.dims())?, tensor(grads.weight, w.dims())?)));
        tensors.transpose()
    }

    fn backward(
        &self,
        x: &Tensor,
        w: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dtype = x.dtype();
        if x.track_op() && w.track_op() {
            let both = by_dtype!(dtype, "convolution", self.both::<T>(dy, x, w))?;
            if let Some((dx, dw)) = both {
                return Ok((Some(dx), Some(dw)));
            }
        }
        let dx = if_tracked(x, || {
            by_dtype!(dtype, "convolution", self.grad_input::<T>(dy, x, w))
        })?;
        let dw = if_tracked(w, || {
            by_dtype!(dtype, "convolution", self.grad_weight::<T>(dy, x, w))
        })?;
        Ok((dx, dw))
    }
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        self.name
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
            self.forward::<T>((s1, l1), (s2, l2), None)
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(x, w, dy)
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(
            s1.dtype(),
            "convolution",
            self.forward::<T>((s1, l1), (s2, l2), Some((s3, l3)))
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.backward(x, w, dy)?;
        let db = if_tracked(b, || {
            by_dtype!(x.dtype(), "convolution", self.grad_bias::<T>(dy))
        })?;
        Ok((dx, dw, db))
    }
}
