//! The loop over epochs and steps.

use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result as CandleResult, Tensor};
use candle_nn::ModuleT;
use dl_autograd::{RngScope, Tape, backward, sum};
use dl_optim::{Constant, Optimizer, Schedule};
use serde::{Deserialize, Serialize};

use super::{Callback, Epoch, Flow, Plan, Step, TrainError, evaluate};
use crate::data::{Collate, DataError, DataLoader, Dataset};
use crate::losses::{Reduction, cross_entropy};
use crate::metrics::{Accuracy, Mean};

/// Inputs and labels.
pub type Batch = (Tensor, Tensor);

/// The loss of each sample: (logits, labels) → `(n,)`.
pub type Loss<'a> = dyn Fn(&Tensor, &Tensor) -> CandleResult<Tensor> + 'a;

/// How long and with which randomness to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainerConfig {
    /// Passes over the training data, `≥ 1`. Default `3`.
    pub epochs: usize,
    /// Number of the first epoch, from 0: where this run goes on from an earlier one, so that its
    /// order and its random numbers are not those of the earlier epochs. Default `0`.
    pub first_epoch: usize,
    /// Ends the run after this many optimizer steps, `≥ 1`. Default none.
    pub max_steps: Option<usize>,
    /// Batches whose gradients make one optimizer step, `≥ 1`. Default `1`.
    pub gradient_accumulation_steps: usize,
    /// Key of dropout and every other random number inside the model. Default `42`.
    pub seed: u64,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            epochs: 3,
            first_epoch: 0,
            max_steps: None,
            gradient_accumulation_steps: 1,
            seed: 42,
        }
    }
}

/// Trains a classifier: model, loss, optimizer and schedule over a loader, evaluated every epoch.
///
/// The gradient of a step is that of the mean loss over all its samples, also when they come in
/// several batches of different size. The optimizer names any parameter that got no gradient, and a
/// loss that is not finite ends the run before it can spoil the weights.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::data::{DataLoader, StackTensors, TensorDataset};
/// use dl_core::{Params, models::{Mlp, MlpConfig}, train::{Trainer, TrainerConfig}};
/// use dl_optim::{Adam, Optimizer};
/// let params = Params::new(0, &Device::Cpu);
/// let config = MlpConfig { inputs: 2, hidden: vec![8], classes: 2, dropout: 0. };
/// let model = Mlp::new(&config, params.vb())?;
/// let x = Tensor::new(&[[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]], &Device::Cpu)?;
/// let y = Tensor::new(&[0u32, 1, 1, 0], &Device::Cpu)?;
/// let loader = DataLoader::new(TensorDataset::new(x, y)?, StackTensors).batch_size(4);
/// let optimizer = Optimizer::new(params.trainable(), Adam { lr: 0.05, ..Adam::default() })?;
/// let config = TrainerConfig { epochs: 150, ..Default::default() };
/// let history = Trainer::new(&model, optimizer, config).fit(&loader, &loader)?;
/// assert_eq!(history.last().unwrap().eval_accuracy, 1.);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Trainer<'a> {
    model: &'a dyn ModuleT,
    optimizer: Optimizer,
    base_lr: f64,
    schedule: Box<dyn Schedule>,
    loss: Box<Loss<'a>>,
    eval_loss: Box<Loss<'a>>,
    callbacks: Vec<Box<dyn Callback + 'a>>,
    config: TrainerConfig,
    device: Device,
}

/// The epochs of a run, in order.
pub type History = Vec<Epoch>;

/// What an epoch has added up so far.
#[derive(Default)]
struct Totals {
    batches: u64,
    loss: Mean,
    accuracy: Accuracy,
}

/// Gradients of a step that is not complete, and the samples they come from.
#[derive(Default)]
struct Window {
    grads: GradStore,
    loss: f64,
    samples: usize,
    batches: usize,
}

