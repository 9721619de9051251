//! Half cosine waves, one after the other.

use serde::{Deserialize, Serialize};

use super::{Cosine, Schedule};

/// Cosine waves that start again from the base rate, each longer than the last by a factor;
/// PyTorch's `CosineAnnealingWarmRestarts`.
///
/// ```text
/// η + (1 − η) (1 + cos(π T_cur / Tᵢ)) / 2,   Tᵢ₊₁ = T_mult · Tᵢ
/// ```
///
/// Source: I. Loshchilov, F. Hutter, 2017, SGDR: Stochastic Gradient Descent with Warm Restarts.
///
/// ```
/// use dl_optim::{CosineRestarts, Schedule};
/// let schedule = CosineRestarts { t_0: 10, t_mult: 2, min_factor: 0.0 };
/// assert_eq!((schedule.at(10), schedule.at(20), schedule.at(30)), (1.0, 0.5, 1.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosineRestarts {
    /// Steps of the first wave, T₀; 0 counts as 1.
    pub t_0: usize,
    /// How many times longer each next wave is; 0 counts as 1. Default 1.
    #[serde(default = "once")]
    pub t_mult: usize,
    /// The lowest factor, η: PyTorch's `eta_min` divided by the base rate. Default 0.
    #[serde(default)]
    pub min_factor: f64,
}

fn once() -> usize {
    1
}

impl Schedule for CosineRestarts {
    fn at(&self, mut step: usize) -> f64 {
        let mut t_max = self.t_0.max(1);
        if self.t_mult <= 1 {
            step %= t_max;
        }
        while step >= t_max {
            step -= t_max;
            t_max = t_max.saturating_mul(self.t_mult);
        }
        Cosine {
            t_max,
            min_factor: self.min_factor,
        }
        .at(step)
    }
}
