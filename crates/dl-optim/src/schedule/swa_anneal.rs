//! To the constant rate of weight averaging.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::{Anneal, Schedule};

/// The rate goes to a constant one, at which [`Swa`](crate::Swa) averages; PyTorch's `SWALR`.
///
/// ```text
/// 1 − α + f α,   α = min(t / T, 1)  or  (1 − cos(π min(t / T, 1))) / 2
/// ```
///
/// Step 0 is where averaging begins: put it behind another schedule with
/// [`Sequence`](crate::Sequence).
///
/// ```
/// use dl_optim::{Anneal, Schedule, SwaAnneal};
/// let anneal_strategy = Anneal::Linear;
/// let schedule = SwaAnneal { swa_factor: 0.5, anneal_steps: 10, anneal_strategy };
/// assert_eq!((schedule.at(0), schedule.at(5), schedule.at(20)), (1.0, 0.75, 0.5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwaAnneal {
    /// The last factor, f: PyTorch's `swa_lr` divided by the rate before.
    pub swa_factor: f64,
    /// Steps on the way, T. Default 10.
    #[serde(default = "ten")]
    pub anneal_steps: usize,
    /// How it goes there. Default cosine.
    #[serde(default)]
    pub anneal_strategy: Anneal,
}

fn ten() -> usize {
    10
}

impl Schedule for SwaAnneal {
    fn at(&self, step: usize) -> f64 {
        let share = if step >= self.anneal_steps {
            1.0
        } else {
            step as f64 / self.anneal_steps as f64
        };
        let alpha = match self.anneal_strategy {
            Anneal::Cos => (1.0 - (PI * share).cos()) / 2.0,
            Anneal::Linear => share,
        };
        self.swa_factor * alpha + (1.0 - alpha)
    }
}
