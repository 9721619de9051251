//! The schedules of Hugging Face's trainer, by its names.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Schedule;
use crate::{Error, Result};

/// Every name that [`HuggingFace::named`] takes.
pub const HUGGING_FACE_NAMES: &[&str] = &[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "cosine_with_min_lr",
];

/// What a Hugging Face schedule does after its warm-up.
///
/// ```
/// use dl_optim::HuggingFaceName;
/// let name: HuggingFaceName = serde_json::from_str("\"cosine_with_restarts\"")?;
/// assert_eq!(name, HuggingFaceName::CosineWithRestarts);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HuggingFaceName {
    /// Falls in a straight line to 0.
    Linear,
    /// Falls along `num_cycles` cosine waves; half a wave ends at 0.
    Cosine,
    /// Falls along half a wave, `num_cycles` times.
    CosineWithRestarts,
    /// Falls to `end_factor` as a power of what is left.
    Polynomial,
    /// The base rate from the first step on: `warmup_steps` does not count.
    Constant,
    /// The base rate.
    ConstantWithWarmup,
    /// Falls as the inverse root of the step.
    InverseSqrt,
    /// As cosine, but to `end_factor`.
    CosineWithMinLr,
}

/// A schedule of Hugging Face's trainer (`--lr_scheduler_type`): a straight warm-up from 0, then what
/// its name says.
///
/// In `transformers` the polynomial schedule ends at an absolute rate, 1e-7; here the end is a share
/// of the base rate: `end_factor = 1e-7 / lr` is the same.
///
/// ```
/// use dl_optim::{HuggingFace, Schedule};
/// let schedule = HuggingFace::named("linear", 10, 110)?;
/// assert_eq!((schedule.at(5), schedule.at(10), schedule.at(60)), (0.5, 1.0, 0.5));
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HuggingFace {
    /// What comes after the warm-up.
    pub name: HuggingFaceName,
    /// Steps of the warm-up. Default 0.
    #[serde(default)]
    pub warmup_steps: usize,
    /// Steps of the whole training.
    pub total_steps: usize,
    /// Cosine waves. Default: half a wave, or one restart.
    #[serde(default)]
    pub num_cycles: Option<f64>,
    /// The power of the polynomial, `> 0`. Default 1.
    #[serde(default = "one")]
    pub power: f64,
    /// Where the polynomial and `cosine_with_min_lr` (its `min_lr_rate`) end, in `[0, 1]`. Default 0.
    #[serde(default)]
    pub end_factor: f64,
    /// What the inverse root measures steps by. Default: `warmup_steps`, or 10,000 without warm-up.
    #[serde(default)]
    pub timescale: Option<usize>,
}

fn one() -> f64 {
    1.0
}

impl HuggingFace {
    /// The schedule of this name with `transformers`' defaults. Fails on a name it does not know,
    /// and lists those it does.
    pub fn named(name: &str, warmup_steps: usize, total_steps: usize) -> Result<Self> {
        let parsed = serde_json::from_value(Value::String(name.to_string()));
        let parsed = parsed.map_err(|_| Error::UnknownName {
            kind: "schedule",
            name: name.to_string(),
            known: HUGGING_FACE_NAMES.to_vec(),
        })?;
        let (num_cycles, power, end_factor, timescale) = (None, 1.0, 0.0, None);
        let name = parsed;
        Ok(Self {
            name,
            warmup_steps,
            total_steps,
            num_cycles,
            power,
            end_factor,
            timescale,
        })
    }

    fn cosine(&self, progress: f64) -> f64 {
        let cycles = self.num_cycles.unwrap_or(0.5);
        0.5 * (1.0 + (PI * cycles * 2.0 * progress).cos())
    }

    fn cosine_with_restarts(&self, progress: f64) -> f64 {
        if progress >= 1.0 {
            return 0.0;
        }
        let cycles = self.num_cycles.unwrap_or(1.0);
        0.5 * (1.0 + (PI * ((cycles * progress) % 1.0)).cos())
    }

    fn polynomial(&self, progress: f64) -> f64 {
        let left = (1.0 - progress).max(0.0).powf(self.power);
        (1.0 - self.end_factor) * left + self.end_factor
    }

    fn inverse_sqrt(&self, step: usize) -> f64 {
        let by_warmup = if self.warmup_steps == 0 {
            10_000
        } else {
            self.warmup_steps
        };
        let timescale = self.timescale.unwrap_or(by_warmup).max(1) as f64;
        let shifted = step as f64 + timescale - self.warmup_steps as f64;
        1.0 / (shifted / timescale).sqrt()
    }
}

impl Schedule for HuggingFace {
    fn at(&self, step: usize) -> f64 {
        let warm = step >= self.warmup_steps;
        if !warm && self.name != HuggingFaceName::Constant {
            return step as f64 / self.warmup_steps as f64;
        }
        let rest = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = step.saturating_sub(self.warmup_steps) as f64 / rest as f64;
        match self.name {
            HuggingFaceName::Linear => (1.0 - progress).max(0.0),
            HuggingFaceName::Cosine => self.cosine(progress).max(0.0),
            HuggingFaceName::CosineWithRestarts => self.cosine_with_restarts(progress).max(0.0),
            HuggingFaceName::Polynomial => self.polynomial(progress),
            HuggingFaceName::Constant | HuggingFaceName::ConstantWithWarmup => 1.0,
            HuggingFaceName::InverseSqrt => self.inverse_sqrt(step),
            HuggingFaceName::CosineWithMinLr => {
                self.cosine(progress) * (1.0 - self.end_factor) + self.end_factor
            }
        }
    }
}
