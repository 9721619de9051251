//! Learning-rate schedules: pure functions of the step.

mod constant;
mod cosine;
mod cosine_restarts;
mod exponential;
mod hugging_face;
mod lambda;
mod linear;
mod multi_step;
mod one_cycle;
mod polynomial;
mod product;
mod sequence;
mod step;
mod warmup;

pub use constant::{Constant, ConstantThen};
pub use cosine::Cosine;
pub use cosine_restarts::CosineRestarts;
pub use exponential::Exponential;
pub use hugging_face::{HUGGING_FACE_NAMES, HuggingFace, HuggingFaceName};
pub use lambda::Lambda;
pub use linear::Linear;
pub use multi_step::MultiStep;
pub use one_cycle::{Anneal, OneCycle};
pub use polynomial::Polynomial;
pub use product::Product;
pub use sequence::Sequence;
pub use step::Step;
pub use warmup::Warmup;

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
