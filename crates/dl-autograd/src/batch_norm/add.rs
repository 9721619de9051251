//! The end of a residual block: the normalised tensor, the residual and the activation in one pass.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::BatchNorm;
use super::cpu::Wanted;
use crate::activation::Activation;
use crate::host::{by_dtype, if_tracked, read, slice, tensor};
use crate::pack::pack;
use crate::simd::Scalar;
use crate::tape::{apply3, differentiable};
use crate::view::contiguous;

/// `act(norm(x) + residual)` of contiguous operands but the residual.
pub(super) fn apply(
    x: &Tensor,
    residual: &Tensor,
    (gamma, beta): (&Tensor, &Tensor),
    norm: BatchNorm,
) -> Result<Tensor> {
    let (forward, activation) = (norm.differentiable(), norm.activation);
    let op = AddBatchNorm(norm);
    let y = apply3(x, &contiguous(residual)?, &pack(gamma, beta)?, op)?;
    Ok(differentiable(y, move |i, y, dy| {
        let (dx, dpacked) = forward.pull_packed(&i[0], &i[2], y, dy)?;
        let dresidual = if_tracked(&i[1], || dy * activation.open(y)?)?;
        Ok(vec![dx, dresidual, dpacked])
    }))
}

/// Batch norm of `x` with a residual, and with scale and shift behind each other.
struct AddBatchNorm(BatchNorm);

type Operand<'a> = (&'a CpuStorage, &'a Layout);

impl AddBatchNorm {
    fn forward<T: Scalar>(
        &self,
        x: Operand,
        residual: Operand,
        packed: Operand,
    ) -> Result<(CpuStorage, Shape)> {
        let packed = slice::<T>(packed.0, packed.1)?;
        let affine = packed.split_at(packed.len() / 2);
        let residual = slice(residual.0, residual.1)?;
        self.0.forward(x, affine, Some(residual))
    }

    fn backward<T: Scalar>(
        &self,
        x: &Tensor,
        packed: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let wanted = Wanted {
            x: x.track_op(),
            affine: packed.track_op(),
        };
        if !wanted.x && !wanted.affine {
            return Ok((None, None));
        }
        let grads = read::<T, _>(packed, |packed| {
            let affine = packed.split_at(packed.len() / 2);
            self.0.backward(x, affine, Activation::Identity, dy, wanted)
        })?;
        let dx = grads.x.map(|dx| tensor(dx, x.dims())).transpose()?;
        let dpacked = || tensor([grads.gamma, grads.beta].concat(), packed.dims());
        Ok((dx, if_tracked(packed, dpacked)?))
    }
}

impl CustomOp3 for AddBatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
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
            "batch_norm",
            self.forward::<T>((s1, l1), (s2, l2), (s3, l3))
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        residual: &Tensor,
        packed: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        // What passes the activation is the gradient of the residual and arrives at the norm.
        let dy = self.0.activation.pass_back(y, dy)?;
        let (dx, dpacked) = by_dtype!(x.dtype(), "batch_norm", self.backward::<T>(x, packed, &dy))?;
        Ok((dx, if_tracked(residual, || Ok(dy))?, dpacked))
    }
}
