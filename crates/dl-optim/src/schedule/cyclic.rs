//! Up and down between two rates, again and again.

use serde::{Deserialize, Serialize};

use super::Schedule;

/// How the height of the cycles changes.
///
/// ```
/// assert_eq!(dl_optim::CyclicMode::default(), dl_optim::CyclicMode::Triangular);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CyclicMode {
    /// It does not. The default.
    #[default]
    Triangular,
    /// It halves with every cycle.
    Triangular2,
    /// It is multiplied by γ at every step.
    ExpRange {
        /// γ, in `(0, 1]`.
        gamma: f64,
    },
}

/// The rate goes up and down in straight lines between two bounds; PyTorch's `CyclicLR`.
///
/// ```text
/// f + (1 − f) · h · 1, 1 / 2^(cycle − 1) or γᵗ        h goes 0 → 1 → 0 in every cycle
/// ```
///
/// The base rate is PyTorch's `max_lr`; [`Cyclic::min_factor`] is its `base_lr / max_lr`.
///
/// Source: L. Smith, 2017, Cyclical Learning Rates for Training Neural Networks.
///
/// ```
/// use dl_optim::{Cyclic, Schedule};
/// let schedule = Cyclic { min_factor: 0.5, step_size_up: 2, ..Cyclic::default() };
/// assert_eq!([0, 1, 2, 3, 4].map(|step| schedule.at(step)), [0.5, 0.75, 1.0, 0.75, 0.5]);
/// assert_eq!(schedule.momentum(0), 0.9);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cyclic {
    /// The lowest factor, f. Default 0.1; PyTorch has no default.
    pub min_factor: f64,
    /// Steps on the way up; 0 counts as 1. Default 2,000.
    pub step_size_up: usize,
    /// Steps on the way down. Default: as many as up.
    pub step_size_down: Option<usize>,
    /// How the height changes. Default triangular.
    pub mode: CyclicMode,
    /// The momentum where the rate is highest. Default 0.8.
    pub base_momentum: f64,
    /// The momentum where the rate is lowest. Default 0.9.
    pub max_momentum: f64,
}

impl Default for Cyclic {
    fn default() -> Self {
        Self {
            min_factor: 0.1,
            step_size_up: 2000,
            step_size_down: None,
            mode: CyclicMode::Triangular,
            base_momentum: 0.8,
            max_momentum: 0.9,
        }
    }
}

impl Cyclic {
    /// The momentum at a step, against the rate, for
    /// [`Optimizer::set_momentum`](crate::Optimizer::set_momentum).
    pub fn momentum(&self, step: usize) -> f64 {
        self.max_momentum - (self.max_momentum - self.base_momentum) * self.height(step)
    }

    /// How high above the lower bound, as a share of the distance of the bounds.
    fn height(&self, step: usize) -> f64 {
        let up = self.step_size_up.max(1) as f64;
        let down = self.step_size_down.unwrap_or(self.step_size_up).max(1) as f64;
        let (total, peak) = (up + down, up / (up + down));
        let cycle = (1.0 + step as f64 / total).floor();
        let x = 1.0 + step as f64 / total - cycle;
        let share = if x <= peak {
            x / peak
        } else {
            (x - 1.0) / (peak - 1.0)
        };
        share
            * match self.mode {
                CyclicMode::Triangular => 1.0,
                CyclicMode::Triangular2 => 1.0 / 2f64.powf(cycle - 1.0),
                CyclicMode::ExpRange { gamma } => gamma.powf(step as f64),
            }
    }
}

impl Schedule for Cyclic {
    fn at(&self, step: usize) -> f64 {
        self.min_factor + (1.0 - self.min_factor) * self.height(step)
    }
}
