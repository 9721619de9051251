//! Dynamic loss scaling for f16 gradients.

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use serde::{Deserialize, Serialize};

use crate::rule::require;
use crate::{NonFinite, Optimizer, Result};

/// Multiplies the loss so that f16 gradients do not vanish, as far as they do not overflow;
/// `torch.amp.GradScaler`.
///
/// ```text
/// overflow: no step, s ← s · backoff          `growth_interval` steps without: s ← s · growth
/// ```
///
/// It is its own state: write it with serde beside the optimizer's.
///
/// Source: P. Micikevicius et al., 2018, Mixed Precision Training.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{LossScaler, Optimizer, Sgd};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let mut sgd = Optimizer::new([("x".to_string(), x.clone())], Sgd { lr: 0.25, ..Sgd::default() })?;
/// let mut scaler = LossScaler::default();
/// let grads = scaler.scaled(&x.sqr()?)?.backward()?;
/// assert!(scaler.step(&mut sgd, &grads)?);
/// assert_eq!((x.to_scalar::<f64>()?, scaler.scale), (1.5, 65536.0));
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossScaler {
    /// The present scale, `> 0`. Default 65,536 at first (`init_scale`).
    pub scale: f64,
    /// What the scale is multiplied by when it grows, `> 1`. Default 2.
    pub growth_factor: f64,
    /// What the scale is multiplied by after an overflow, in `(0, 1)`. Default 0.5.
    pub backoff_factor: f64,
    /// Steps in a row without overflow after which the scale grows. Default 2,000.
    pub growth_interval: usize,
    /// Steps since the last change.
    #[serde(rename = "growth_tracker")]
    steps: usize,
}

impl Default for LossScaler {
    fn default() -> Self {
        Self {
            scale: 65_536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
            steps: 0,
        }
    }
}

impl LossScaler {
    /// A scaler with these options. Fails on one outside its range.
    pub fn new(
        init_scale: f64,
        growth_factor: f64,
        backoff_factor: f64,
        growth_interval: usize,
    ) -> Result<Self> {
        let owner = "loss_scaler";
        let positive = init_scale > 0.0 && init_scale.is_finite();
        require(positive, owner, "init_scale", "> 0", init_scale)?;
        require(
            growth_factor > 1.0,
            owner,
            "growth_factor",
            "> 1",
            growth_factor,
        )?;
        let shrinks = backoff_factor > 0.0 && backoff_factor < 1.0;
        require(
            shrinks,
            owner,
            "backoff_factor",
            "in (0, 1)",
            backoff_factor,
        )?;
        let interval = growth_interval as f64;
        require(
            growth_interval > 0,
            owner,
            "growth_interval",
            "> 0",
            interval,
        )?;
        Ok(Self {
            scale: init_scale,
            growth_factor,
            backoff_factor,
            growth_interval,
            steps: 0,
        })
    }

    /// The loss to go backward from. Make it f32: the first scale is beyond the largest f16.
    pub fn scaled(&self, loss: &Tensor) -> candle_core::Result<Tensor> {
        loss * self.scale
    }

    /// Takes one step on gradients of a scaled loss, or `false` if it was skipped for an overflow;
    /// then moves the scale. Clipping sees gradients without the scale.
    pub fn step(&mut self, optimizer: &mut Optimizer, grads: &GradStore) -> Result<bool> {
        self.step_scaled(optimizer, grads, 1.0)
    }

    /// As [`LossScaler::step`], with gradients multiplied by `by` besides: the mean over accumulated
    /// batches.
    pub fn step_scaled(
        &mut self,
        optimizer: &mut Optimizer,
        grads: &GradStore,
        by: f64,
    ) -> Result<bool> {
        let taken = optimizer.step_or_skip(grads, by / self.scale, NonFinite::Skip, None)?;
        self.update(!taken);
        Ok(taken)
    }

    /// Moves the scale after a step that overflowed, or did not.
    pub fn update(&mut self, overflowed: bool) {
        if overflowed {
            (self.scale, self.steps) = (self.scale * self.backoff_factor, 0);
            return;
        }
        self.steps += 1;
        if self.steps == self.growth_interval {
            let grown = self.scale * self.growth_factor;
            // PyTorch keeps the scale in f32, and so stays in its range.
            if (grown as f32).is_finite() {
                self.scale = grown;
            }
            self.steps = 0;
        }
    }
}
