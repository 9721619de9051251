//! What listens to a training run and may end it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::checkpoint::{Part, Values};

/// A callback's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Go on with the learning rate multiplied by this.
    ScaleLr(f64),
    /// End the run after this event, as if it were complete.
    Stop,
    /// End the run at once, with a checkpoint to go on from and an error that says so.
    Interrupt,
}

/// What is about to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Number of the last epoch, from 1.
    pub epochs: usize,
    /// Optimizer steps of the whole run.
    pub total_steps: usize,
    /// Number of trainable scalars.
    pub trainable: usize,
    /// The step of the checkpoint that the run goes on from.
    pub resumed: Option<usize>,
}

/// One optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The step, from 1, over the whole run.
    pub step: usize,
    /// Mean loss of the step's samples.
    pub loss: f64,
    /// Learning rate of the step, before the scales of parameter groups.
    pub lr: f64,
    /// Samples of the step.
    pub samples: usize,
    /// Norm of all gradients before clipping, where clipping computes it.
    pub grad_norm: Option<f64>,
}

/// One evaluation, in mid-epoch or at its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Optimizer steps so far.
    pub step: usize,
    /// What was found, with `eval_` in front: `eval_loss`, `eval_accuracy`.
    pub metrics: BTreeMap<String, f64>,
}

impl Evaluated {
    /// The value of a metric by its name, such as `eval_accuracy`.
    pub fn metric(&self, name: &str) -> Result<f64, TrainError> {
        named(&self.metrics, name)
    }
}

/// One epoch, with the evaluation at its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Optimizer steps so far.
    pub step: usize,
    /// `train_loss`, `train_accuracy`: means over the epoch, as the weights were at each step; and
    /// what the evaluation found, `eval_loss`, `eval_accuracy`.
    #[serde(flatten)]
    pub(super) values: Values,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Seconds of training, without evaluations.
    pub train_seconds: f64,
    /// Training samples a second.
    pub train_samples_per_second: f64,
}

impl Epoch {
    /// The value of a metric by its name, such as `eval_accuracy`.
    pub fn metric(&self, name: &str) -> Result<f64, TrainError> {
        named(self.metrics(), name)
    }

    /// Every metric by name.
    pub fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.values.0
    }
}

fn named(metrics: &BTreeMap<String, f64>, name: &str) -> Result<f64, TrainError> {
    let found = metrics.get(name).copied();
    found.ok_or_else(|| TrainError::UnknownMetric {
        name: name.to_string(),
        known: metrics.keys().cloned().collect(),
    })
}

/// Hears what happens in a run. Every hook is optional.
///
/// For each step: `on_step_end`, then `on_evaluation` if one is due. At the end of an epoch:
/// `on_evaluation`, then `on_epoch_end`. `on_checkpoint` comes when a checkpoint is whole on disk.
///
/// ```
/// use dl_core::train::{Callback, Epoch, Flow, TrainError};
/// struct StopAt(f64);
/// impl Callback for StopAt {
///     fn on_epoch_end(&mut self, epoch: &Epoch) -> Result<Flow, TrainError> {
///         Ok(match epoch.metric("eval_accuracy")? >= self.0 {
///             true => Flow::Stop,
///             false => Flow::Continue,
///         })
///     }
/// }
/// # let _ = StopAt(0.9);
/// ```
pub trait Callback {
    /// Before the first step, after what was saved has been loaded.
    fn on_train_begin(&mut self, _: &Plan) -> Result<(), TrainError> {
        Ok(())
    }

    /// After each optimizer step.
    fn on_step_end(&mut self, _: &Step) -> Result<Flow, TrainError> {
        Ok(Flow::Continue)
    }

    /// After each evaluation.
    fn on_evaluation(&mut self, _: &Evaluated) -> Result<Flow, TrainError> {
        Ok(Flow::Continue)
    }

    /// After each epoch and its evaluation.
    fn on_epoch_end(&mut self, _: &Epoch) -> Result<Flow, TrainError> {
        Ok(Flow::Continue)
    }

    /// After a checkpoint was written.
    fn on_checkpoint(&mut self, _: &Path) -> Result<(), TrainError> {
        Ok(())
    }

    /// After the last epoch of a run that was not broken off by an error.
    fn on_train_end(&mut self) -> Result<(), TrainError> {
        Ok(())
    }

    /// What it must remember over a resumption: a name, unique in the run, and the state. Default
    /// nothing.
    fn state(&self) -> Result<Option<(String, Part)>, TrainError> {
        Ok(None)
    }

    /// Goes on from what [`Callback::state`] gave.
    fn load_state(&mut self, _: &Part) -> Result<(), TrainError> {
        Ok(())
    }
}
