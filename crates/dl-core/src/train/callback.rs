//! What listens to a training run and may end it.

use serde::Serialize;

use super::TrainError;

/// A callback's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// End the run after this event, as if it were complete.
    Stop,
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

/// One epoch, with the evaluation at its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Epoch {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Optimizer steps so far.
    pub step: usize,
    /// Mean training loss of the epoch, as the weights were at each step.
    pub train_loss: f64,
    /// Training accuracy of the epoch in `[0, 1]`, likewise.
    pub train_accuracy: f64,
    /// Mean loss on the evaluation data.
    pub eval_loss: f64,
    /// Accuracy on the evaluation data in `[0, 1]`.
    pub eval_accuracy: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Seconds of training, without the evaluation.
    pub train_seconds: f64,
    /// Training samples a second.
    pub train_samples_per_second: f64,
}

impl Epoch {
    /// The value of a metric by the name it has in the log, such as `eval_accuracy`.
    pub fn metric(&self, name: &str) -> Result<f64, TrainError> {
        let metrics = [
            ("train_loss", self.train_loss),
            ("train_accuracy", self.train_accuracy),
            ("eval_loss", self.eval_loss),
            ("eval_accuracy", self.eval_accuracy),
            ("learning_rate", self.learning_rate),
        ];
        let found = metrics.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| TrainError::UnknownMetric {
                name: name.to_string(),
                known: metrics.map(|(known, _)| known.to_string()).to_vec(),
            })
    }
}

/// Hears what happens in a run. Every hook is optional.
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
    /// Before the first step.
    fn on_train_begin(&mut self, _: &Plan) -> Result<(), TrainError> {
        Ok(())
    }

    /// After each optimizer step.
    fn on_step_end(&mut self, _: &Step) -> Result<Flow, TrainError> {
        Ok(Flow::Continue)
    }

    /// After each epoch and its evaluation.
    fn on_epoch_end(&mut self, _: &Epoch) -> Result<Flow, TrainError> {
        Ok(Flow::Continue)
    }

    /// After the last epoch of a run that was not broken off by an error.
    fn on_train_end(&mut self) -> Result<(), TrainError> {
        Ok(())
    }
}