impl<'a> Trainer<'a> {
    /// A trainer with cross-entropy, a constant rate and no callbacks, on the CPU.
    pub fn new(model: &'a dyn ModuleT, optimizer: Optimizer, config: TrainerConfig) -> Self {
        let cross_entropy =
            |z: &Tensor, y: &Tensor| cross_entropy(z, y, Default::default(), Reduction::None);
        Self {
            model,
            base_lr: optimizer.lr(),
            optimizer,
            schedule: Box::new(Constant),
            loss: Box::new(cross_entropy),
            eval_loss: Box::new(cross_entropy),
            callbacks: vec![],
            config,
            device: Device::Cpu,
        }
    }

    /// The device that batches are moved to: the model's. Default the CPU.
    pub fn device(mut self, device: &Device) -> Self {
        self.device = device.clone();
        self
    }

    /// Multiplies the optimizer's rate, step by step. Default constant.
    pub fn schedule(mut self, schedule: impl Schedule + 'static) -> Self {
        self.schedule = Box::new(schedule);
        self
    }

    /// The training loss. Default cross-entropy; evaluation keeps that.
    pub fn loss(mut self, loss: impl Fn(&Tensor, &Tensor) -> CandleResult<Tensor> + 'a) -> Self {
        self.loss = Box::new(loss);
        self
    }

