//! Schedule-Free SGD.

use serde::{Deserialize, Serialize};

use crate::rule::{require, require_not_negative};
use crate::{Basics, Kernel, Real, Result, Rule, Slot, Update};

/// SGD that needs no schedule: gradients are taken between a fast sequence and its average, and the
/// average is the result (Defazio et al., 2024).
///
/// ```text
/// yₜ = (1 − β) zₜ + β xₜ                       (what the parameters hold between steps)
/// gₜ ← gₜ(yₜ) + λ yₜ
/// ηₜ = η min(1, t / warmup_steps)
/// wₜ = tʳ (max_{s ≤ t} ηₛ)ᵖ,   cₜ = wₜ / Σ_{s ≤ t} wₛ
/// zₜ₊₁ = zₜ − ηₜ gₜ
/// xₜ₊₁ = (1 − cₜ) xₜ + cₜ zₜ₊₁
/// ```
///
/// β is `momentum`, p is `weight_lr_power`. Call [`Optimizer::eval`](crate::Optimizer::eval) before
/// evaluating or saving weights, and [`Optimizer::train`](crate::Optimizer::train) before going on; a
/// new optimizer is in train mode, where the authors' starts in neither. As in their package, x is
/// not stored: it follows from y and z.
///
/// Source: A. Defazio, X. Yang, H. Mehta, K. Mishchenko, A. Khaled, A. Cutkosky, 2024, The Road Less
/// Scheduled; numbers of `schedulefree` 1.4.1.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Optimizer, SgdScheduleFree};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = SgdScheduleFree { lr: 0.25, ..SgdScheduleFree::default() };
/// let mut optimizer = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// optimizer.step(&x.sqr()?.backward()?)?; // x, y and z: 3 − 0.25 · 6
/// assert_eq!(x.to_scalar::<f64>()?, 1.5);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdScheduleFree {
    /// Learning rate η, `>= 0`. Default `1`.
    pub lr: f64,
    /// Share of the average in the place where gradients are taken, β in `(0, 1)`. Default `0.9`.
    pub momentum: f64,
    /// Weight decay λ, added to the gradient, `>= 0`. Default `0`.
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

impl Default for SgdScheduleFree {
    fn default() -> Self {
        Self {
            lr: 1.0,
            momentum: 0.9,
            weight_decay: 0.0,
            warmup_steps: 0,
            r: 0.0,
            weight_lr_power: 2.0,
            maximize: false,
        }
    }
}

/// How the average is weighted.
pub(super) struct Averaging {
    pub(super) warmup_steps: usize,
    pub(super) r: f64,
    pub(super) weight_lr_power: f64,
}

impl Averaging {
    /// Its two numbers, after the slots.
    pub(super) fn slots() -> [Slot; 2] {
        [
            Slot::precise("weight_sum", 0.0),
            Slot::precise("lr_max", 0.0),
        ]
    }

    pub(super) fn validate(&self, owner: &'static str) -> Result<()> {
        let power = self.weight_lr_power;
        require(self.r.is_finite(), owner, "r", "finite", self.r)?;
        require(power.is_finite(), owner, "weight_lr_power", "finite", power)
    }

    /// ηₜ and cₜ; the slots from `first` on are moved.
    pub(super) fn next(
        &self,
        at: &mut Update<'_>,
        first: usize,
    ) -> candle_core::Result<(f64, f64)> {
        let step = at.step as f64;
        let lr = match at.step <= self.warmup_steps {
            true => at.lr * (step / self.warmup_steps as f64),
            false => at.lr,
        };
        let lr_max = at.scalar(first + 1)?.max(lr);
        let weight = step.powf(self.r) * lr_max.powf(self.weight_lr_power);
        let sum = at.scalar(first)? + weight;
        at.set_scalar(first, sum)?;
        at.set_scalar(first + 1, lr_max)?;
        Ok((lr, if sum == 0.0 { 0.0 } else { weight / sum }))
    }
}

impl SgdScheduleFree {
    fn averaging(&self) -> Averaging {
        Averaging {
            warmup_steps: self.warmup_steps,
            r: self.r,
            weight_lr_power: self.weight_lr_power,
        }
    }
}

impl Rule for SgdScheduleFree {
    fn basics(&self) -> Basics {
        Basics {
            name: "sgd_schedule_free",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let [sum, lr_max] = Averaging::slots();
        vec![Slot::like("z", shape), sum, lr_max]
    }
    fn validate(&self) -> Result<()> {
        let (owner, beta) = ("sgd_schedule_free", self.momentum);
        require_not_negative(owner, "lr", self.lr)?;
        require(
            beta > 0.0 && beta < 1.0,
            owner,
            "momentum",
            "in (0, 1)",
            beta,
        )?;
        require_not_negative(owner, "weight_decay", self.weight_decay)?;
        self.averaging().validate(owner)
    }
    fn interpolates(&self) -> Option<f64> {
        Some(self.momentum)
    }
    fn update(&self, mut at: Update<'_>) -> candle_core::Result<()> {
        if at.step == 1 {
            at.slots[0] = at.theta()?.copy()?;
        }
        let (lr, share) = self.averaging().next(&mut at, 1)?;
        let now = Now {
            lr,
            share,
            ahead: lr * (self.momentum * (1.0 - share) - 1.0),
            weight_decay: at.weight_decay,
        };
        at.elementwise::<1, _>(&now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    lr: f64,
    share: f64,
    ahead: f64,
    weight_decay: f64,
}

impl Kernel<1> for Now {
    #[inline(always)]
    fn apply<R: Real>(&self, y: R, g: R, [z]: [R; 1]) -> (R, [R; 1]) {
        let g = g.add_scaled(&y, self.weight_decay);
        let y = y.lerp(z.clone(), self.share) + g.clone().scale(self.ahead);
        (y, [z - g.scale(self.lr)])
    }
}
