//! One cycle: up, down, and further down.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::Schedule;

/// How a one-cycle schedule goes from one rate to the next.
///
/// ```
/// assert_eq!(dl_optim::Anneal::default(), dl_optim::Anneal::Cos);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anneal {
    /// Along half a cosine wave. The default.
    #[default]
    Cos,
    /// In a straight line.
    Linear,
}

/// The rate rises to the base rate and then falls far below where it began; PyTorch's `OneCycleLR`.
///
/// The base rate is PyTorch's `max_lr`. After the last step, where PyTorch fails, the rate stays.
/// Momentum goes the other way: [`OneCycle::momentum`].
///
/// Source: L. Smith, N. Topin, 2018, Super-Convergence: Very Fast Training of Neural Networks Using
/// Large Learning Rates.
///
/// ```
/// use dl_optim::{OneCycle, Schedule};
/// let schedule = OneCycle::over(100);
/// for (step, factor) in [(0, 0.04), (29, 1.0), (99, 4e-6)] {
///     assert!((schedule.at(step) - factor).abs() < 1e-15);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneCycle {
    /// Steps of the whole cycle.
    pub total_steps: usize,
    /// Share of the steps in which the rate rises, in `[0, 1]`. Default 0.3.
    #[serde(default = "OneCycle::pct_start")]
    pub pct_start: f64,
    /// How it goes from one rate to the next. Default cosine.
    #[serde(default)]
    pub anneal_strategy: Anneal,
    /// The first factor is 1 divided by this. Default 25.
    #[serde(default = "OneCycle::div_factor")]
    pub div_factor: f64,
    /// The last factor is the first divided by this. Default 10,000.
    #[serde(default = "OneCycle::final_div_factor")]
    pub final_div_factor: f64,
    /// Falls as fast as it rose to where it began, then on to the last factor. Default `false`.
    #[serde(default)]
    pub three_phase: bool,
    /// The momentum where the rate is highest. Default 0.85.
    #[serde(default = "OneCycle::base_momentum")]
    pub base_momentum: f64,
    /// The momentum at both ends. Default 0.95.
    #[serde(default = "OneCycle::max_momentum")]
    pub max_momentum: f64,
}

impl OneCycle {
    /// A cycle of so many steps with PyTorch's defaults.
    pub fn over(total_steps: usize) -> Self {
        Self {
            total_steps,
            pct_start: Self::pct_start(),
            anneal_strategy: Anneal::Cos,
            div_factor: Self::div_factor(),
            final_div_factor: Self::final_div_factor(),
            three_phase: false,
            base_momentum: Self::base_momentum(),
            max_momentum: Self::max_momentum(),
        }
    }

    /// The momentum at a step, against the rate, for
    /// [`Optimizer::set_momentum`](crate::Optimizer::set_momentum).
    pub fn momentum(&self, step: usize) -> f64 {
        let (low, high) = (self.base_momentum, self.max_momentum);
        self.along([high, low, high, high], step)
    }

    fn pct_start() -> f64 {
        0.3
    }

    fn div_factor() -> f64 {
        25.0
    }

    fn final_div_factor() -> f64 {
        1e4
    }

    fn base_momentum() -> f64 {
        0.85
    }

    fn max_momentum() -> f64 {
        0.95
    }

    /// The steps at which the phases end.
    fn ends(&self) -> [f64; 3] {
        let total = self.total_steps as f64;
        let top = self.pct_start * total - 1.0;
        let back = 2.0 * self.pct_start * total - 2.0;
        match self.three_phase {
            true => [top, back, total - 1.0],
            false => [top, total - 1.0, total - 1.0],
        }
    }

    /// The value at a step, from those at the start and at the ends of the phases.
    fn along(&self, levels: [f64; 4], step: usize) -> f64 {
        let mut begin = 0.0;
        for (end, pair) in self.ends().into_iter().zip(levels.windows(2)) {
            if (step as f64) <= end {
                let share = (step as f64 - begin) / (end - begin).max(1e-300);
                return self.between(pair[0], pair[1], share);
            }
            begin = end;
        }
        levels[3]
    }

    fn between(&self, from: f64, to: f64, share: f64) -> f64 {
        match self.anneal_strategy {
            Anneal::Cos => to + (from - to) / 2.0 * (1.0 + (PI * share).cos()),
            Anneal::Linear => (to - from) * share + from,
        }
    }
}

impl Schedule for OneCycle {
    fn at(&self, step: usize) -> f64 {
        let first = 1.0 / self.div_factor;
        let last = first / self.final_div_factor;
        match self.three_phase {
            true => self.along([first, 1.0, first, last], step),
            false => self.along([first, 1.0, last, last], step),
        }
    }
}