    /// Adds a listener; they are called in the order in which they were added.
    pub fn callback(mut self, callback: impl Callback + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Trains, evaluating on `eval` at the end of every epoch.
    pub fn fit<T, E, C, F>(
        &mut self,
        train: &DataLoader<T, C>,
        eval: &DataLoader<E, F>,
    ) -> Result<History, TrainError>
    where
        T: Dataset<Item: 'static> + 'static,
        E: Dataset<Item: 'static> + 'static,
        C: Collate<T::Item, Batch = Batch> + 'static,
        F: Collate<E::Item, Batch = Batch> + 'static,
    {
        let total_steps = self.total_steps(train.len())?;
        self.begin(total_steps)?;
        let mut history = History::new();
        let first = self.config.first_epoch;
        for epoch in first..first + self.config.epochs {
            let mut flow = Flow::Continue;
            let summary = self.epoch(epoch, total_steps, train.epoch(epoch as u64)?, &mut flow)?;
            let found = evaluate(self.model, eval.epoch(0)?, &self.eval_loss, &self.device)?;
            let summary = Epoch {
                eval_loss: found.loss,
                eval_accuracy: found.accuracy,
                ..summary
            };
            history.push(summary);
            let answer = self.tell(|callback| callback.on_epoch_end(&summary))?;
            if [flow, answer].contains(&Flow::Stop) || self.optimizer.steps() >= total_steps {
                break;
            }
        }
        self.callbacks
            .iter_mut()
            .try_for_each(|c| c.on_train_end())?;
        Ok(history)
    }

    /// Optimizer steps of the whole run, for a loader of so many batches.
    pub fn total_steps(&self, batches: usize) -> Result<usize, TrainError> {
        let config = &self.config;
        for (field, value) in [
            ("epochs", config.epochs),
            (
                "gradient_accumulation_steps",
                config.gradient_accumulation_steps,
            ),
            ("max_steps", config.max_steps.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(TrainError::Option {
                    field,
                    wanted: "1 or more",
                    came: "0".to_string(),
                });
            }
        }
        if batches == 0 {
            return Err(TrainError::NoBatches { split: "training" });
        }
        let steps = batches.div_ceil(config.gradient_accumulation_steps) * config.epochs;
        Ok(config.max_steps.map_or(steps, |max| max.min(steps)))
    }

    fn begin(&mut self, total_steps: usize) -> Result<(), TrainError> {
        let trainable = self.optimizer.parameters().map(|(_, v)| v.elem_count());
        let plan = Plan {
            epochs: self.config.first_epoch + self.config.epochs,
            total_steps,
            trainable: trainable.sum(),
        };
        self.callbacks
            .iter_mut()
            .try_for_each(|callback| callback.on_train_begin(&plan))
    }

    fn epoch(
        &mut self,
        epoch: usize,
        total_steps: usize,
        batches: impl Iterator<Item = Result<Batch, DataError>>,
        flow: &mut Flow,
    ) -> Result<Epoch, TrainError> {
        let start = Instant::now();
        let (mut totals, mut window) = (Totals::default(), Window::default());
        let mut batches = batches.peekable();
        while let Some(batch) = batches.next() {
            self.accumulate(epoch, &batch?, &mut window, &mut totals)?;
            let full = window.batches == self.config.gradient_accumulation_steps;
            if full || batches.peek().is_none() {
                *flow = self.step(epoch, std::mem::take(&mut window))?;
                if *flow == Flow::Stop || self.optimizer.steps() >= total_steps {
                    break;
                }
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        Ok(Epoch {
            epoch: epoch + 1,
            step: self.optimizer.steps(),
            train_loss: totals.loss.compute(),
            train_accuracy: totals.accuracy.compute(),
            eval_loss: f64::NAN,
            eval_accuracy: f64::NAN,
            learning_rate: self.optimizer.lr(),
            train_seconds: seconds,
            train_samples_per_second: totals.loss.weight() / seconds,
        })
    }

    fn accumulate(
        &mut self,
        epoch: usize,
        (inputs, labels): &Batch,
        window: &mut Window,
        totals: &mut Totals,
    ) -> Result<(), TrainError> {
        // Every batch of every epoch has streams of its own.
        let position = (epoch as u64) << 32 | totals.batches;
        let _streams = RngScope::new(self.config.seed, position);
        let inputs = inputs.to_device(&self.device)?;
        let labels = labels.to_device(&self.device)?;
        let _tape = Tape::new();
        let logits = self.model.forward_t(&inputs, true)?;
        let loss = sum(&(self.loss)(&logits, &labels)?)?;
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        self.require_finite(value, epoch)?;
        self.add_gradients(backward(&loss)?, window)?;
        let samples = labels.elem_count();
        window.loss += value;
        window.samples += samples;
        window.batches += 1;
        totals.batches += 1;
        totals.loss.update(value / samples as f64, samples as f64);
        totals.accuracy.update(&logits.detach(), &labels)?;
        Ok(())
    }

    fn require_finite(&self, loss: f64, epoch: usize) -> Result<(), TrainError> {
        match loss.is_finite() {
            true => Ok(()),
            false => Err(TrainError::NonFiniteLoss {
                loss,
                epoch: epoch + 1,
                step: self.optimizer.steps() + 1,
                lr: self.optimizer.lr(),
            }),
        }
    }

    fn add_gradients(&self, mut grads: GradStore, window: &mut Window) -> CandleResult<()> {
        if self.config.gradient_accumulation_steps == 1 {
            window.grads = grads;
            return Ok(());
        }
        for (_, var) in self.optimizer.parameters() {
            // Detached: a gradient may hold the graph, and with it the activations, of its batch.
            let Some(new) = grads.remove(var).map(|g| g.detach()) else {
                continue;
            };
            let sum = match window.grads.remove(var) {
                Some(old) => (old + new)?.detach(),
                None => new,
            };
            window.grads.insert(var, sum);
        }
        Ok(())
    }

    fn step(&mut self, epoch: usize, window: Window) -> Result<Flow, TrainError> {
        let lr = self.base_lr * self.schedule.at(self.optimizer.steps());
        self.optimizer.set_lr(lr);
        let samples = window.samples;
        self.optimizer
            .step_scaled(&window.grads, 1. / samples as f64)?;
        let step = Step {
            epoch: epoch + 1,
            step: self.optimizer.steps(),
            loss: window.loss / samples as f64,
            lr,
            samples,
            grad_norm: self.optimizer.grad_norm(),
        };
        self.tell(|callback| callback.on_step_end(&step))
    }

    /// Every callback hears, also when an earlier one has said stop.
    fn tell(
        &mut self,
        mut event: impl FnMut(&mut dyn Callback) -> Result<Flow, TrainError>,
    ) -> Result<Flow, TrainError> {
        let mut answer = Flow::Continue;
        for callback in &mut self.callbacks {
            if event(callback.as_mut())? == Flow::Stop {
                answer = Flow::Stop;
            }
        }
        Ok(answer)
    }
}
