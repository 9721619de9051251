//! Adan.

use serde::{Deserialize, Serialize};

use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Decay, Descent, Real, Result, Rule, Slot, Update};

/// Adan: Adam with a moment of the differences between gradients, for Nesterov's look ahead without a
/// second gradient (Xie et al., 2022).
///
/// ```text
/// dₜ = gₜ − gₜ₋₁                                 (0 in the first step)
/// mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ
/// uₜ = β₂ uₜ₋₁ + (1 − β₂) dₜ
/// vₜ = β₃ vₜ₋₁ + (1 − β₃) (gₜ + β₂ dₜ)²
/// aₜ = √vₜ / √(1 − β₃ᵗ) + ε
/// θₜ = (θₜ₋₁ − η (mₜ / (1 − β₁ᵗ) + β₂ uₜ / (1 − β₂ᵗ)) / aₜ) / (1 + η λ)
/// θₜ = (1 − η λ) θₜ₋₁ − the same step             (`no_prox`)
/// ```
///
/// The betas are, as in the authors' code, what is kept; the paper writes what is added. The memory
/// of the last gradient is negated, under the authors' name. Clip the common norm with
/// [`Clip::Norm`](crate::Clip), as their `max_grad_norm` does.
///
/// Source: X. Xie, P. Zhou, H. Li, Z. Lin, S. Yan, 2022, Adan: Adaptive Nesterov Momentum Algorithm for
/// Faster Optimizing Deep Models.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Adan, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let mut adan = Optimizer::new([("x".to_string(), x.clone())], Adan { lr: 0.5, ..Adan::default() })?;
/// adan.step(&x.sqr()?.backward()?)?; // as Adam's first: η long
/// assert!((x.to_scalar::<f64>()? - 2.5).abs() < 1e-8);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adan {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Shares of the old gradients, differences and squares that are kept, β₁, β₂ and β₃, each in
    /// `[0, 1)`. Default `(0.98, 0.92, 0.99)`.
    pub betas: (f64, f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Weight decay λ, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Decays before the step, as AdamW, instead of after it. Default `false`.
    pub no_prox: bool,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Adan {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.98, 0.92, 0.99),
            eps: 1e-8,
            weight_decay: 0.0,
            no_prox: false,
            maximize: false,
        }
    }
}

impl Adan {
    /// What is kept of the parameter, and what of the step.
    fn kept(&self, at: &Update<'_>) -> (f64, f64) {
        let decay = at.lr * at.weight_decay;
        match self.no_prox {
            true => (1.0 - decay, 1.0),
            false => (1.0 / (1.0 + decay), 1.0 / (1.0 + decay)),
        }
    }

    fn now(&self, at: &Update<'_>, share: f64) -> Now {
        let (beta1, beta2, beta3) = self.betas;
        let (lr, left) = (at.lr * share, |beta: f64| 1.0 - beta.powf(at.step as f64));
        Now {
            beta1,
            beta2,
            beta3,
            eps: self.eps,
            seen: if at.step == 1 { 0.0 } else { 1.0 },
            rate: lr / left(beta1),
            difference_rate: lr * beta2 / left(beta2),
            correction: 1.0 / left(beta3).sqrt(),
        }
    }
}

impl Rule for Adan {
    fn basics(&self) -> Basics {
        Basics {
            name: "adan",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let names = ["exp_avg", "exp_avg_diff", "exp_avg_sq", "neg_pre_grad"];
        names.map(|name| Slot::like(name, shape)).into()
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("adan", "lr", self.lr)?;
        require_share("adan", "betas.0", self.betas.0)?;
        require_share("adan", "betas.1", self.betas.1)?;
        require_share("adan", "betas.2", self.betas.2)?;
        require_not_negative("adan", "eps", self.eps)?;
        require_not_negative("adan", "weight_decay", self.weight_decay)
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let (kept, share) = self.kept(&at);
        let now = self.now(&at, share);
        at.descend::<4, _>(Decay { kept, l2: 0.0 }, &now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    beta1: f64,
    beta2: f64,
    beta3: f64,
    eps: f64,
    seen: f64,
    rate: f64,
    difference_rate: f64,
    correction: f64,
}

impl Descent<4> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [m, u, v, last]: [R; 4]) -> (R, [R; 4]) {
        let difference = (g.clone() + last).scale(self.seen);
        let m = m.lerp(g.clone(), 1.0 - self.beta1);
        let u = u.lerp(difference.clone(), 1.0 - self.beta2);
        let ahead = g.clone() + difference.scale(self.beta2);
        let v = v.scale(self.beta3) + ahead.clone().scale(1.0 - self.beta3) * ahead;
        let a = v.clone().sqrt().scale(self.correction).shift(self.eps);
        let step = m.clone().scale(self.rate) + u.clone().scale(self.difference_rate);
        (step / a, [m, u, v, g.scale(-1.0)])
    }
}
