//! The usual step: a model, a loss, an optimizer, a schedule.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result as CandleResult, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use dl_autograd::{RngScope, Tape, backward_from, sum};
use dl_optim::{Accumulator, Constant, LossScaler, NonFinite, Optimizer, Schedule};
use serde::{Deserialize, Serialize};

use super::averages::Averages;
use super::confusion::Confusion;
use super::objective::{Means, Metrics, Objective, accuracy, classes};
use super::{Batch, MixedPrecision, StepReport, TrainError, TrainStep, Window};
use crate::Params;
use crate::checkpoint::{Part, Snapshot};
use crate::data::{DataError, Position};
use crate::metrics::ConfusionMatrix;
use crate::summary::{first_non_finite, is_finite};

/// The parts of its state.
const MODEL: &str = "model";
const OPTIMIZER: &str = "optimizer";
const STEP: &str = "step";

/// Builds the model on what parameters there are.
type Builder<'a> = dyn Fn(VarBuilder<'static>) -> CandleResult<Box<dyn ModuleT + 'a>> + 'a;

/// Forward, loss, backward, update, on batches of inputs and targets.
///
/// The gradient of a step is that of the mean loss over all its samples, also when they come in
/// several batches of different size. The optimizer names any parameter that got no gradient, and a
/// loss or a gradient that is not finite ends the run before it can spoil the weights, unless
/// [`TrainerConfig::non_finite`](super::TrainerConfig) says otherwise. Integer inputs are taken for
/// tokens and counted. Built by [`Trainer::new`](super::Trainer::new), whose methods set its parts.
pub struct Supervised<'a> {
    pub(super) model: Model<'a>,
    /// What to build it again from.
    pub(super) builder: Option<(Params, Box<Builder<'a>>)>,
    pub(super) optimizer: Optimizer,
    accumulator: Accumulator,
    base_lr: f64,
    /// What callbacks multiplied the rate by.
    lr_scale: f64,
    pub(super) schedule: Box<dyn Schedule>,
    pub(super) objective: Objective<'a>,
    pub(super) eval_objective: Option<Objective<'a>>,
    pub(super) metrics: Metrics<'a>,
    pub(super) seed: u64,
    pub(super) device: Device,
    pub(super) mixed_precision: MixedPrecision,
    pub(super) averages: Option<Averages>,
    pub(super) non_finite: NonFinite,
    pub(super) loss_scaler: Option<LossScaler>,
    keep_gradients: bool,
    keep_confusion: bool,
    /// Of the last evaluation.
    confusion: Option<ConfusionMatrix>,
    /// The model's, for checkpoints.
    pub(super) params: Option<Params>,
}

/// Metrics by name, and the confusion matrix if one is wanted and there are classes.
type Found = (BTreeMap<String, f64>, Option<ConfusionMatrix>);

/// A model as it came, or built again.
pub(super) enum Model<'a> {
    Given(&'a dyn ModuleT),
    Built(Box<dyn ModuleT + 'a>),
}

impl ModuleT for Model<'_> {
    fn forward_t(&self, inputs: &Tensor, train: bool) -> CandleResult<Tensor> {
        match self {
            Self::Given(model) => model.forward_t(inputs, train),
            Self::Built(model) => model.forward_t(inputs, train),
        }
    }
}

/// What the batches of a step have added up so far.
#[derive(Default)]
struct Sums {
    /// Of the mean loss, times the loss scale, if the step has one batch; else they are in the
    /// accumulator.
    grads: Option<GradStore>,
    loss: f64,
    /// Number of losses in it.
    losses: usize,
    samples: usize,
    tokens: Option<usize>,
    metrics: Means,
    /// Whether a loss was not finite, for which the step is to be skipped.
    broken: bool,
}

/// What is neither a weight nor the optimizer's.
#[derive(Serialize, Deserialize)]
struct Numbers {
    lr_scale: f64,
    /// Of any kind of average; the name is from when there was one.
    ema_updates: Option<usize>,
    #[serde(default)]
    loss_scaler: Option<LossScaler>,
}

