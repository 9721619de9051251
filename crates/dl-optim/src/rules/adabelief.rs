//! AdaBelief.

use serde::{Deserialize, Serialize};

use super::radam::rectification;
use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Descent, Real, Result, Rule, Slot, Update, WeightDecay};

/// AdaBelief: Adam divided by how far gradients are from what the first moment foretold (Zhuang et
/// al., 2020).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁ (L2),   θₜ₋₁ ← (1 − η λ) θₜ₋₁ (decoupled)
/// mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ
/// sₜ = β₂ sₜ₋₁ + (1 − β₂) (gₜ − mₜ)² + ε       (AMSGrad: the largest sₜ so far divides)
/// θₜ = θₜ₋₁ − η / (1 − β₁ᵗ) · mₜ / (√sₜ / √(1 − β₂ᵗ) + ε)
/// ```
///
/// With `rectify` the division is [`RAdam`](crate::RAdam)'s: none in the first steps, then rₜ / (√sₜ +
/// ε). As in the authors' code ε is added to what is remembered, in every step. Their package
/// rectifies and decays decoupled by default since version 0.1; here, as in pytorch_optimizer and
/// optax, the default does not rectify.
///
/// Source: J. Zhuang, T. Tang, Y. Ding, S. Tatikonda, N. Dvornek, X. Papademetris, J. Duncan, 2020,
/// AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{AdaBelief, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = AdaBelief { lr: 0.45, ..AdaBelief::default() };
/// let mut adabelief = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// adabelief.step(&x.sqr()?.backward()?)?; // m foretold 0.1 of it: 3 − 0.45 / 0.9
/// assert!((x.to_scalar::<f64>()? - 2.5).abs() < 1e-12);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaBelief {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-16`.
    pub eps: f64,
    /// Weight decay λ, `>= 0`, and how it acts. Default `Decoupled(0)`.
    pub weight_decay: WeightDecay,
    /// Divides by the largest second moment so far. Default `false`.
    pub amsgrad: bool,
    /// Waits with dividing until there is enough to estimate a variance from. Default `false`.
    pub rectify: bool,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for AdaBelief {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-16,
            weight_decay: WeightDecay::Decoupled(0.0),
            amsgrad: false,
            rectify: false,
            maximize: false,
        }
    }
}

impl AdaBelief {
    fn now(&self, at: &Update<'_>) -> Now {
        let (beta1, beta2) = self.betas;
        let factor = match self.rectify {
            true => rectification(beta2, at.step),
            false => Some(1.0),
        };
        Now {
            beta1,
            beta2,
            eps: self.eps,
            adapts: factor.is_some(),
            correction: match self.rectify {
                true => 1.0,
                false => 1.0 / (1.0 - beta2.powf(at.step as f64)).sqrt(),
            },
            rate: at.lr * factor.unwrap_or(1.0) / (1.0 - beta1.powf(at.step as f64)),
        }
    }
}

impl Rule for AdaBelief {
    fn basics(&self) -> Basics {
        Basics {
            name: "adabelief",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let names: &[_] = match self.amsgrad {
            true => &["exp_avg", "exp_avg_var", "max_exp_avg_var"],
            false => &["exp_avg", "exp_avg_var"],
        };
        names.iter().map(|name| Slot::like(name, shape)).collect()
    }
    fn validate(&self) -> Result<()> {
        let owner = "adabelief";
        require_not_negative(owner, "lr", self.lr)?;
        require_share(owner, "betas.0", self.betas.0)?;
        require_share(owner, "betas.1", self.betas.1)?;
        require_not_negative(owner, "eps", self.eps)?;
        require_not_negative(owner, "weight_decay", self.weight_decay.amount())
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let now = self.now(&at);
        let decay = self.weight_decay.decay(at.lr, at.weight_decay);
        match self.amsgrad {
            true => at.descend::<3, _>(decay, &now),
            false => at.descend::<2, _>(decay, &now),
        }
    }
}

#[derive(Clone, Copy)]
struct Now {
    beta1: f64,
    beta2: f64,
    eps: f64,
    adapts: bool,
    correction: f64,
    rate: f64,
}

impl Now {
    #[inline(always)]
    fn moments<R: Real>(&self, g: R, m: R, s: R) -> (R, R) {
        let m = m.lerp(g.clone(), 1.0 - self.beta1);
        let apart = g - m.clone();
        let square = apart.clone().scale(1.0 - self.beta2) * apart;
        (m, (s.scale(self.beta2) + square).shift(self.eps))
    }

    #[inline(always)]
    fn quotient<R: Real>(&self, m: R, s: R) -> R {
        let step = m.scale(self.rate);
        match self.adapts {
            true => step / s.sqrt().scale(self.correction).shift(self.eps),
            false => step,
        }
    }
}

impl Descent<2> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [m, s]: [R; 2]) -> (R, [R; 2]) {
        let (m, s) = self.moments(g, m, s);
        (self.quotient(m.clone(), s.clone()), [m, s])
    }
}

impl Descent<3> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [m, s, largest]: [R; 3]) -> (R, [R; 3]) {
        let (m, s) = self.moments(g, m, s);
        let largest = largest.larger(s.clone());
        (self.quotient(m.clone(), largest.clone()), [m, s, largest])
    }
}
