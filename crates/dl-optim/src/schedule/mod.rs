//! Learning-rate schedules: pure functions of the step.

mod constant;
mod cosine;
mod cosine_restarts;
mod cyclic;
mod exponential;
mod greedy;
mod hugging_face;
mod improvement;
mod inverse_sqrt;
mod lambda;
mod linear;
mod lr_scheduler;
mod multi_step;
mod noam;
mod one_cycle;
mod polynomial;
mod product;
mod reduce_on_plateau;
mod sequence;
mod step;
mod swa_anneal;
mod warmup;
mod warmup_stable_decay;

pub use constant::{Constant, ConstantThen};
pub use cosine::Cosine;
pub use cosine_restarts::CosineRestarts;
pub use cyclic::{Cyclic, CyclicMode};
pub use exponential::Exponential;
pub use greedy::{Greedy, GreedyConfig};
pub use hugging_face::{HUGGING_FACE_NAMES, HuggingFace, HuggingFaceName};
pub use improvement::{Mode, ThresholdMode};
pub use inverse_sqrt::InverseSqrt;
pub use lambda::Lambda;
pub use linear::Linear;
pub use lr_scheduler::{LR_SCHEDULER_NAMES, LrScheduler};
pub use multi_step::MultiStep;
pub use noam::Noam;
pub use one_cycle::{Anneal, OneCycle};
pub use polynomial::Polynomial;
pub use product::Product;
pub use reduce_on_plateau::{PlateauConfig, ReduceOnPlateau};
pub use sequence::Sequence;
pub use step::Step;
pub use swa_anneal::SwaAnneal;
pub use warmup::Warmup;
pub use warmup_stable_decay::{Ramp, WarmupStableDecay};

use std::fmt::Debug;

/// A learning-rate schedule: the factor of the base rate at a step.
///
/// There is nothing to save or resume: give it the number of the step. Steps may be batches or
/// epochs; every length is in the same unit. Where PyTorch names an absolute rate (`eta_min`), the
/// field here is a share of the base rate, so that one schedule serves groups with different rates.
///
/// ```
/// use dl_optim::{Linear, Schedule};
/// let schedule = Linear { start_factor: 1.0, end_factor: 0.0, total_iters: 4 };
/// let base = 0.1;
/// assert_eq!(base * schedule.at(1), 0.1 * 0.75);
/// ```
pub trait Schedule: Debug + Send + Sync {
    /// What to multiply the base rate by at this step, counted from 0.
    fn at(&self, step: usize) -> f64;
}

impl<S: Schedule + ?Sized> Schedule for Box<S> {
    fn at(&self, step: usize) -> f64 {
        (**self).at(step)
    }
}
