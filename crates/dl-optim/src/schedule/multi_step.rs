//! Decay at chosen steps.

use serde::{Deserialize, Serialize};

use super::Schedule;

/// The rate falls at chosen steps; PyTorch's `MultiStepLR`.
///
/// ```text
/// γ^(number of milestones ≤ t)
/// ```
///
/// ```
/// use dl_optim::{MultiStep, Schedule};
/// let schedule = MultiStep { milestones: vec![30, 80], gamma: 0.5 };
/// assert_eq!((schedule.at(29), schedule.at(30), schedule.at(80)), (1.0, 0.5, 0.25));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultiStep {
    /// The steps at which the rate falls, in any order; one that comes twice counts twice.
    pub milestones: Vec<usize>,
    /// What each fall multiplies by, γ. PyTorch's default is 0.1.
    #[serde(default = "tenth")]
    pub gamma: f64,
}

fn tenth() -> f64 {
    0.1
}

impl Schedule for MultiStep {
    fn at(&self, step: usize) -> f64 {
        let passed = self
            .milestones
            .iter()
            .filter(|&&milestone| milestone <= step)
            .count();
        self.gamma.powf(passed as f64)
    }
}
