//! Why a training run stopped.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::plot::PlotError;

/// Why a training run or an evaluation could not go on.
///
/// ```
/// use dl_core::train::TrainError;
/// let error = TrainError::NoBatches { split: "training" };
/// assert_eq!(error.to_string(), "the training data gives no batch");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The data could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The optimizer refused a step.
    #[error(transparent)]
    Optimizer(#[from] dl_optim::Error),
    /// The loss is NaN or infinite. A smaller rate or clipping is the usual cure.
    #[error(
        "loss is {loss} at step {step}, on batch {batch} of epoch {epoch}{}, with rate {lr:e}: \
         {origin}; lower the learning rate or clip the gradients if the data are right",
        listed(items)
    )]
    NonFiniteLoss {
        /// The loss of the step.
        loss: f64,
        /// The epoch, from 1.
        epoch: usize,
        /// The batch in the epoch, from 0.
        batch: usize,
        /// The items of the batch by their indices in the data set, where it has them; those that
        /// were skipped are among them.
        items: Vec<usize>,
        /// The optimizer step, from 1.
        step: usize,
        /// The learning rate of the step.
        lr: f64,
        /// Where the first value that is not finite comes from.
        origin: String,
    },
    /// A checkpoint could not be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A picture of a report could not be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// A callback asked for an end at once, usually because of a signal.
    #[error("interrupted after step {step}{}", saved(checkpoint))]
    Interrupted {
        /// Optimizer steps taken.
        step: usize,
        /// The checkpoint to go on from.
        checkpoint: Option<PathBuf>,
    },
    /// The folder holds the checkpoints of another run.
    #[error(
        "{} already holds checkpoints; go on from them (`Resume::IfAny`, `Latest`, `Best`) or name \
         another folder",
        folder.display()
    )]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The parameters of the model are needed for its checkpoints.
    #[error(
        "a state needs the model's weights; name them with `Trainer::params` or `Trainer::checkpoints`"
    )]
    NoParams,
    /// A callback froze or thawed parameters of a model that cannot be built again.
    #[error("the model is to be built again; say how with `Trainer::rebuild`")]
    NoBuilder,
    /// Parameters train that the optimizer does not know.
    #[error(
        "the optimizer was not given {}; give it those too that are frozen at first",
        names.join(", ")
    )]
    NotOptimized {
        /// The parameters, in name order.
        names: Vec<String>,
    },
    /// A pattern of a callback matches no parameter: most often a typing mistake.
    #[error("`{pattern}` matches none of the {count} parameters")]
    NothingMatches {
        /// The pattern that came.
        pattern: String,
        /// How many there are.
        count: usize,
    },
    /// Two callbacks, or a callback and the step, have states of the same name.
    #[error("two parts of the run have a state called `{name}`")]
    DuplicateState {
        /// The name.
        name: String,
    },
    /// Two data sets of an evaluation have the same name.
    #[error("two data sets are called `{name}`")]
    DuplicateSet {
        /// The name.
        name: String,
    },
    /// A data set of an evaluation gives no batch.
    #[error("the data set `{name}` gives no batch")]
    EmptySet {
        /// The name.
        name: String,
    },
    /// Two metrics of an evaluation have the same name, such as that of the loss.
    #[error("two metrics are called `{name}`")]
    DuplicateMetric {
        /// The name.
        name: String,
    },
    /// Signals cannot be listened to.
    #[error("cannot listen to signals: {reason}")]
    Signal {
        /// What the system said.
        reason: std::io::Error,
    },
    /// The terminal cannot be drawn on.
    #[error("cannot draw on the terminal: {reason}")]
    Terminal {
        /// What the system said.
        reason: std::io::Error,
    },
    /// An option is outside its range.
    #[error("`{field}` must be {wanted}, got {came}")]
    Option {
        /// The field's name.
        field: &'static str,
        /// Its range.
        wanted: &'static str,
        /// What came.
        came: String,
    },
    /// The data set gives no batch.
    #[error("the {split} data gives no batch")]
    NoBatches {
        /// Which data: training or evaluation.
        split: &'static str,
    },
    /// A stream of training data does not know its length, and nothing else ends the run.
    #[error(
        "the training data do not know how many batches they have; set `max_steps`, \
         `limit_train_batches` or the loader's `epoch_batches`"
    )]
    UnknownLength,
    /// No metric has this name.
    #[error("no metric `{name}`; there are {}", known.join(", "))]
    UnknownMetric {
        /// The name that was asked for.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// A file could not be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
}

impl TrainError {
    /// What a program should end with: 130, as a shell reports Ctrl-C, for a run that was interrupted
    /// and can go on; 1 for all others.
    ///
    /// ```
    /// use dl_core::train::TrainError;
    /// assert_eq!(TrainError::Interrupted { step: 7, checkpoint: None }.exit_code(), 130);
    /// assert_eq!(TrainError::NoParams.exit_code(), 1);
    /// ```
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted { .. } => 130,
            _ => 1,
        }
    }

    /// The same, where it can be said of the data set of this name.
    pub(super) fn of_set(self, name: &str) -> Self {
        match self {
            Self::NoBatches { .. } => Self::EmptySet {
                name: name.to_string(),
            },
            error => error,
        }
    }
}

fn saved(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("; go on from {}", path.display()),
        None => "; without a checkpoint".to_string(),
    }
}

fn listed(items: &[usize]) -> String {
    const MOST: usize = 16;
    match items {
        [] => String::new(),
        [first @ .., _] if first.len() >= MOST => {
            let more = items.len() - MOST;
            format!(" (items {:?} and {more} more)", &items[..MOST])
        }
        items => format!(" (items {items:?})"),
    }
}
