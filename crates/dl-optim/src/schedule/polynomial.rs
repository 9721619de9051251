//! A power of what is left.

use serde::{Deserialize, Serialize};

use super::Schedule;

/// The rate falls to 0 as a power of the steps that are left; PyTorch's `PolynomialLR`.
///
/// ```text
/// (1 − min(t, T) / T)^p
/// ```
///
/// ```
/// use dl_optim::{Polynomial, Schedule};
/// assert_eq!(Polynomial { total_iters: 4, power: 2.0 }.at(2), 0.25);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Polynomial {
    /// The step at which it reaches 0, T. Default 5.
    pub total_iters: usize,
    /// The power, p, `> 0`. Default 1.
    pub power: f64,
}

impl Default for Polynomial {
    fn default() -> Self {
        Self {
            total_iters: 5,
            power: 1.0,
        }
    }
}

impl Schedule for Polynomial {
    fn at(&self, step: usize) -> f64 {
        if step >= self.total_iters {
            return 0.0;
        }
        (1.0 - step as f64 / self.total_iters as f64).powf(self.power)
    }
}
