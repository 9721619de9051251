//! The usual step: a model, a loss, an optimizer, a schedule.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result as CandleResult, Tensor};
use candle_nn::ModuleT;
use dl_autograd::{RngScope, Tape, backward, sum};
use dl_optim::{Constant, Ema, Optimizer, OptimizerState, Schedule};
use serde::{Deserialize, Serialize};

use super::{Batch, Loss, StepReport, TrainError, TrainStep, Window};
use crate::Params;
use crate::checkpoint::{CheckpointError, Part, Snapshot};
use crate::data::{DataError, Position};
use crate::losses::{Reduction, cross_entropy};
use crate::metrics::{Accuracy, Mean};
use crate::summary::{first_non_finite, is_finite};

/// Counts what a model said about a batch: (output, target) → the mean over its samples.
pub type Metric<'a> = dyn Fn(&Tensor, &Tensor) -> CandleResult<Mean> + 'a;

/// Forward, loss, backward, update, on batches of inputs and targets.
///
/// The gradient of a step is that of the mean loss over all its samples, also when they come in
/// several batches of different size. The optimizer names any parameter that got no gradient, and a
/// loss that is not finite ends the run before it can spoil the weights. Built by
/// [`Trainer::new`](super::Trainer::new), whose methods set its parts.
pub struct Supervised<'a> {
    pub(super) model: &'a dyn ModuleT,
    pub(super) optimizer: Optimizer,
    base_lr: f64,
    /// What callbacks multiplied the rate by.
    lr_scale: f64,
    pub(super) schedule: Box<dyn Schedule>,
    pub(super) loss: Box<Loss<'a>>,
    pub(super) eval_loss: Option<Box<Loss<'a>>>,
    pub(super) metrics: Vec<(String, Box<Metric<'a>>)>,
    pub(super) seed: u64,
    pub(super) device: Device,
    pub(super) ema: Option<Ema>,
    /// The model's, for checkpoints.
    pub(super) params: Option<Params>,
}

/// Gradients of a step that is not complete, and the samples they come from.
#[derive(Default)]
struct Sums {
    grads: GradStore,
    loss: f64,
    samples: usize,
    metrics: BTreeMap<String, Mean>,
}

/// What is neither a weight nor the optimizer's.
#[derive(Serialize, Deserialize)]
struct Numbers {
    lr_scale: f64,
    ema_updates: Option<usize>,
}

impl<'a> Supervised<'a> {
    /// Cross-entropy and accuracy, a constant rate, on the CPU.
    pub fn new(model: &'a dyn ModuleT, optimizer: Optimizer, seed: u64) -> Self {
        Self {
            model,
            base_lr: optimizer.lr(),
            lr_scale: 1.,
            optimizer,
            schedule: Box::new(Constant),
            loss: Box::new(|z, y| cross_entropy(z, y, &Default::default(), Reduction::None)),
            eval_loss: None,
            metrics: vec![("accuracy".to_string(), Box::new(accuracy))],
            seed,
            device: Device::Cpu,
            ema: None,
            params: None,
        }
    }

    fn accumulate(&self, at: Position, batch: &Batch, sums: &mut Sums) -> Result<(), TrainError> {
        // Every batch of every epoch has streams of its own.
        let _streams = RngScope::new(self.seed, at.epoch << 32 | at.batch);
        let inputs = batch.0.to_device(&self.device)?;
        let targets = batch.1.to_device(&self.device)?;
        let _tape = Tape::new();
        let output = self.model.forward_t(&inputs, true)?;
        let loss = sum(&(self.loss)(&output, &targets)?)?;
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        self.require_finite(value, at, &inputs)?;
        let first = sums.samples == 0;
        self.add_gradients(backward(&loss)?, first, sums)?;
        sums.loss += value;
        sums.samples += targets.dim(0)?;
        let output = output.detach();
        for (name, metric) in &self.metrics {
            let mean = metric(&output, &targets)?;
            sums.metrics.entry(name.clone()).or_default().merge(&mean);
        }
        Ok(())
    }

    fn require_finite(&self, loss: f64, at: Position, inputs: &Tensor) -> Result<(), TrainError> {
        if loss.is_finite() {
            return Ok(());
        }
        Err(TrainError::NonFiniteLoss {
            loss,
            epoch: at.epoch as usize + 1,
            batch: at.batch as usize,
            items: vec![],
            step: self.optimizer.steps() + 1,
            lr: self.optimizer.lr(),
            origin: self.origin(at, inputs)?,
        })
    }

    /// Where the first value that is not finite comes from: the inputs, a parameter, a layer, else
    /// the loss itself.
    fn origin(&self, at: Position, inputs: &Tensor) -> Result<String, TrainError> {
        if !is_finite(inputs) {
            return Ok("the inputs are not finite".to_string());
        }
        let mut parameters = self.optimizer.parameters();
        if let Some((name, _)) = parameters.find(|(_, var)| !is_finite(var)) {
            return Ok(format!("the parameter `{name}` is not finite"));
        }
        let _streams = RngScope::new(self.seed, at.epoch << 32 | at.batch);
        let layer = first_non_finite(|| self.model.forward_t(inputs, true))?;
        Ok(match layer {
            Some(layer) => format!("the first output that is not finite is that of {layer}"),
            None => "the model's outputs are finite, the loss of them is not".to_string(),
        })
    }

