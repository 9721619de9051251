//! The normalised rows of a sum that is never stored.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::{Operand, RowNorm, cpu, filled};
use crate::host::{by_dtype, has_kernel, if_tracked, read, same_shape, same_type, slice, tensor};
use crate::pack::pack;
use crate::simd::Scalar;
use crate::sum::add;
use crate::tape::{apply3, differentiable};
use crate::view::contiguous;

/// `norm(x + residual)`. Backward adds the two again, which costs less than to keep their sum.
pub(crate) fn add_row_norm(
    norm: RowNorm,
    x: &Tensor,
    residual: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    same_shape(norm.name, ("x", x), ("residual", residual))?;
    same_type(norm.name, ("x", x), &[("residual", residual)])?;
    norm.check_types(x, weight, bias)?;
    if !has_kernel(x) {
        return norm.apply(&add(x, residual)?, weight, bias);
    }
    norm.check()?;
    let (weight, bias) = filled(x, norm.rows, weight, bias)?;
    let op = Sum {
        norm,
        kept: OnceLock::new(),
    };
    let packed = pack(&weight, &bias)?;
    let y = apply3(&contiguous(x)?, &contiguous(residual)?, &packed, op)?;
    Ok(differentiable(y, move |i, _, dy| {
        let (sum, half) = ((&i[0] + &i[1])?, norm.rows.weights());
        let weight = i[2].narrow(0, 0, half)?;
        let both = match i[0].track_op() || i[1].track_op() {
            true => Some(norm.pull(&sum, &weight, dy)?),
            false => None,
        };
        let dpacked = if_tracked(&i[2], || {
            let dweight = norm.pull_weight(&sum, &weight, dy)?;
            Tensor::cat(&[dweight, norm.pull_bias(&weight, dy)?], 0)
        })?;
        let to = |x: &Tensor| both.clone().filter(|_| x.track_op());
        Ok(vec![to(&i[0]), to(&i[1]), dpacked])
    }))
}

struct Sum {
    norm: RowNorm,
    kept: OnceLock<Tensor>,
}

impl Sum {
    fn forward<T: Scalar>(&self, x: Operand, r: Operand, packed: Operand) -> Result<CpuStorage> {
        let packed = slice::<T>(packed.0, packed.1)?;
        let (weight, bias) = packed.split_at(self.norm.rows.weights());
        let operands = cpu::Operands {
            x: slice(x.0, x.1)?,
            residual: Some(slice(r.0, r.1)?),
            weight,
        };
        self.norm.forward(operands, bias, &self.kept)
    }

    fn backward<T: Scalar>(
        &self,
        x: &Tensor,
        residual: &Tensor,
        packed: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let wanted = cpu::Wanted {
            x: x.track_op() || residual.track_op(),
            weights: packed.track_op(),
        };
        let grads = read::<T, _>(x, |x| {
            read::<T, _>(residual, |residual| {
                read::<T, _>(packed, |packed| {
                    let operands = cpu::Operands {
                        x,
                        residual: Some(residual),
                        weight: &packed[..self.norm.rows.weights()],
                    };
                    self.norm.backward(operands, dy, &self.kept, wanted)
                })
            })
        })?;
        let both = tensor(grads.x, x.shape())?;
        let to = |x: &Tensor| x.track_op().then(|| both.clone());
        let dpacked = || tensor([grads.weight, grads.bias].concat(), packed.shape());
        Ok((to(x), to(residual), if_tracked(packed, dpacked)?))
    }
}

impl CustomOp3 for Sum {
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
        residual: &Tensor,
        packed: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        by_dtype!(
            x.dtype(),
            "normalisation",
            self.backward::<T>(x, residual, packed, dy)
        )
    }
}
