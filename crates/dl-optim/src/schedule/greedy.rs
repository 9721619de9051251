//! A rate that follows the metric both ways.

use serde::{Deserialize, Serialize};

use super::improvement::{Mode, ThresholdMode, improves};
use crate::Result;
use crate::rule::{require, require_not_negative};

/// How fast the rate follows the metric; the names and defaults of `transformers`.
///
/// ```
/// assert_eq!(dl_optim::GreedyConfig::default().factor, 0.95);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GreedyConfig {
    /// Which way the metric is better. Default min.
    pub mode: Mode,
    /// What the rate is multiplied by on a plateau and divided by after improvements, in `(0, 1)`.
    /// Default 0.95.
    pub factor: f64,
    /// Metrics in a row of either kind before the rate moves. Default 10.
    pub patience: usize,
    /// How much better is better, `>= 0`. Default 1e-6.
    pub threshold: f64,
    /// What the threshold is measured against. Default nothing (`abs`).
    pub threshold_mode: ThresholdMode,
    /// Metrics after a reduction that are not counted. Default 0.
    pub cooldown: usize,
    /// Metrics after a rise that are not counted. Default 0.
    pub warmup: usize,
    /// The lowest rate, `>= 0`. Default 1e-3.
    pub min_lr: f64,
    /// The highest rate. Default 1.
    pub max_lr: f64,
    /// A change that is not larger is left out, `>= 0`. Default 1e-8.
    pub eps: f64,
    /// Metrics are replaced by their mean over so many. Default none (`smooth=False`).
    pub window_size: Option<usize>,
    /// Plateaus at `min_lr` after which everything starts anew. Default 500.
    pub reset_start: usize,
}

impl Default for GreedyConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Min,
            factor: 0.95,
            patience: 10,
            threshold: 1e-6,
            threshold_mode: ThresholdMode::Abs,
            cooldown: 0,
            warmup: 0,
            min_lr: 1e-3,
            max_lr: 1.0,
            eps: 1e-8,
            window_size: None,
            reset_start: 500,
        }
    }
}

/// Raises the rate while a metric improves and lowers it on a plateau; `GreedyLR` of `transformers`.
///
/// It has a state, and that is all of it: write it with serde beside the optimizer's.
///
/// Source: GreedyLR: A Novel Adaptive Learning Rate Scheduler, 2025.
///
/// ```
/// use dl_optim::{Greedy, GreedyConfig};
/// let config = GreedyConfig { patience: 0, factor: 0.5, ..GreedyConfig::default() };
/// let mut greedy = Greedy::new(config, 0.25)?;
/// assert_eq!([1.0, 0.9, 0.9].map(|loss| greedy.step(loss)), [0.5, 1.0, 0.5]);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Greedy {
    config: GreedyConfig,
    first_lr: f64,
    lr: f64,
    best: Option<f64>,
    bad: usize,
    good: usize,
    cooling: usize,
    warming: usize,
    reset_in: usize,
    window: Vec<f64>,
    window_sum: f64,
}

impl Greedy {
    /// Starts at a rate. Fails on an option outside its range.
    pub fn new(config: GreedyConfig, lr: f64) -> Result<Self> {
        let shrinks = config.factor > 0.0 && config.factor < 1.0;
        require(shrinks, "greedy", "factor", "in (0, 1)", config.factor)?;
        require_not_negative("greedy", "threshold", config.threshold)?;
        require_not_negative("greedy", "min_lr", config.min_lr)?;
        require_not_negative("greedy", "max_lr", config.max_lr)?;
        require_not_negative("greedy", "eps", config.eps)?;
        require_not_negative("greedy", "lr", lr)?;
        let window = config.window_size.unwrap_or(1);
        require(window > 0, "greedy", "window_size", "> 0", window as f64)?;
        Ok(Self {
            config,
            first_lr: lr,
            lr,
            best: None,
            bad: 0,
            good: 0,
            cooling: 0,
            warming: 0,
            reset_in: config.reset_start,
            window: Vec::new(),
            window_sum: 0.0,
        })
    }

    /// Takes a metric and returns the rate from now on. A metric that is not a number is no
    /// improvement.
    pub fn step(&mut self, metric: f64) -> f64 {
        let metric = self.smoothed(metric);
        if self.cooling > 0 {
            (self.cooling, self.bad, self.good) = (self.cooling - 1, 0, 0);
        } else if self.warming > 0 {
            (self.warming, self.bad, self.good) = (self.warming - 1, 0, 0);
        } else {
            self.judge(metric);
        }
        self.lr
    }

    /// The rate now.
    pub fn lr(&self) -> f64 {
        self.lr
    }

    fn smoothed(&mut self, metric: f64) -> f64 {
        let Some(size) = self.config.window_size else {
            return metric;
        };
        self.window.push(metric);
        self.window_sum += metric;
        if self.window.len() > size {
            self.window_sum -= self.window.remove(0);
        }
        self.window_sum / self.window.len() as f64
    }

    fn judge(&mut self, metric: f64) {
        let config = self.config;
        let (threshold, against) = (config.threshold, config.threshold_mode);
        if improves(config.mode, threshold, against, metric, self.best) {
            (self.best, self.bad, self.good) = (Some(metric), 0, self.good + 1);
        } else {
            (self.bad, self.good) = (self.bad + 1, 0);
        }
        if self.good > config.patience {
            self.raise();
            (self.warming, self.good) = (config.warmup, 0);
        } else if self.bad > config.patience && !self.lower() {
            (self.cooling, self.bad) = (config.cooldown, 0);
        }
    }

    fn raise(&mut self) {
        let lr = (self.lr / self.config.factor).min(self.config.max_lr);
        if lr - self.lr > self.config.eps {
            self.lr = lr;
        }
        self.reset_in = self.config.reset_start;
    }

    /// Lowers the rate; `true` if that was one time too many at the bottom and all starts anew.
    fn lower(&mut self) -> bool {
        let lr = (self.lr * self.config.factor).max(self.config.min_lr);
        if self.lr - lr > self.config.eps {
            self.lr = lr;
        }
        if self.lr > self.config.min_lr {
            return false;
        }
        self.reset_in = self.reset_in.saturating_sub(1);
        if self.reset_in > 0 {
            return false;
        }
        (self.lr, self.best, self.reset_in) = (self.first_lr, None, self.config.reset_start);
        (self.bad, self.good, self.warming) = (0, 0, 0);
        // `transformers` sets the pause after its reset, so it is kept.
        self.cooling = self.config.cooldown;
        (self.window_sum, self.window) = (0.0, Vec::new());
        true
    }
}