impl<'a> Supervised<'a> {
    /// Cross-entropy and accuracy, a constant rate, on the CPU.
    pub fn new(model: &'a dyn ModuleT, optimizer: Optimizer, seed: u64) -> Self {
        Self {
            model: Model::Given(model),
            builder: None,
            base_lr: optimizer.lr(),
            lr_scale: 1.,
            accumulator: Accumulator::new(&optimizer),
            optimizer,
            schedule: Box::new(Constant),
            objective: classes(),
            eval_objective: None,
            metrics: accuracy(),
            seed,
            device: Device::Cpu,
            mixed_precision: MixedPrecision::No,
            averages: None,
            non_finite: NonFinite::Error,
            loss_scaler: None,
            keep_gradients: false,
            keep_confusion: false,
            confusion: None,
            params: None,
        }
    }

    /// Overwrites the weights with their averages, and running statistics with those that belong to
    /// them: what a model with [`Trainer::ema`](super::Trainer::ema) or
    /// [`Trainer::swa`](super::Trainer::swa) is used with after its training. Returns whether there
    /// were any.
    pub fn write_averages(&self) -> Result<bool, TrainError> {
        let averages = self.averages.as_ref().filter(|all| all.updates() > 0);
        averages
            .map(Averages::write)
            .transpose()
            .map(|done| done.is_some())
    }

    /// Goes forward and backward through one batch; `alone` if the step has no other.
    fn batch(
        &mut self,
        at: Position,
        batch: &Batch,
        alone: bool,
        sums: &mut Sums,
    ) -> Result<(), TrainError> {
        // Every batch of every epoch has streams of its own.
        let _streams = RngScope::new(self.seed, at.epoch << 32 | at.batch);
        let inputs = batch.0.to_device(&self.device)?;
        let targets = batch.1.to_device(&self.device)?;
        let _tape = Tape::new();
        let _products = self.mixed_precision.scope()?;
        let output = self.model.forward_t(&inputs, true)?;
        let (losses, parts) = self.objective.of(&output, &targets)?;
        let (value, weight) = (total(&losses)?, losses.elem_count());
        sums.broken = !self.may_go_on(value / weight as f64, at, &inputs)?;
        sums.count(value, weight, &inputs, &targets)?;
        if sums.broken {
            return Ok(());
        }
        self.add_gradients(&losses, alone, sums)?;
        for (name, part) in &parts {
            sums.metrics.merge(name, part);
        }
        sums.metrics
            .add_metrics(&self.metrics, &output.detach(), &targets)?;
        Ok(())
    }

    fn add_gradients(
        &mut self,
        losses: &Tensor,
        alone: bool,
        sums: &mut Sums,
    ) -> Result<(), TrainError> {
        let scale_of = |scaler: &LossScaler| scaler.scale;
        let weight = losses.elem_count();
        let factor = self.loss_scaler.as_ref().map_or(1., scale_of) / weight as f64;
        let each = (losses.detach().ones_like()? * factor)?;
        let grads = backward_from(losses, &each)?;
        match alone {
            true => sums.grads = Some(grads),
            false => self.accumulator.add(&grads, weight)?,
        }
        Ok(())
    }

    /// Whether a loss is finite or no matter; `false` if the step is to be skipped for it.
    fn may_go_on(&self, loss: f64, at: Position, inputs: &Tensor) -> Result<bool, TrainError> {
        match self.non_finite {
            _ if loss.is_finite() => Ok(true),
            NonFinite::Allow => Ok(true),
            NonFinite::Skip => Ok(false),
            NonFinite::Error => Err(self.broken(loss, at, inputs)?),
        }
    }

