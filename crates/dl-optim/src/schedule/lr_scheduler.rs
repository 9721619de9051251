//! The twelve schedules of Hugging Face's trainer behind one name.

use super::{
    Greedy, GreedyConfig, HUGGING_FACE_NAMES, HuggingFace, PlateauConfig, ReduceOnPlateau, Schedule,
};
use crate::{Error, Result};

/// Every name that [`LrScheduler::named`] takes: all that `--lr_scheduler_type` of `transformers`
/// does.
pub const LR_SCHEDULER_NAMES: &[&str] = &[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "reduce_lr_on_plateau",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
    "greedy",
];

/// A learning rate that follows the step or a metric, as its name says.
///
/// ```
/// use dl_optim::LrScheduler;
/// let mut scheduler = LrScheduler::named("linear", 0.1, 10, 110)?;
/// scheduler.observe(0.7); // no matter to this one
/// assert_eq!(scheduler.lr(60), 0.05);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum LrScheduler {
    /// Follows the step.
    Steps {
        /// The factor.
        schedule: HuggingFace,
        /// The base rate.
        lr: f64,
    },
    /// `reduce_lr_on_plateau`.
    Plateau(ReduceOnPlateau),
    /// `greedy`.
    Greedy(Greedy),
}

impl LrScheduler {
    /// The scheduler of this name with the defaults of `transformers`. Fails on a name it does not
    /// know, and lists those it does.
    pub fn named(name: &str, lr: f64, warmup_steps: usize, total_steps: usize) -> Result<Self> {
        match name {
            "reduce_lr_on_plateau" => {
                ReduceOnPlateau::new(PlateauConfig::default(), lr).map(Self::Plateau)
            }
            "greedy" => Greedy::new(GreedyConfig::default(), lr).map(Self::Greedy),
            _ if HUGGING_FACE_NAMES.contains(&name) => Ok(Self::Steps {
                schedule: HuggingFace::named(name, warmup_steps, total_steps)?,
                lr,
            }),
            _ => Err(Error::UnknownName {
                kind: "schedule",
                name: name.to_string(),
                known: LR_SCHEDULER_NAMES.to_vec(),
            }),
        }
    }

    /// The rate at this step, counted from 0.
    pub fn lr(&self, step: usize) -> f64 {
        match self {
            Self::Steps { schedule, lr } => lr * schedule.at(step),
            Self::Plateau(plateau) => plateau.lr(),
            Self::Greedy(greedy) => greedy.lr(),
        }
    }

    /// Takes the metric of an evaluation.
    pub fn observe(&mut self, metric: f64) {
        match self {
            Self::Steps { .. } => {}
            Self::Plateau(plateau) => {
                plateau.step(metric);
            }
            Self::Greedy(greedy) => {
                greedy.step(metric);
            }
        }
    }
}
