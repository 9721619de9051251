//! A model that is asked and not trained.

use candle_core::{Device, Result, Tensor};
use candle_nn::ModuleT;

use super::{Batch, MixedPrecision};

/// A model, where its batches go and how precise its products are.
pub(super) struct Inference<'a> {
    model: &'a dyn ModuleT,
    pub(super) device: Device,
    pub(super) mixed_precision: MixedPrecision,
}

impl<'a> Inference<'a> {
    /// On the CPU, in the precision of the weights.
    pub(super) fn new(model: &'a dyn ModuleT) -> Self {
        Self {
            model,
            device: Device::Cpu,
            mixed_precision: MixedPrecision::No,
        }
    }

    /// Tells `judge` the outputs for a batch, without a graph, and its targets.
    pub(super) fn judged<T>(
        &self,
        (inputs, targets): &Batch,
        judge: impl FnOnce(&Tensor, &Tensor) -> Result<T>,
    ) -> Result<T> {
        let _products = self.mixed_precision.scope()?;
        let inputs = inputs.to_device(&self.device)?;
        let output = self.model.forward_t(&inputs, false)?.detach();
        judge(&output, &targets.to_device(&self.device)?)
    }
}
