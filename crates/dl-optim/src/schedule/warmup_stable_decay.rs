//! Up, level, down.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::Schedule;

/// The way from one factor to another.
///
/// ```
/// let ramp: dl_optim::Ramp = serde_json::from_str("\"1-sqrt\"")?;
/// assert_eq!(ramp, dl_optim::Ramp::OneMinusSqrt);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ramp {
    /// In a straight line.
    Linear,
    /// Along a cosine wave.
    Cosine,
    /// `1 − √progress` down, `1 − √(1 − progress)` up.
    #[serde(rename = "1-sqrt")]
    OneMinusSqrt,
}

/// The rate rises, stays for as long as one likes, and falls at the end; WSD.
///
/// As `get_wsd_schedule` of `transformers`: the rise begins at `min_factor` too.
///
/// Source: S. Hu et al., 2024, MiniCPM: Unveiling the Potential of Small Language Models with
/// Scalable Training Strategies.
///
/// ```
/// use dl_optim::{Ramp, Schedule, WarmupStableDecay};
/// let schedule = WarmupStableDecay { decay_type: Ramp::Linear, ..WarmupStableDecay::new(4, 10, 4) };
/// assert_eq!([2, 4, 13, 16, 18].map(|step| schedule.at(step)), [0.5, 1.0, 1.0, 0.5, 0.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmupStableDecay {
    /// Steps of the rise.
    pub warmup_steps: usize,
    /// Steps at the base rate.
    pub stable_steps: usize,
    /// Steps of the fall.
    pub decay_steps: usize,
    /// How it rises. Default linear.
    #[serde(default = "linear")]
    pub warmup_type: Ramp,
    /// How it falls. Default cosine.
    #[serde(default = "cosine")]
    pub decay_type: Ramp,
    /// The lowest factor. Default 0.
    #[serde(default)]
    pub min_factor: f64,
    /// Waves of a cosine fall; half a wave ends at `min_factor`. Default 0.5.
    #[serde(default = "half")]
    pub num_cycles: f64,
}

fn linear() -> Ramp {
    Ramp::Linear
}

fn cosine() -> Ramp {
    Ramp::Cosine
}

fn half() -> f64 {
    0.5
}

impl WarmupStableDecay {
    /// With the defaults of `transformers`: a linear rise and a cosine fall to 0.
    pub fn new(warmup_steps: usize, stable_steps: usize, decay_steps: usize) -> Self {
        Self {
            warmup_steps,
            stable_steps,
            decay_steps,
            warmup_type: linear(),
            decay_type: cosine(),
            min_factor: 0.0,
            num_cycles: half(),
        }
    }

    fn rise(&self, progress: f64) -> f64 {
        match self.warmup_type {
            Ramp::Linear => progress,
            Ramp::Cosine => 0.5 * (1.0 - (PI * progress).cos()),
            Ramp::OneMinusSqrt => 1.0 - (1.0 - progress).sqrt(),
        }
    }

    fn fall(&self, progress: f64) -> f64 {
        match self.decay_type {
            Ramp::Linear => 1.0 - progress,
            Ramp::Cosine => 0.5 * (1.0 + (PI * self.num_cycles * 2.0 * progress).cos()),
            Ramp::OneMinusSqrt => 1.0 - progress.sqrt(),
        }
    }
}

impl Schedule for WarmupStableDecay {
    fn at(&self, step: usize) -> f64 {
        let level = self.warmup_steps.saturating_add(self.stable_steps);
        let above = |share: f64| share * (1.0 - self.min_factor) + self.min_factor;
        if step < self.warmup_steps {
            above(self.rise(step as f64 / self.warmup_steps as f64)).max(0.0)
        } else if step < level {
            1.0
        } else if step < level.saturating_add(self.decay_steps) {
            above(self.fall((step - level) as f64 / self.decay_steps as f64)).max(0.0)
        } else {
            self.min_factor
        }
    }
}
