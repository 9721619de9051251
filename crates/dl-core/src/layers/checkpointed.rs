//! A layer whose activations are computed again.

use std::sync::Arc;

use candle_core::{Result, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder};
use dl_autograd::checkpoint;

use super::var_recorder::recorded;

/// A layer that keeps its input alone for the backward, which runs it a second time: activation (or
/// gradient) checkpointing, as `torch.utils.checkpoint`.
///
/// Values and gradients have the bits that they have without it: dropout draws the same mask again, and
/// running statistics move once. What is saved is all that the layer would keep, what it costs is
/// another forward: wrap blocks, not single operations. Names of weights stay as they are. In
/// evaluation it is the layer itself. Models of the zoo have it as `gradient_checkpointing` in their
/// configuration.
///
/// Source: Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::{Params, layers::{checkpointed, linear, module_list, sequential}};
/// let params = Params::new(0, &Device::Cpu);
/// let model = sequential(params.vb())
///     .add(|vb| checkpointed(vb, |vb| linear(4, 8, vb)))?
///     .add(|vb| linear(8, 2, vb))?
///     .build();
/// let blocks = module_list(3, params.vb().pp("blocks"), |_, vb| {
///     checkpointed(vb, |vb| linear(2, 2, vb))
/// })?;
/// assert_eq!(params.names()[..2], ["0.bias", "0.weight"]);
/// let mut y = model.forward_t(&Tensor::zeros((3, 4), DType::F32, &Device::Cpu)?, true)?;
/// for block in &blocks {
///     y = block.forward_t(&y, true)?;
/// }
/// assert_eq!(y.dims(), [3, 2]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Checkpointed<L> {
    layer: Arc<L>,
    vars: Vec<Var>,
}

/// Builds a layer on `vb` whose activations are computed again. Gradients reach the Vars that the layer
/// asks `vb` for; one that it has from elsewhere is an error in the backward.
pub fn checkpointed<'a, L>(
    vb: VarBuilder<'a>,
    layer: impl FnOnce(VarBuilder<'a>) -> Result<L>,
) -> Result<Checkpointed<L>> {
    let (layer, vars) = recorded(vb, layer)?;
    let layer = Arc::new(layer);
    Ok(Checkpointed { layer, vars })
}

impl<L> Checkpointed<L> {
    /// The layer.
    pub fn layer(&self) -> &L {
        &self.layer
    }
}

impl<L: Send + Sync + 'static> Checkpointed<L> {
    /// In training, for a layer with another forward than [`ModuleT`]'s, such as one with a mask. What
    /// `forward` holds besides the layer gets no gradient.
    pub fn forward_with(
        &self,
        x: &Tensor,
        forward: impl Fn(&L, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        let layer = Arc::clone(&self.layer);
        checkpoint(&[x], &self.vars, move |x| forward(&layer, &x[0]))
    }
}

impl<L: ModuleT + Send + Sync + 'static> ModuleT for Checkpointed<L> {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        match train {
            true => self.forward_with(x, |layer, x| layer.forward_t(x, true)),
            false => self.layer.forward_t(x, false),
        }
    }
}
