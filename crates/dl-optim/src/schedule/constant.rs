//! A constant rate, for ever or after a while.

use serde::{Deserialize, Serialize};

use super::Schedule;

/// The base rate at every step.
///
/// ```
/// use dl_optim::{Constant, Schedule};
/// assert_eq!(Constant.at(1_000), 1.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Constant;

impl Schedule for Constant {
    fn at(&self, _: usize) -> f64 {
        1.0
    }
}

/// A share of the base rate for some steps, then all of it; PyTorch's `ConstantLR`.
///
/// ```
/// use dl_optim::{ConstantThen, Schedule};
/// let schedule = ConstantThen { factor: 0.5, total_iters: 3 };
/// assert_eq!((schedule.at(2), schedule.at(3)), (0.5, 1.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConstantThen {
    /// The factor at first. Default 1/3.
    pub factor: f64,
    /// For how many steps. Default 5.
    pub total_iters: usize,
}

impl Default for ConstantThen {
    fn default() -> Self {
        Self {
            factor: 1.0 / 3.0,
            total_iters: 5,
        }
    }
}

impl Schedule for ConstantThen {
    fn at(&self, step: usize) -> f64 {
        if step < self.total_iters {
            self.factor
        } else {
            1.0
        }
    }
}
