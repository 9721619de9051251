//! The inverse root of the step.

use serde::{Deserialize, Serialize};

use super::Schedule;

/// The rate rises in a straight line to the base rate, then falls as the inverse root of the step.
///
/// ```text
/// t / w                                  t < w
/// 1 / √((t + T − w) / T)                 else
/// ```
///
/// As `get_inverse_sqrt_schedule` of `transformers`.
///
/// Source: X. Zhai, A. Kolesnikov, N. Houlsby, L. Beyer, 2022, Scaling Vision Transformers.
///
/// ```
/// use dl_optim::{InverseSqrt, Schedule};
/// let schedule = InverseSqrt { warmup_steps: 10, timescale: None };
/// assert_eq!((schedule.at(5), schedule.at(10), schedule.at(40)), (0.5, 1.0, 0.5));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InverseSqrt {
    /// Steps of the rise, w. Default 0.
    pub warmup_steps: usize,
    /// What steps are measured by, T. Default: `warmup_steps`, or 10,000 without warm-up.
    pub timescale: Option<usize>,
}

impl Schedule for InverseSqrt {
    fn at(&self, step: usize) -> f64 {
        let warmup = self.warmup_steps as f64;
        if step < self.warmup_steps {
            return step as f64 / warmup;
        }
        let by_warmup = match self.warmup_steps {
            0 => 10_000,
            steps => steps,
        };
        let timescale = self.timescale.unwrap_or(by_warmup).max(1) as f64;
        1.0 / ((step as f64 + timescale - warmup) / timescale).sqrt()
    }
}
