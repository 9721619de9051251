//! The schedules of Hugging Face's trainer, by its names.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{InverseSqrt, Ramp, Schedule, WarmupStableDecay};
use crate::{Error, Result};

/// Every name that [`HuggingFace::named`] takes: those that follow the step alone.
/// [`LrScheduler`](crate::LrScheduler) knows the two others as well.
pub const HUGGING_FACE_NAMES: &[&str] = &[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
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
    /// As that, but one step ahead: the first step has a rate already.
    CosineWarmupWithMinLr,
    /// Stays, and falls to `end_factor` over the last `decay_steps`.
    WarmupStableDecay,
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
    /// Where the polynomial, the cosines with a least rate (`min_lr_rate`) and
    /// `warmup_stable_decay` (`min_lr_ratio`) end, in `[0, 1]`. Default 0.
    #[serde(default)]
    pub end_factor: f64,
    /// What the inverse root measures steps by. Default: `warmup_steps`, or 10,000 without warm-up.
    #[serde(default)]
    pub timescale: Option<usize>,
    /// Where the warm-up of `cosine_warmup_with_min_lr` begins. Default 1 / `warmup_steps`.
    #[serde(default)]
    pub warmup_lr_rate: Option<f64>,
    /// Steps of the fall of `warmup_stable_decay`. Default: a tenth of all; `transformers` has none.
    #[serde(default)]
    pub decay_steps: Option<usize>,
    /// How `warmup_stable_decay` rises. Default linear.
    #[serde(default)]
    pub warmup_type: Option<Ramp>,
    /// How `warmup_stable_decay` falls. Default cosine.
    #[serde(default)]
    pub decay_type: Option<Ramp>,
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
            warmup_lr_rate: None,
            decay_steps: None,
            warmup_type: None,
            decay_type: None,
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

    fn cosine_warmup_with_min_lr(&self, step: usize) -> f64 {
        let warmup = self.warmup_steps as f64;
        if step < self.warmup_steps {
            return match self.warmup_lr_rate {
                None => (step as f64 + 1.0) / warmup,
                Some(from) => from + (1.0 - from) * step as f64 / (warmup - 1.0).max(1.0),
            };
        }
        let rest = (self.total_steps as f64 - warmup).max(1.0);
        self.down_to_end((step as f64 - warmup + 1.0) / rest)
    }

    fn down_to_end(&self, progress: f64) -> f64 {
        self.cosine(progress) * (1.0 - self.end_factor) + self.end_factor
    }

    fn warmup_stable_decay(&self) -> WarmupStableDecay {
        let after = self.total_steps.saturating_sub(self.warmup_steps);
        let decay = self.decay_steps.unwrap_or(self.total_steps / 10);
        let plain = WarmupStableDecay::new(self.warmup_steps, after.saturating_sub(decay), decay);
        WarmupStableDecay {
            warmup_type: self.warmup_type.unwrap_or(plain.warmup_type),
            decay_type: self.decay_type.unwrap_or(plain.decay_type),
            min_factor: self.end_factor,
            num_cycles: self.num_cycles.unwrap_or(plain.num_cycles),
            ..plain
        }
    }

    fn inverse_sqrt(&self) -> InverseSqrt {
        InverseSqrt {
            warmup_steps: self.warmup_steps,
            timescale: self.timescale,
        }
    }
}

impl Schedule for HuggingFace {
    fn at(&self, step: usize) -> f64 {
        match self.name {
            HuggingFaceName::Constant => return 1.0,
            HuggingFaceName::CosineWarmupWithMinLr => {
                return self.cosine_warmup_with_min_lr(step).max(0.0);
            }
            HuggingFaceName::WarmupStableDecay => return self.warmup_stable_decay().at(step),
            _ if step < self.warmup_steps => return step as f64 / self.warmup_steps as f64,
            _ => {}
        }
        let rest = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = (step - self.warmup_steps) as f64 / rest as f64;
        match self.name {
            HuggingFaceName::Linear => (1.0 - progress).max(0.0),
            HuggingFaceName::Cosine => self.cosine(progress).max(0.0),
            HuggingFaceName::CosineWithRestarts => self.cosine_with_restarts(progress).max(0.0),
            HuggingFaceName::Polynomial => self.polynomial(progress),
            HuggingFaceName::InverseSqrt => self.inverse_sqrt().at(step),
            HuggingFaceName::CosineWithMinLr => self.down_to_end(progress).max(0.0),
            _ => 1.0,
        }
    }
}
