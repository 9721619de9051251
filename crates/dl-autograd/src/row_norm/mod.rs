//! What layer, RMS, group and instance normalisation share: rows, each normalised by itself.

mod add;
mod cpu;

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use crate::host::{by_dtype, has_kernel, if_tracked, one_float_type, read, slice, tensor};
use crate::simd::Scalar;
use crate::tape::{apply3, differentiable};
use crate::view::contiguous;

pub(crate) use add::add_row_norm;

/// What of a row is normalised.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Moments {
    /// Mean and variance.
    Both,
    /// The mean square.
    Second,
}

/// How a tensor is made of rows: `(n, groups, channels, plane)`, a row being the last two.
/// There is a weight for every group and channel.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) groups: usize,
    /// Of one group.
    pub(crate) channels: usize,
    pub(crate) plane: usize,
}

impl Rows {
    fn len(&self) -> usize {
        self.channels * self.plane
    }

    fn weights(&self) -> usize {
        self.groups * self.channels
    }

    /// `x` as `(n, groups, channels, plane)`.
    fn split(&self, x: &Tensor) -> Result<Tensor> {
        let n = x.elem_count() / (self.groups * self.len()).max(1);
        x.reshape((n, self.groups, self.channels, self.plane))
    }

    /// Weights so that they broadcast over [`split`](Self::split).
    fn align(&self, weight: &Tensor) -> Result<Tensor> {
        weight.reshape((self.groups, self.channels, 1))
    }
}

/// A normalisation of rows.
#[derive(Clone, Copy)]
pub(crate) struct RowNorm {
    pub(crate) name: &'static str,
    pub(crate) rows: Rows,
    pub(crate) moments: Moments,
    pub(crate) eps: f64,
}

/// `weight` and `bias` of the shape of either, ones and zeros where they are missing.
fn filled(
    x: &Tensor,
    rows: Rows,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let constant =
        |value: f64| Tensor::full(value, rows.weights(), x.device())?.to_dtype(x.dtype());
    let weight = weight.map_or_else(|| constant(1.), contiguous)?;
    Ok((weight, bias.map_or_else(|| constant(0.), contiguous)?))
}

impl RowNorm {
    pub(crate) fn apply(
        self,
        x: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.check()?;
        self.check_types(x, weight, bias)?;
        if !has_kernel(x) {
            return self.composed(x, weight, bias);
        }
        let (weight, bias) = filled(x, self.rows, weight, bias)?;
        let op = OneOperand {
            norm: self,
            kept: OnceLock::new(),
        };
        let y = apply3(&contiguous(x)?, &weight, &bias, op)?;
        Ok(differentiable(y, move |i, _, dy| {
            let dx = if_tracked(&i[0], || self.pull(&i[0], &i[1], dy))?;
            let dweight = if_tracked(&i[1], || self.pull_weight(&i[0], &i[1], dy))?;
            let dbias = if_tracked(&i[2], || self.pull_bias(&i[2], dy))?;
            Ok(vec![dx, dweight, dbias])
        }))
    }

    fn check_types(
        &self,
        x: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
    ) -> Result<()> {
        let others = [("weight", weight), ("bias", bias)];
        let given = others.iter().filter_map(|(name, t)| Some((*name, (*t)?)));
        one_float_type(self.name, ("x", x), &given.collect::<Vec<_>>())
    }

    fn check(&self) -> Result<()> {
        match self.eps >= 0. && self.eps.is_finite() {
            true => Ok(()),
            false => bail!("{} takes an eps of 0 or more, got {}", self.name, self.eps),
        }
    }

    fn composed(
        &self,
        x: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (mut y, _) = self.normal(x)?;
        if let Some(weight) = weight {
            y = y.broadcast_mul(&self.rows.align(weight)?)?;
        }
        if let Some(bias) = bias {
            y = y.broadcast_add(&self.rows.align(bias)?)?;
        }
        y.reshape(x.shape())
    }

    /// The normalised rows and the reciprocal of their deviation, composed.
    fn normal(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let x = self.rows.split(x)?;
        let centred = match self.moments {
            Moments::Both => x.broadcast_sub(&x.mean_keepdim((2, 3))?)?,
            Moments::Second => x,
        };
        let variance = centred.sqr()?.mean_keepdim((2, 3))?;
        let rstd = (variance + self.eps)?.sqrt()?.recip()?;
        Ok((centred.broadcast_mul(&rstd)?, rstd))
    }

