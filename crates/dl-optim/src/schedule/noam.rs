//! The schedule of the first transformer.

use serde::{Deserialize, Serialize};

use super::Schedule;

/// The rate rises in a straight line, then falls as the inverse root of the step.
///
/// ```text
/// d^−½ · min(s^−½, s · w^−³ᐟ²),   s = t + 1
/// ```
///
/// The base rate is a plain scale: 1 is the paper's, 2 that of tensor2tensor.
///
/// Source: A. Vaswani et al., 2017, Attention Is All You Need.
///
/// ```
/// use dl_optim::{Noam, Schedule};
/// let schedule = Noam { model_dim: 4, warmup_steps: 100 };
/// assert!((schedule.at(99) - 0.05).abs() < 1e-15); // 1/√4 · 1/√100
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Noam {
    /// The width of the model, d; 0 counts as 1. Default 512.
    pub model_dim: usize,
    /// The step at which the rate is highest, w; 0 counts as 1. Default 4,000.
    pub warmup_steps: usize,
}

impl Default for Noam {
    fn default() -> Self {
        Self {
            model_dim: 512,
            warmup_steps: 4000,
        }
    }
}

impl Schedule for Noam {
    fn at(&self, step: usize) -> f64 {
        let (s, w) = (step as f64 + 1.0, self.warmup_steps.max(1) as f64);
        (self.model_dim.max(1) as f64).powf(-0.5) * s.powf(-0.5).min(s * w.powf(-1.5))
    }
}
