//! A lower rate when a metric has stopped improving.

use serde::{Deserialize, Serialize};

use super::improvement::{Mode, ThresholdMode, improves};
use crate::Result;
use crate::rule::{require, require_not_negative};

/// What counts as a plateau and what is done there; PyTorch's names and defaults.
///
/// ```
/// let config = dl_optim::PlateauConfig::default();
/// assert_eq!((config.factor, config.patience, config.threshold), (0.1, 10, 1e-4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlateauConfig {
    /// Which way the metric is better. Default min.
    pub mode: Mode,
    /// What the rate is multiplied by, in `[0, 1)`. Default 0.1.
    pub factor: f64,
    /// Metrics in a row without improvement that are borne. Default 10.
    pub patience: usize,
    /// How much better is better, `>= 0`. Default 1e-4.
    pub threshold: f64,
    /// What the threshold is measured against. Default the best value.
    pub threshold_mode: ThresholdMode,
    /// Metrics after a reduction that are not counted. Default 0.
    pub cooldown: usize,
    /// The lowest rate, `>= 0`. Default 0.
    pub min_lr: f64,
    /// A reduction that is not larger is left out, `>= 0`. Default 1e-8.
    pub eps: f64,
}

impl Default for PlateauConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Min,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::Rel,
            cooldown: 0,
            min_lr: 0.0,
            eps: 1e-8,
        }
    }
}

/// Lowers the rate when a metric has stopped improving; PyTorch's `ReduceLROnPlateau`.
///
/// It has a state, and that is all of it: write it with serde beside the optimizer's. Its rate is the
/// base rate, which groups scale, so `min_lr` bounds that (in PyTorch the rate of each group).
///
/// ```
/// use dl_optim::{PlateauConfig, ReduceOnPlateau};
/// let config = PlateauConfig { patience: 1, factor: 0.5, ..PlateauConfig::default() };
/// let mut plateau = ReduceOnPlateau::new(config, 0.1)?;
/// let rates = [1.0, 0.9, 0.9, 0.9].map(|loss| plateau.step(loss));
/// assert_eq!(rates, [0.1, 0.1, 0.1, 0.05]);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReduceOnPlateau {
    config: PlateauConfig,
    lr: f64,
    best: Option<f64>,
    bad: usize,
    cooling: usize,
}

impl ReduceOnPlateau {
    /// Starts at a rate. Fails on an option outside its range.
    pub fn new(config: PlateauConfig, lr: f64) -> Result<Self> {
        let owner = "reduce_on_plateau";
        let shrinks = (0.0..1.0).contains(&config.factor);
        require(shrinks, owner, "factor", "in [0, 1)", config.factor)?;
        require_not_negative(owner, "threshold", config.threshold)?;
        require_not_negative(owner, "min_lr", config.min_lr)?;
        require_not_negative(owner, "eps", config.eps)?;
        require_not_negative(owner, "lr", lr)?;
        Ok(Self {
            config,
            lr,
            best: None,
            bad: 0,
            cooling: 0,
        })
    }

    /// Takes a metric, as a rule once an epoch, and returns the rate from now on. A metric that is
    /// not a number is no improvement.
    pub fn step(&mut self, metric: f64) -> f64 {
        let config = self.config;
        let (threshold, against) = (config.threshold, config.threshold_mode);
        if improves(config.mode, threshold, against, metric, self.best) {
            (self.best, self.bad) = (Some(metric), 0);
        } else {
            self.bad += 1;
        }
        if self.cooling > 0 {
            (self.cooling, self.bad) = (self.cooling - 1, 0);
        }
        if self.bad > config.patience {
            let lr = (self.lr * config.factor).max(config.min_lr);
            if self.lr - lr > config.eps {
                self.lr = lr;
            }
            (self.cooling, self.bad) = (config.cooldown, 0);
        }
        self.lr
    }

    /// The rate now.
    pub fn lr(&self) -> f64 {
        self.lr
    }

    /// The best metric so far.
    pub fn best(&self) -> Option<f64> {
        self.best
    }
}