    /// The gradients as operations of their own.
    fn pull(&self, x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let (normal, rstd) = self.normal(x)?;
        let g = self.rows.split(dy)?;
        let g = g.broadcast_mul(&self.rows.align(weight)?)?;
        let along = (&g * &normal)?.mean_keepdim((2, 3))?;
        let inner = (&g - normal.broadcast_mul(&along)?)?;
        let inner = match self.moments {
            Moments::Both => inner.broadcast_sub(&g.mean_keepdim((2, 3))?)?,
            Moments::Second => inner,
        };
        inner.broadcast_mul(&rstd)?.reshape(x.shape())
    }

    fn pull_weight(&self, x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let along = (self.rows.split(dy)? * self.normal(x)?.0)?;
        along.sum((0, 3))?.reshape(weight.shape())
    }

    fn pull_bias(&self, bias: &Tensor, dy: &Tensor) -> Result<Tensor> {
        self.rows.split(dy)?.sum((0, 3))?.reshape(bias.shape())
    }

    fn forward<T: Scalar>(
        &self,
        operands: cpu::Operands<T>,
        bias: &[T],
        kept: &OnceLock<Tensor>,
    ) -> Result<CpuStorage> {
        let (y, rows) = cpu::forward(self.rows, operands, bias, self.moments, self.eps);
        let count = rows.len();
        // The op is created for one call, so the cell is empty.
        let _ = kept.set(tensor(rows, count)?);
        Ok(T::to_cpu_storage_owned(y))
    }

    fn backward<T: Scalar>(
        &self,
        operands: cpu::Operands<T>,
        dy: &Tensor,
        kept: &OnceLock<Tensor>,
        wanted: cpu::Wanted,
    ) -> Result<cpu::Gradients<T>> {
        let Some(kept) = kept.get() else {
            bail!("backward of {} came before its forward", self.name)
        };
        read::<T, _>(kept, |kept| {
            read::<T, _>(dy, |dy| {
                Ok(cpu::backward(
                    self.rows,
                    operands,
                    kept,
                    dy,
                    self.moments,
                    wanted,
                ))
            })
        })
    }
}

/// A normalisation of the rows of x, with weight and bias.
struct OneOperand {
    norm: RowNorm,
    /// Mean and reciprocal deviation of each row, kept for backward.
    kept: OnceLock<Tensor>,
}

type Operand<'a> = (&'a CpuStorage, &'a Layout);

impl OneOperand {
    fn forward<T: Scalar>(&self, x: Operand, weight: Operand, bias: Operand) -> Result<CpuStorage> {
        let operands = cpu::Operands {
            x: slice::<T>(x.0, x.1)?,
            residual: None,
            weight: slice(weight.0, weight.1)?,
        };
        self.norm
            .forward(operands, slice(bias.0, bias.1)?, &self.kept)
    }

    fn backward<T: Scalar>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let wanted = cpu::Wanted {
            x: x.track_op(),
            weights: weight.track_op() || bias.track_op(),
        };
        let grads = read::<T, _>(x, |x| {
            read::<T, _>(weight, |weight| {
                let operands = cpu::Operands {
                    x,
                    residual: None,
                    weight,
                };
                self.norm.backward(operands, dy, &self.kept, wanted)
            })
        })?;
        Ok((
            if_tracked(x, || tensor(grads.x, x.shape()))?,
            if_tracked(weight, || tensor(grads.weight, weight.shape()))?,
            if_tracked(bias, || tensor(grads.bias, bias.shape()))?,
        ))
    }
}

impl CustomOp3 for OneOperand {
    fn name(&self) -> &'static str {
        self.norm.name
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
        let y = by_dtype!(
            s1.dtype(),
            "normalisation",
            self.forward::<T>((s1, l1), (s2, l2), (s3, l3))
        )?;
        Ok((y, l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        by_dtype!(
            x.dtype(),
            "normalisation",
            self.backward::<T>(x, weight, bias, dy)
        )
    }
}
