//! What one step of a training does.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::TrainError;
use crate::checkpoint::{Part, Snapshot};
use crate::data::{DataError, Position};
use crate::metrics::{ConfusionMatrix, Mean};

/// The batches of one step, each with its place in the data.
pub type Window<'w, B> = dyn Iterator<Item = Result<(Position, B), DataError>> + 'w;

/// What a step found.
#[derive(Clone, Debug, Default)]
pub struct StepReport {
    /// Mean loss of the step's samples.
    pub loss: f64,
    /// Samples of the step.
    pub samples: usize,
    /// Tokens of the step, where the batches know.
    pub tokens: Option<usize>,
    /// Learning rate of the step.
    pub lr: f64,
    /// Norm of all gradients before clipping, where it was computed.
    pub grad_norm: Option<f64>,
    /// What is averaged over the epoch besides the loss, such as `accuracy`.
    pub metrics: BTreeMap<String, Mean>,
    /// Whether the weights stayed as they were, because of something that is not finite; loss and
    /// metrics then count in no mean.
    pub skipped: bool,
    /// The gradients of the mean loss before clipping, if they were asked for.
    pub gradients: BTreeMap<String, Tensor>,
}

/// One step of a training: forward, backward, update.
///
/// [`Supervised`](super::Supervised) is the usual one. With one of your own (several optimizers,
/// adversarial or reinforcement steps) the [`Trainer`](super::Trainer) still has its epochs,
/// evaluations, callbacks, checkpoints and resumption.
///
/// ```
/// use std::collections::BTreeMap;
/// use candle_core::{Device, Tensor, Var};
/// use dl_core::checkpoint::{Part, Snapshot};
/// use dl_core::data::{DataLoader, StackTensors, TensorDataset};
/// use dl_core::train::{Batch, StepReport, TrainError, TrainStep, Trainer, TrainerConfig, Window};
///
/// /// Follows the mean of the inputs.
/// struct Follow(f64);
/// impl TrainStep<Batch> for Follow {
///     fn step(&mut self, window: &mut Window<'_, Batch>) -> Result<StepReport, TrainError> {
///         let (mut loss, mut samples) = (0., 0);
///         for batch in window {
///             let (_, (x, _)) = batch?;
///             for x in x.flatten_all()?.to_vec1::<f64>()? {
///                 loss += (x - self.0).powi(2);
///                 self.0 += 0.1 * (x - self.0);
///                 samples += 1;
///             }
///         }
///         Ok(StepReport { loss: loss / samples as f64, samples, lr: 0.1, ..Default::default() })
///     }
///     fn state(&self) -> Result<BTreeMap<String, Part>, TrainError> {
///         Ok([("mean".to_string(), Part::values(&self.0)?)].into())
///     }
///     fn load_state(&mut self, state: &Snapshot) -> Result<(), TrainError> {
///         self.0 = state.part("mean")?.read("mean")?;
///         Ok(())
///     }
/// }
/// let x = Tensor::full(3f64, (8, 1), &Device::Cpu)?;
/// let data = DataLoader::new(TensorDataset::new(x.clone(), x)?, StackTensors).batch_size(2);
/// let mut trainer = Trainer::with_step(Follow(0.), TrainerConfig { epochs: 9, ..Default::default() });
/// let history = trainer.fit(&data, &data)?;
/// assert!(history[8].metric("train_loss")? < 1e-3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait TrainStep<B> {
    /// Takes one step on the batches of a window: at least one, and as many as gradients are
    /// accumulated over.
    fn step(&mut self, window: &mut Window<'_, B>) -> Result<StepReport, TrainError>;

    /// After the last step of an epoch, from 1, and before its evaluation. `batches` gives the training
    /// batches of the epoch again, from its first one; nothing is read before they are asked for.
    /// Default nothing.
    fn end_epoch(
        &mut self,
        epoch: usize,
        batches: &mut dyn Iterator<Item = Result<B, DataError>>,
    ) -> Result<(), TrainError> {
        let _ = (epoch, batches);
        Ok(())
    }

    /// What the evaluation finds, by name: `loss`, `accuracy`. Default nothing.
    fn evaluate(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<B, DataError>>,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        let _ = batches;
        Ok(BTreeMap::new())
    }

    /// Whether the next evaluation is to count which class is taken for which, where there are classes.
    fn keep_confusion(&mut self, keep: bool) {
        let _ = keep;
    }

    /// What the last evaluation counted, if it was asked to and could. Default nothing.
    fn take_confusion(&mut self) -> Option<ConfusionMatrix> {
        None
    }

    /// Multiplies the learning rate from now on; asked for by a callback.
    fn scale_lr(&mut self, factor: f64) {
        let _ = factor;
    }

    /// Whether the reports of the next steps are to hold the gradients.
    fn keep_gradients(&mut self, keep: bool) {
        let _ = keep;
    }

    /// Builds the model again, after a callback has frozen or thawed parameters. Default an error: a
    /// step of one's own does not know how.
    fn rebuild(&mut self) -> Result<(), TrainError> {
        Err(TrainError::NoBuilder)
    }

    /// Number of scalars that train.
    fn trainable(&self) -> usize {
        0
    }

    /// Everything that the next step depends on, in parts whose names become file names.
    fn state(&self) -> Result<BTreeMap<String, Part>, TrainError>;

    /// Goes on from what [`TrainStep::state`] gave. Fails on a state that does not fit.
    fn load_state(&mut self, state: &Snapshot) -> Result<(), TrainError>;
}
