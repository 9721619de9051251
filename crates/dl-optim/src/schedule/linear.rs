//! A straight line.

use serde::{Deserialize, Serialize};

use super::Schedule;

/// The factor goes in a straight line from one value to another and stays there; PyTorch's
/// `LinearLR`.
///
/// ```text
/// s + (f − s) · min(t, T) / T
/// ```
///
/// ```
/// use dl_optim::{Linear, Schedule};
/// let schedule = Linear { start_factor: 0.0, end_factor: 1.0, total_iters: 4 };
/// assert_eq!((schedule.at(1), schedule.at(9)), (0.25, 1.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Linear {
    /// The factor at step 0, s. Default 1/3.
    pub start_factor: f64,
    /// The factor at the end, f. Default 1.
    pub end_factor: f64,
    /// The step from which on it stays, T. Default 5.
    pub total_iters: usize,
}

impl Default for Linear {
    fn default() -> Self {
        Self {
            start_factor: 1.0 / 3.0,
            end_factor: 1.0,
            total_iters: 5,
        }
    }
}

impl Schedule for Linear {
    fn at(&self, step: usize) -> f64 {
        if step >= self.total_iters {
            return self.end_factor;
        }
        let passed = step as f64 / self.total_iters as f64;
        self.start_factor + (self.end_factor - self.start_factor) * passed
    }
}
