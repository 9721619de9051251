//! Half a cosine wave.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::Schedule;

/// The rate falls along half a cosine wave; PyTorch's `CosineAnnealingLR`.
///
/// ```text
/// η + (1 − η) (1 + cos(π t / T)) / 2
/// ```
///
/// As in PyTorch the wave goes on after T: the rate rises again.
///
/// Source: I. Loshchilov, F. Hutter, 2017, SGDR: Stochastic Gradient Descent with Warm Restarts.
///
/// ```
/// use dl_optim::{Cosine, Schedule};
/// assert_eq!((Cosine::over(10).at(0), Cosine::over(10).at(10)), (1.0, 0.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cosine {
    /// The step at which the rate is lowest, T; 0 counts as 1.
    pub t_max: usize,
    /// The lowest factor, η: PyTorch's `eta_min` divided by the base rate. Default 0.
    #[serde(default)]
    pub min_factor: f64,
}

impl Cosine {
    /// Falls to 0 over so many steps.
    pub fn over(t_max: usize) -> Self {
        Self {
            t_max,
            min_factor: 0.0,
        }
    }
}

impl Schedule for Cosine {
    fn at(&self, step: usize) -> f64 {
        let angle = PI * step as f64 / self.t_max.max(1) as f64;
        self.min_factor + (1.0 - self.min_factor) * (1.0 + angle.cos()) / 2.0
    }
}
