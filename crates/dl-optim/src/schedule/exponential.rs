//! Decay at every step.

use serde::{Deserialize, Serialize};

use super::Schedule;

/// The rate falls by the same share at every step; PyTorch's `ExponentialLR`.
///
/// ```text
/// γᵗ
/// ```
///
/// ```
/// use dl_optim::{Exponential, Schedule};
/// assert_eq!(Exponential { gamma: 0.5 }.at(3), 0.125);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exponential {
    /// What each step multiplies by, γ.
    pub gamma: f64,
}

impl Schedule for Exponential {
    fn at(&self, step: usize) -> f64 {
        self.gamma.powf(step as f64)
    }
}