    fn broken(&self, loss: f64, at: Position, inputs: &Tensor) -> Result<TrainError, TrainError> {
        Ok(TrainError::NonFiniteLoss {
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
        let _products = self.mixed_precision.scope()?;
        let layer = first_non_finite(|| self.model.forward_t(inputs, true))?;
        Ok(match layer {
            Some(layer) => format!("the first output that is not finite is that of {layer}"),
            None => "the model's outputs are finite, the loss of them is not".to_string(),
        })
    }

    /// One step on what was added up; `false` if it was skipped.
    fn update(&mut self, sums: &Sums) -> Result<bool, TrainError> {
        let lr = self.base_lr * self.lr_scale * self.schedule.at(self.optimizer.steps());
        self.optimizer.set_lr(lr);
        let taken = !sums.broken && self.take(sums)?;
        if let Some(averages) = self.averages.as_mut().filter(|_| taken) {
            averages.after_step()?;
        }
        Ok(taken)
    }

    fn take(&mut self, sums: &Sums) -> Result<bool, TrainError> {
        let accumulated;
        let (grads, by) = match &sums.grads {
            Some(grads) => (grads, 1.),
            None => {
                accumulated = self.accumulator.sums()?;
                (&accumulated.0, accumulated.1)
            }
        };
        if let Some(scaler) = &mut self.loss_scaler {
            return Ok(scaler.step_scaled(&mut self.optimizer, grads, by)?);
        }
        let skipped = self.optimizer.skipped_steps();
        self.optimizer.step_scaled(grads, by)?;
        Ok(self.optimizer.skipped_steps() == skipped)
    }

    /// Those of the mean loss, for callbacks; `scale` is what the loss was multiplied by.
    fn gradients(&self, sums: &Sums, scale: f64) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let accumulated;
        let (grads, by) = match &sums.grads {
            Some(grads) => (grads, 1.),
            None => {
                accumulated = self.accumulator.sums()?;
                (&accumulated.0, accumulated.1)
            }
        };
        let trainable = self.optimizer.trainable();
        let found = trainable.filter_map(|(name, var)| Some((name, grads.get(var)?)));
        let unscaled = |(name, grad): (&str, &Tensor)| {
            let grad = (grad.detach() * (by / scale))?;
            Ok((name.to_string(), grad))
        };
        found.map(unscaled).collect()
    }

    fn found(
        &self,
        batches: &mut dyn Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<Found, TrainError> {
        let objective = self.eval_objective.as_ref().unwrap_or(&self.objective);
        let (mut means, _products) = (Means::default(), self.mixed_precision.scope()?);
        let mut confusion = Confusion::new(self.keep_confusion);
        for batch in batches {
            let (inputs, targets) = batch?;
            let inputs = inputs.to_device(&self.device)?;
            let targets = targets.to_device(&self.device)?;
            let output = self.model.forward_t(&inputs, false)?.detach();
            means.add_batch(objective, &self.metrics, &output, &targets)?;
            confusion.add(&output, &targets);
        }
        Ok((means.compute(), confusion.finish()))
    }

    fn params(&self) -> Result<&Params, TrainError> {
        self.params.as_ref().ok_or(TrainError::NoParams)
    }
}

impl Sums {
    fn count(
        &mut self,
        loss: f64,
        losses: usize,
        inputs: &Tensor,
        targets: &Tensor,
    ) -> CandleResult<()> {
        self.loss += loss;
        self.losses += losses;
        self.samples += targets.dim(0)?;
        if inputs.dtype().is_int() {
            *self.tokens.get_or_insert(0) += inputs.elem_count();
        }
        Ok(())
    }
}

fn total(losses: &Tensor) -> CandleResult<f64> {
    // Not every device has f64.
    let total = sum(&losses.detach())?.to_device(&Device::Cpu)?;
    total.to_dtype(DType::F64)?.to_scalar()
}

impl TrainStep<Batch> for Supervised<'_> {
    fn step(&mut self, window: &mut Window<'_, Batch>) -> Result<StepReport, TrainError> {
        self.accumulator.clear();
        let mut sums = Sums::default();
        let (mut next, mut first) = (window.next(), true);
        while let Some(batch) = next {
            let (at, batch) = batch?;
            next = window.next();
            if !sums.broken {
                self.batch(at, &batch, first && next.is_none(), &mut sums)?;
            }
            first = false;
        }
        let scale = self.loss_scaler.map_or(1., |scaler| scaler.scale);
        let taken = self.update(&sums)?;
        let gradients = match taken && self.keep_gradients {
            true => self.gradients(&sums, scale)?,
            false => BTreeMap::new(),
        };
        Ok(StepReport {
            loss: sums.loss / sums.losses as f64,
            samples: sums.samples,
            tokens: sums.tokens,
            lr: self.optimizer.lr(),
            grad_norm: self.optimizer.grad_norm().filter(|_| taken),
            metrics: sums.metrics.into_inner(),
            skipped: !taken,
            gradients,
        })
    }

    fn end_epoch(
        &mut self,
        epoch: usize,
        batches: &mut dyn Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<(), TrainError> {
        let Some(Averages::Swa(averaged)) = &mut self.averages else {
            return Ok(());
        };
        let _products = self.mixed_precision.scope()?;
        let inputs = batches.map(|batch| {
            let (inputs, _) = batch.map_err(candle_core::Error::wrap)?;
            inputs.to_device(&self.device)
        });
        averaged.after_epoch(epoch, &self.model, inputs)
    }

    fn evaluate(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        let (metrics, confusion) = match &self.averages {
            Some(averages) if averages.updates() > 0 => averages.with(|| self.found(batches))?,
            // Some rules train at another place than they are evaluated at.
            _ => self.optimizer.with_eval(|| self.found(batches))?,
        }?;
        self.confusion = confusion;
        Ok(metrics)
    }

    fn keep_confusion(&mut self, keep: bool) {
        self.keep_confusion = keep;
    }

    fn take_confusion(&mut self) -> Option<ConfusionMatrix> {
        self.confusion.take()
    }

    fn scale_lr(&mut self, factor: f64) {
        self.lr_scale *= factor;
    }

    fn keep_gradients(&mut self, keep: bool) {
        self.keep_gradients = keep;
    }

    fn rebuild(&mut self) -> Result<(), TrainError> {
        let (params, build) = self.builder.as_ref().ok_or(TrainError::NoBuilder)?;
        let known: BTreeSet<_> = self.optimizer.parameters().map(|(name, _)| name).collect();
        let mut names: Vec<_> = params.trainable().into_iter().map(|(n, _)| n).collect();
        names.retain(|name| !known.contains(name.as_str()));
        if !names.is_empty() {
            return Err(TrainError::NotOptimized { names });
        }
        self.model = Model::Built(build(params.vb())?);
        self.optimizer.set_frozen(|name| !params.is_trainable(name));
        Ok(())
    }

    fn trainable(&self) -> usize {
        let sizes = self.optimizer.trainable().map(|(_, v)| v.elem_count());
        sizes.sum()
    }

    fn state(&self) -> Result<BTreeMap<String, Part>, TrainError> {
        let numbers = Numbers {
            lr_scale: self.lr_scale,
            ema_updates: self.averages.as_ref().map(Averages::updates),
            loss_scaler: self.loss_scaler,
        };
        let mut parts = BTreeMap::from([
            (MODEL.to_string(), Part::of_params(self.params()?)),
            (OPTIMIZER.to_string(), Part::of_optimizer(&self.optimizer)?),
            (STEP.to_string(), Part::values(&numbers)?),
        ]);
        if let Some(averages) = &self.averages {
            let part = Part::tensors(averages.state()?);
            parts.insert(averages.part().to_string(), part);
        }
        Ok(parts)
    }

    fn load_state(&mut self, state: &Snapshot) -> Result<(), TrainError> {
        let numbers: Numbers = state.part(STEP)?.read(STEP)?;
        let optimizer = state.part(OPTIMIZER)?;
        optimizer.load_optimizer(OPTIMIZER, &mut self.optimizer)?;
        if let Some(averages) = &mut self.averages {
            let part = state.part(averages.part())?;
            averages.load(&part.tensors, numbers.ema_updates.unwrap_or(0))?;
        }
        self.lr_scale = numbers.lr_scale;
        if self.loss_scaler.is_some() {
            self.loss_scaler = numbers.loss_scaler.or(self.loss_scaler);
        }
        state.part(MODEL)?.load_params(MODEL, self.params()?)
    }
}
