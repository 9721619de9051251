//! How long, how often, with which randomness.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use dl_optim::{LossScaler, NonFinite};

use super::{MixedPrecision, TrainError};
use crate::checkpoint::Keep;

/// How often something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Every {
    /// After so many epochs, `≥ 1`.
    Epochs(usize),
    /// After so many optimizer steps, `≥ 1`.
    Steps(usize),
}

impl Every {
    pub(super) fn after_step(self, step: usize) -> bool {
        matches!(self, Self::Steps(n) if step.is_multiple_of(n))
    }

    pub(super) fn after_epoch(self, epochs: usize) -> bool {
        matches!(self, Self::Epochs(n) if epochs.is_multiple_of(n))
    }

    fn count(self) -> usize {
        match self {
            Self::Epochs(n) | Self::Steps(n) => n,
        }
    }
}

/// How long and with which randomness to train.
///
/// ```
/// use dl_core::train::{Every, TrainerConfig};
/// let config: TrainerConfig = serde_json::from_str(r#"{"epochs": 9, "eval_every": {"steps": 50}}"#).unwrap();
/// assert_eq!((config.epochs, config.eval_every, config.seed), (9, Every::Steps(50), 42));
/// ```
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
    /// Batches whose gradients make one optimizer step, `≥ 1`; the last step of an epoch has those that
    /// are left. Every sample counts the same, so the step is that of one large batch. Default `1`.
    pub gradient_accumulation_steps: usize,
    /// What a loss or a gradient that is not finite does, whatever the optimizer was told: `error` ends
    /// the run before the weights are touched and names batch and origin, `skip` leaves the step out,
    /// `allow` lets it through to the weights, as PyTorch does. Default `error`.
    pub non_finite: NonFinite,
    /// Multiplies the loss before the backward so that small f16 gradients stay above 0; a step whose
    /// gradients overflow is left out and the scale lowered. Its state is part of the checkpoint.
    /// Default none; with `mixed_precision` of `fp16` PyTorch's.
    pub loss_scaler: Option<LossScaler>,
    /// The precision of the model's products, while weights, norms, softmax and losses are in f32.
    /// Default `no`.
    pub mixed_precision: MixedPrecision,
    /// When the evaluation runs. The last epoch always ends with one. Default every epoch.
    pub eval_every: Every,
    /// Evaluation batches that are tried before the first step, so that what is wrong there shows at
    /// once; 0 for none. Default `1`.
    pub sanity_eval_batches: usize,
    /// Uses no more than the first so many training batches of an epoch. Default all.
    pub limit_train_batches: Option<usize>,
    /// Uses no more than the first so many evaluation batches. Default all.
    pub limit_eval_batches: Option<usize>,
    /// Repeats the first so many batches of the first epoch in every epoch: a model and a loss that
    /// are right bring the loss on them to nothing. Default off.
    pub overfit_batches: Option<usize>,
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
            non_finite: NonFinite::Error,
            loss_scaler: None,
            mixed_precision: MixedPrecision::No,
            eval_every: Every::Epochs(1),
            sanity_eval_batches: 1,
            limit_train_batches: None,
            limit_eval_batches: None,
            overfit_batches: None,
            seed: 42,
        }
    }
}

impl TrainerConfig {
    /// One step and one evaluation batch: whether everything runs at all.
    pub fn fast_dev_run() -> Self {
        Self {
            epochs: 1,
            max_steps: Some(1),
            limit_eval_batches: Some(1),
            ..Self::default()
        }
    }

    /// The scale of the loss: f16 has one in any case.
    pub(super) fn scaler(&self) -> Option<LossScaler> {
        let fp16 = self.mixed_precision == MixedPrecision::Fp16;
        self.loss_scaler.or(fp16.then(LossScaler::default))
    }

    /// Training batches of an epoch, out of so many.
    pub(super) fn train_limit(&self) -> Option<usize> {
        let limits = [self.limit_train_batches, self.overfit_batches];
        limits.into_iter().flatten().min()
    }

    /// Refuses options outside their range.
    pub fn validate(&self) -> Result<(), TrainError> {
        let options = [
            ("epochs", self.epochs),
            (
                "gradient_accumulation_steps",
                self.gradient_accumulation_steps,
            ),
            ("max_steps", self.max_steps.unwrap_or(1)),
            ("eval_every", self.eval_every.count()),
            ("limit_train_batches", self.limit_train_batches.unwrap_or(1)),
            ("limit_eval_batches", self.limit_eval_batches.unwrap_or(1)),
            ("overfit_batches", self.overfit_batches.unwrap_or(1)),
        ];
        options
            .into_iter()
            .try_for_each(|(field, value)| at_least_one(field, value))?;
        if let Some(scaler) = self.loss_scaler {
            let (growth, backoff) = (scaler.growth_factor, scaler.backoff_factor);
            LossScaler::new(scaler.scale, growth, backoff, scaler.growth_interval)?;
        }
        Ok(())
    }
}

/// What a run goes on from; on a command line `never`, `if_any`, `latest`, `best` or a path.
///
/// ```
/// use dl_core::train::Resume;
/// assert_eq!("best".parse::<Resume>(), Ok(Resume::Best));
/// let path: Resume = "runs/1/step-00000007".parse().unwrap();
/// assert_eq!(path, Resume::Path("runs/1/step-00000007".into()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resume {
    /// Nothing: the folder must hold no checkpoint, so that two runs cannot mix.
    #[default]
    Never,
    /// The newest whole checkpoint if there is one, else nothing: for jobs that are started again.
    IfAny,
    /// The newest whole checkpoint.
    Latest,
    /// The best one by the metric that [`Keep::best`] names.
    Best,
    /// The checkpoint in this folder.
    Path(PathBuf),
}

impl FromStr for Resume {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "never" => Self::Never,
            "if_any" => Self::IfAny,
            "latest" => Self::Latest,
            "best" => Self::Best,
            path => Self::Path(path.into()),
        })
    }
}

/// Where, when and which checkpoints.
///
/// ```
/// use dl_core::train::{CheckpointOptions, Every, Resume};
/// let options = CheckpointOptions { resume: Resume::IfAny, ..CheckpointOptions::new("runs/1/checkpoints") };
/// assert_eq!(options.every, Every::Epochs(1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointOptions {
    /// Their folder.
    pub folder: PathBuf,
    /// When one is written; the run ends with one besides. One that is due after the last step of an
    /// epoch is written after the evaluation at its end. Default every epoch.
    pub every: Every,
    /// Which stay. Default the newest two.
    pub keep: Keep,
    /// What the run goes on from. Default nothing.
    pub resume: Resume,
}

impl CheckpointOptions {
    /// One every epoch, the newest two kept, from the start.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            every: Every::Epochs(1),
            keep: Keep::default(),
            resume: Resume::Never,
        }
    }

    pub(super) fn validate(&self) -> Result<(), TrainError> {
        at_least_one("every", self.every.count())?;
        at_least_one("keep.newest", self.keep.newest)
    }
}

pub(super) fn at_least_one(field: &'static str, value: usize) -> Result<(), TrainError> {
    match value {
        0 => Err(TrainError::Option {
            field,
            wanted: "1 or more",
            came: "0".to_string(),
        }),
        _ => Ok(()),
    }
}