    fn add_gradients(&self, mut new: GradStore, first: bool, sums: &mut Sums) -> CandleResult<()> {
        if first {
            sums.grads = new;
            return Ok(());
        }
        for (_, var) in self.optimizer.parameters() {
            // Detached: a gradient may hold the graph, and with it the activations, of its batch.
            let Some(new) = new.remove(var).map(|g| g.detach()) else {
                continue;
            };
            let sum = match sums.grads.remove(var) {
                Some(old) => (old.detach() + new)?.detach(),
                None => new,
            };
            sums.grads.insert(var, sum);
        }
        Ok(())
    }

    fn update(&mut self, sums: &Sums) -> Result<f64, TrainError> {
        let lr = self.base_lr * self.lr_scale * self.schedule.at(self.optimizer.steps());
        self.optimizer.set_lr(lr);
        self.optimizer
            .step_scaled(&sums.grads, 1. / sums.samples as f64)?;
        if let Some(ema) = &mut self.ema {
            ema.update()?;
        }
        Ok(lr)
    }

    fn found(
        &self,
        batches: &mut dyn Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        let loss_of = self.eval_loss.as_ref().unwrap_or(&self.loss);
        let mut means = BTreeMap::<String, Mean>::new();
        for batch in batches {
            let (inputs, targets) = batch?;
            let inputs = inputs.to_device(&self.device)?;
            let targets = targets.to_device(&self.device)?;
            let output = self.model.forward_t(&inputs, false)?.detach();
            let loss = mean_of(&loss_of(&output, &targets)?)?;
            means.entry("loss".to_string()).or_default().merge(&loss);
            for (name, metric) in &self.metrics {
                let mean = metric(&output, &targets)?;
                means.entry(name.clone()).or_default().merge(&mean);
            }
        }
        let value = |(name, mean): (String, Mean)| (name, mean.compute());
        Ok(means.into_iter().map(value).collect())
    }

    fn params(&self) -> Result<&Params, TrainError> {
        self.params.as_ref().ok_or(TrainError::NoParams)
    }
}

impl TrainStep<Batch> for Supervised<'_> {
    fn step(&mut self, window: &mut Window<'_, Batch>) -> Result<StepReport, TrainError> {
        let mut sums = Sums::default();
        for batch in window {
            let (at, batch) = batch?;
            self.accumulate(at, &batch, &mut sums)?;
        }
        let lr = self.update(&sums)?;
        Ok(StepReport {
            loss: sums.loss / sums.samples as f64,
            samples: sums.samples,
            lr,
            grad_norm: self.optimizer.grad_norm(),
            metrics: sums.metrics,
        })
    }

    fn evaluate(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        match &self.ema {
            Some(ema) if ema.updates() > 0 => ema.with_averages(|| self.found(batches))?,
            _ => self.found(batches),
        }
    }

    fn scale_lr(&mut self, factor: f64) {
        self.lr_scale *= factor;
    }

    fn trainable(&self) -> usize {
        let sizes = self.optimizer.parameters().map(|(_, v)| v.elem_count());
        sizes.sum()
    }

    fn state(&self) -> Result<BTreeMap<String, Part>, TrainError> {
        let weights = self.params()?.all().into_iter();
        let weights = weights.map(|(name, var)| (name, var.as_detached_tensor()));
        let optimizer = self.optimizer.state()?;
        let header = Part::values(&optimizer.header)?.values;
        let numbers = Numbers {
            lr_scale: self.lr_scale,
            ema_updates: self.ema.as_ref().map(Ema::updates),
        };
        let mut parts = BTreeMap::from([
            ("model".to_string(), Part::tensors(weights.collect())),
            (
                "optimizer".to_string(),
                Part {
                    tensors: optimizer.tensors,
                    values: header,
                },
            ),
            ("step".to_string(), Part::values(&numbers)?),
        ]);
        if let Some(ema) = &self.ema {
            parts.insert("ema".to_string(), Part::tensors(ema.state()?));
        }
        Ok(parts)
    }

    fn load_state(&mut self, state: &Snapshot) -> Result<(), TrainError> {
        let numbers: Numbers = state.part("step")?.read("step")?;
        let optimizer = state.part("optimizer")?;
        self.optimizer.load_state(&OptimizerState {
            header: optimizer.read("optimizer")?,
            tensors: optimizer.tensors.clone(),
        })?;
        if let Some(ema) = &mut self.ema {
            let updates = numbers.ema_updates.unwrap_or(0);
            ema.load_state(&state.part("ema")?.tensors, updates)?;
        }
        self.lr_scale = numbers.lr_scale;
        load_weights(self.params()?, state.part("model")?)
    }
}

/// Every tensor of the store from the part, which must have the same names.
fn load_weights(params: &Params, part: &Part) -> Result<(), TrainError> {
    let names = params.names();
    let unfit = |reason| CheckpointError::Part {
        part: "model".to_string(),
        reason,
    };
    if let Some(extra) = part.tensors.keys().find(|name| !names.contains(name)) {
        return Err(unfit(format!("the model has no `{extra}`")).into());
    }
    for name in names {
        let tensor = part.tensors.get(&name);
        let tensor = tensor.ok_or_else(|| unfit(format!("it has no `{name}`")))?;
        params.set(&name, tensor)?;
    }
    Ok(())
}

fn accuracy(output: &Tensor, labels: &Tensor) -> CandleResult<Mean> {
    let mut accuracy = Accuracy::new();
    accuracy.update(output, labels)?;
    Ok(Mean::of(accuracy.correct() as f64, accuracy.total() as f64))
}

/// In f64, so that a mean of means over batches of any size is the mean over all samples.
fn mean_of(losses: &Tensor) -> CandleResult<Mean> {
    let losses = losses.flatten_all()?.to_dtype(DType::F64)?;
    let losses = losses.to_vec1::<f64>()?;
    Ok(Mean::of(losses.iter().sum(), losses.len() as f64))
}
