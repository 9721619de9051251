//! Schedule-Free AdamW.

use serde::{Deserialize, Serialize};

use super::sgd_schedule_free::Averaging;
use crate::rule::{require, require_not_negative, require_share};
use crate::{Basics, Kernel, Real, Result, Rule, Slot, Update};

/// AdamW that needs no schedule: the average of [`SgdScheduleFree`](crate::SgdScheduleFree) over
/// steps that Adam's second moment scales (Defazio et al., 2024).
///
/// ```text
/// vₜ = β₂ vₜ₋₁ + (1 − β₂) gₜ²
/// uₜ = gₜ / (√(vₜ / (1 − β₂ᵗ)) + ε) + λ yₜ
/// then as SgdScheduleFree with uₜ for the gradient and β₁ for the momentum
/// ```
///
/// Call [`Optimizer::eval`](crate::Optimizer::eval) before evaluating or saving weights, and
/// [`Optimizer::train`](crate::Optimizer::train) before going on.
///
/// Source: A. Defazio, X. Yang, H. Mehta, K. Mishchenko, A. Khaled, A. Cutkosky, 2024, The Road Less
/// Scheduled; numbers of `schedulefree` 1.4.1.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{AdamWScheduleFree, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = AdamWScheduleFree { lr: 0.25, ..AdamWScheduleFree::default() };
/// let mut optimizer = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// optimizer.step(&x.sqr()?.backward()?)?; // the first step has length η
/// assert!((x.to_scalar::<f64>()? - 2.75).abs() < 1e-8);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWScheduleFree {
    /// Learning rate η, `>= 0`. Default `2.5e-3`.
    pub lr: f64,
    /// Share of the average in the place where gradients are taken, β₁ in `(0, 1)`, and of the old
    /// second moment that is kept, β₂ in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Weight decay λ, added to the scaled gradient, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Steps over which the rate rises to its full value. Default `0`.
    pub warmup_steps: usize,
    /// Power r of the step in the weight of the average, finite. Default `0`.
    pub r: f64,
    /// Power p of the rate in the weight of the average, finite. Default `2`.
    pub weight_lr_power: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for AdamWScheduleFree {
    fn default() -> Self {
        Self {
            lr: 2.5e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            warmup_steps: 0,
            r: 0.0,
            weight_lr_power: 2.0,
            maximize: false,
        }
    }
}

impl AdamWScheduleFree {
    fn averaging(&self) -> Averaging {
        Averaging {
            warmup_steps: self.warmup_steps,
            r: self.r,
            weight_lr_power: self.weight_lr_power,
        }
    }
}

impl Rule for AdamWScheduleFree {
    fn basics(&self) -> Basics {
        Basics {
            name: "adamw_schedule_free",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let [z, v] = ["z", "exp_avg_sq"].map(|name| Slot::like(name, shape));
        let [sum, lr_max] = Averaging::slots();
        vec![z, v, sum, lr_max]
    }
    fn validate(&self) -> Result<()> {
        let (owner, beta) = ("adamw_schedule_free", self.betas.0);
        require_not_negative(owner, "lr", self.lr)?;
        require(
            beta > 0.0 && beta < 1.0,
            owner,
            "betas.0",
            "in (0, 1)",
            beta,
        )?;
        require_share(owner, "betas.1", self.betas.1)?;
        require_not_negative(owner, "eps", self.eps)?;
        require_not_negative(owner, "weight_decay", self.weight_decay)?;
        self.averaging().validate(owner)
    }
    fn interpolates(&self) -> Option<f64> {
        Some(self.betas.0)
    }
    fn update(&self, mut at: Update<'_>) -> candle_core::Result<()> {
        if at.step == 1 {
            at.slots[0] = at.theta()?.copy()?;
        }
        let (lr, share) = self.averaging().next(&mut at, 2)?;
        let (beta1, beta2) = self.betas;
        let now = Now {
            lr,
            share,
            ahead: lr * (beta1 * (1.0 - share) - 1.0),
            weight_decay: at.weight_decay,
            beta2,
            correction: 1.0 - beta2.powf(at.step as f64),
            eps: self.eps,
        };
        at.elementwise::<2, _>(&now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    lr: f64,
    share: f64,
    ahead: f64,
    weight_decay: f64,
    beta2: f64,
    correction: f64,
    eps: f64,
}

impl Kernel<2> for Now {
    #[inline(always)]
    fn apply<R: Real>(&self, y: R, g: R, [z, v]: [R; 2]) -> (R, [R; 2]) {
        let v = v.scale(self.beta2) + g.clone().scale(1.0 - self.beta2) * g.clone();
        let divisor = v.clone().scale(1.0 / self.correction).sqrt();
        let u = (g / divisor.shift(self.eps)).add_scaled(&y, self.weight_decay);
        let y = y.lerp(z.clone(), self.share) + u.clone().scale(self.ahead);
        (y, [z - u.scale(self.lr), v])
    }
}
