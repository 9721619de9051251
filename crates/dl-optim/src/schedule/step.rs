//! Decay at regular steps.

use serde::{Deserialize, Serialize};

use super::Schedule;

/// The rate falls at regular steps; PyTorch's `StepLR`.
///
/// ```text
/// γ^⌊t / step_size⌋
/// ```
///
/// ```
/// use dl_optim::{Schedule, Step};
/// assert_eq!(Step { step_size: 30, gamma: 0.5 }.at(60), 0.25);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Steps between two falls; 0 counts as 1.
    pub step_size: usize,
    /// What each fall multiplies by, γ. PyTorch's default is 0.1.
    #[serde(default = "tenth")]
    pub gamma: f64,
}

fn tenth() -> f64 {
    0.1
}

impl Schedule for Step {
    fn at(&self, step: usize) -> f64 {
        self.gamma.powf((step / self.step_size.max(1)) as f64)
    }
}
