//! What rules share that learn how far the solution is.

use crate::Result;
use crate::rule::{require, require_not_negative};

/// How the estimate of the distance begins and grows.
pub(super) struct Distance {
    pub(super) d0: f64,
    pub(super) growth_rate: Option<f64>,
}

impl Distance {
    pub(super) fn validate(&self, owner: &'static str) -> Result<()> {
        let (d0, rate) = (self.d0, self.growth_rate.unwrap_or(1.0));
        require(d0 > 0.0 && d0.is_finite(), owner, "d0", "> 0", d0)?;
        require_not_negative(owner, "growth_rate", rate)?;
        require(rate >= 1.0, owner, "growth_rate", ">= 1", rate)
    }

    /// The most that an estimate may be after `d`.
    pub(super) fn limit(&self, d: f64) -> f64 {
        d * self.growth_rate.unwrap_or(f64::INFINITY)
    }
}

/// Adam's correction of the rate at step `k`, 1 where it is not asked for.
pub(super) fn bias_correction(asked: bool, betas: (f64, f64), k: f64) -> f64 {
    match asked {
        true => (1.0 - betas.1.powf(k)).sqrt() / (1.0 - betas.0.powf(k)),
        false => 1.0,
    }
}
