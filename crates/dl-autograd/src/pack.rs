//! Two small operands as one, because a custom op of candle's has three at most.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use crate::host::{by_dtype, if_tracked, slice};
use crate::simd::Scalar;
use crate::tape::{apply2, differentiable};

/// The elements of `weight` and then of `bias`, both contiguous.
pub(crate) fn pack(weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let y = apply2(weight, bias, Pack)?;
    Ok(differentiable(y, |i, _, dy| Pack.pull(&i[0], &i[1], dy)))
}

struct Pack;

impl Pack {
    fn forward<T: Scalar>(
        &self,
        a: (&CpuStorage, &Layout),
        b: (&CpuStorage, &Layout),
    ) -> Result<CpuStorage> {
        let (a, b) = (slice::<T>(a.0, a.1)?, slice::<T>(b.0, b.1)?);
        Ok(T::to_cpu_storage_owned([a, b].concat()))
    }

    fn pull(&self, a: &Tensor, b: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (first, second) = (a.elem_count(), b.elem_count());
        let part =
            |x: &Tensor, from, len| if_tracked(x, || dy.narrow(0, from, len)?.reshape(x.shape()));
        Ok(vec![part(a, 0, first)?, part(b, first, second)?])
    }
}

impl CustomOp2 for Pack {
    fn name(&self) -> &'static str {
        "pack"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = by_dtype!(s1.dtype(), "pack", self.forward::<T>((s1, l1), (s2, l2)))?;
        let len = l1.shape().elem_count() + l2.shape().elem_count();
        Ok((y, len.into()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut grads = self.pull(a, b, dy)?.into_iter().flatten();
        let da = if a.track_op() { grads.next() } else { None };
        Ok((da, grads.next()))
    }
}
