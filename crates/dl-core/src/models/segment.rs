//! The switch `gradient_checkpointing` of a configuration.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::layers::{Checkpointed, checkpointed};

/// A block of a model, which keeps its activations for the backward or computes them again there.
#[derive(Clone, Debug)]
pub(super) enum Segment<L> {
    Kept(L),
    Recomputed(Checkpointed<L>),
}

impl<L: Send + Sync + 'static> Segment<L> {
    pub(super) fn new<'a>(
        gradient_checkpointing: bool,
        vb: VarBuilder<'a>,
        layer: impl FnOnce(VarBuilder<'a>) -> Result<L>,
    ) -> Result<Self> {
        match gradient_checkpointing {
            true => checkpointed(vb, layer).map(Self::Recomputed),
            false => layer(vb).map(Self::Kept),
        }
    }

    /// The layer's `forward`, which may hold a mask but nothing that wants a gradient besides `x`.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        train: bool,
        forward: impl Fn(&L, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        match self {
            Self::Kept(layer) => forward(layer, x),
            Self::Recomputed(layer) if train => layer.forward_with(x, forward),
            Self::Recomputed(layer) => forward(layer.layer(), x),
        }
    }
}
