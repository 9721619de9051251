//! A model, an optimizer and a batch as steps.

use anyhow::{Context, Result};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::prelude::*;
use peers::Workload;

/// Where tensors live that are trained, or that meet those.
pub fn device() -> Device {
    Device::flex().autodiff()
}

/// The made-up numbers in this shape.
pub fn normal<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = peers::normal(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The made-up labels or tokens in this shape.
pub fn ids<const D: usize>(shape: [usize; D], bound: u32) -> Tensor<D, Int> {
    let values = peers::ids(shape.iter().product(), bound);
    Tensor::from_data(TensorData::new(values, shape), &device())
}

/// An optimizer and its rate, both with PyTorch's defaults and not Burn's.
pub type Rule = (ModuleOptimizer, f64);

pub fn adam() -> Rule {
    (AdamConfig::new().with_epsilon(1e-8).init(), 1e-3)
}

pub fn adamw() -> Rule {
    let config = AdamWConfig::new().with_epsilon(1e-8);
    (config.with_weight_decay(0.01).init(), 1e-3)
}

pub fn sgd() -> Rule {
    let momentum = MomentumConfig::new().with_dampening(0.);
    (SgdConfig::new().with_momentum(Some(momentum)).init(), 0.01)
}

/// Forward, backward and update, of so many samples.
pub fn training<M: Module + 'static, I: Clone + 'static>(
    samples: usize,
    model: M,
    forward: fn(&M, I) -> Tensor<2>,
    (inputs, targets): (I, Tensor<1, Int>),
    (mut optimizer, rate): Rule,
) -> Result<Workload> {
    let cross_entropy = CrossEntropyLossConfig::new().init(&device());
    // Burn's update takes the model and gives it back, in place when nobody else holds it.
    let mut model = Some(model);
    let step = move || {
        let now = model.take().context("a step before has failed")?;
        let loss = cross_entropy.forward(forward(&now, inputs.clone()), targets.clone());
        let grads = GradientsParams::from_grads(loss.backward(), &now);
        model = Some(optimizer.step(rate, now, grads));
        Ok(loss.into_scalar())
    };
    Ok(Workload {
        samples,
        step: Box::new(step),
    })
}
