//! Looking at a gradient on its way, and changing it.

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Result, Shape, Tensor, bail,
};

use crate::host::whole;
use crate::tape::apply1;

/// `x`, with a hook that sees its gradient in backward and may replace it: PyTorch's
/// `tensor.register_hook`.
///
/// The hook returns `None` to leave the gradient as it is, or another one of the same shape; another
/// shape is an error. It runs once for every backward, after the gradients of all uses of the result
/// have been added up. The values are copied once.
///
/// ```
/// use candle_core::{Device, Var};
/// let x = Var::new(&[1f32, 2.], &Device::Cpu)?;
/// let halved = dl_autograd::on_grad(&x, |grad| Ok(Some((grad * 0.5)?)))?;
/// let grads = halved.sum_all()?.backward()?;
/// assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>()?, [0.5, 0.5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn on_grad(
    x: &Tensor,
    hook: impl Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
) -> Result<Tensor> {
    apply1(&whole(x)?, Hook(hook))
}

struct Hook<F>(F);

impl<F: Fn(&Tensor) -> Result<Option<Tensor>>> CustomOp1 for Hook<F> {
    fn name(&self) -> &'static str {
        "on_grad"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((s.try_clone(l)?, l.shape().clone()))
    }

    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((s.try_clone(l)?, l.shape().clone()))
    }

    fn metal_fwd(&self, s: &MetalStorage, l: &Layout) -> Result<(MetalStorage, Shape)> {
        Ok((s.try_clone(l)?, l.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        match (self.0)(dy)? {
            Some(new) if new.shape() != x.shape() => bail!(
                "the hook was given a gradient {:?} and returned one of {:?}",
                x.shape(),
                new.shape()
            ),
            Some(new) => Ok(Some(new)),
            None => Ok(Some(dy.clone())),
        }
    }
}
