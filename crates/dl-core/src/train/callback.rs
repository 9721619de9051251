//! What listens to a training run and may end it.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::checkpoint::{Part, Values};
use crate::metrics::ConfusionMatrix;

/// A callback's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Go on with the learning rate multiplied by this.
    ScaleLr(f64),
    /// Go on with the model built again, since parameters were frozen or thawed.
    Rebuild,
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
    /// What a log of this run says of later steps comes again and is to be taken off: the step of the
    /// checkpoint, or 0 if the run was to go on and stopped before it had one. None for a run that only
    /// begins.
    pub cut_after: Option<usize>,
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
    /// Tokens of the step, where the batches know.
    pub tokens: Option<usize>,
    /// Norm of all gradients before clipping, where clipping computes it.
    pub grad_norm: Option<f64>,
    /// Whether the weights stayed as they were, because of something that is not finite.
    pub skipped: bool,
    /// Seconds from the end of the step before to the end of this one, without evaluations,
    /// checkpoints and callbacks.
    pub seconds: f64,
    /// Those of them that were spent waiting for data.
    pub data_seconds: f64,
}

/// The gradients of one step, as the optimizer took them: of the mean loss, before clipping.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The step, from 1, over the whole run.
    pub step: usize,
    /// Of each parameter that has one, by its name.
    pub by_name: BTreeMap<String, Tensor>,
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
    /// Which class was taken for which, if a callback [wants](Callback::wants_confusion) to know it and
    /// the outputs are logits `(n, classes)` of at most 100 classes, the targets one class each.
    pub confusion: Option<ConfusionMatrix>,
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
    /// Training tokens a second, where the batches know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_tokens_per_second: Option<f64>,
    /// Seconds of training that were spent waiting for data.
    #[serde(default)]
    pub data_seconds: f64,
    /// Seconds of evaluations.
    #[serde(default)]
    pub eval_seconds: f64,
    /// Seconds that checkpoints held the training up, since the epoch before ended: one is taken when
    /// an epoch is over and counts in the next.
    #[serde(default)]
    pub checkpoint_seconds: f64,
    /// Steps that left the weights as they were, because of something that is not finite.
    #[serde(default)]
    pub skipped_steps: usize,
    /// Bytes of memory that the process held at the end, where the system says so.
    #[serde(default)]
    pub resident_bytes: Option<u64>,
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

/// The value of a metric, or an error that lists those that there are.
pub(super) fn named(metrics: &BTreeMap<String, f64>, name: &str) -> Result<f64, TrainError> {
    let found = metrics.get(name).copied();
    found.ok_or_else(|| TrainError::UnknownMetric {
        name: name.to_string(),
        known: metrics.keys().cloned().collect(),
    })
}

/// Hears what happens in a run. Every hook is optional.
///
/// For each epoch `on_epoch_begin`. For each step: `on_gradients` if a callback wants them, then
/// `on_step_end`, then `on_evaluation` if one is due. At the end of an epoch: `on_evaluation`, then
/// `on_epoch_end`. `on_checkpoint` comes when a checkpoint is whole on disk. At the end comes
/// `on_train_end` or, when the run is broken off, `on_error`.
///
/// A `&mut` of a callback is one too, so that it can be asked what it has heard when the run is over.
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

    /// Before the first step of an epoch, and before the first after a resumption in its middle; from
    /// 1.
    fn on_epoch_begin(&mut self, epoch: usize) -> Result<Flow, TrainError> {
        let _ = epoch;
        Ok(Flow::Continue)
    }

    /// Whether `on_gradients` is to be called for the step of this number. Default no.
    fn wants_gradients(&self, step: usize) -> bool {
        let _ = step;
        false
    }

    /// After an optimizer step for which a callback wanted the gradients, unless it was skipped.
    fn on_gradients(&mut self, _: &Gradients) -> Result<(), TrainError> {
        Ok(())
    }

    /// After each optimizer step.
    fn on_step_end(&mut self, _: &Step) -> Result<Flow, TrainError> {
        Ok(Flow::Continue)
    }

    /// Whether evaluations are to count which class is taken for which, where there are classes.
    /// Default no.
    fn wants_confusion(&self) -> bool {
        false
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

    /// When the run is broken off: by an interruption, after its checkpoint, or by any other error.
    /// The error is what the run ends with, so there is no answer.
    fn on_error(&mut self, _: &TrainError) {}

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

impl<C: Callback + ?Sized> Callback for &mut C {
    fn on_train_begin(&mut self, plan: &Plan) -> Result<(), TrainError> {
        (**self).on_train_begin(plan)
    }

    fn on_epoch_begin(&mut self, epoch: usize) -> Result<Flow, TrainError> {
        (**self).on_epoch_begin(epoch)
    }

    fn wants_gradients(&self, step: usize) -> bool {
        (**self).wants_gradients(step)
    }

    fn on_gradients(&mut self, gradients: &Gradients) -> Result<(), TrainError> {
        (**self).on_gradients(gradients)
    }

    fn on_step_end(&mut self, step: &Step) -> Result<Flow, TrainError> {
        (**self).on_step_end(step)
    }

    fn wants_confusion(&self) -> bool {
        (**self).wants_confusion()
    }

    fn on_evaluation(&mut self, found: &Evaluated) -> Result<Flow, TrainError> {
        (**self).on_evaluation(found)
    }

    fn on_epoch_end(&mut self, epoch: &Epoch) -> Result<Flow, TrainError> {
        (**self).on_epoch_end(epoch)
    }

    fn on_checkpoint(&mut self, path: &Path) -> Result<(), TrainError> {
        (**self).on_checkpoint(path)
    }

    fn on_train_end(&mut self) -> Result<(), TrainError> {
        (**self).on_train_end()
    }

    fn on_error(&mut self, error: &TrainError) {
        (**self).on_error(error);
    }

    fn state(&self) -> Result<Option<(String, Part)>, TrainError> {
        (**self).state()
    }

    fn load_state(&mut self, part: &Part) -> Result<(), TrainError> {
        (**self).load_state(part)
    }
}
