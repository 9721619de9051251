//! Yogi.

use serde::{Deserialize, Serialize};

use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Descent, Real, Result, Rule, Slot, Update, WeightDecay};

/// Yogi: Adam whose second moment changes by the size of the new square only, so that it forgets
/// large gradients slowly (Zaheer et al., 2018).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁ (L2),   θₜ₋₁ ← (1 − η λ) θₜ₋₁ (decoupled)
/// mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ
/// vₜ = vₜ₋₁ − (1 − β₂) sign(vₜ₋₁ − gₜ²) gₜ²
/// θₜ = θₜ₋₁ − η / (1 − β₁ᵗ) · mₜ / (√vₜ / √(1 − β₂ᵗ) + ε)
/// ```
///
/// As in optax and pytorch_optimizer both moments start at `initial_accumulator`, the first one too,
/// so that a parameter without any gradient is pushed down a little; the paper corrects no bias.
///
/// Source: M. Zaheer, S. Reddi, D. Sachan, S. Kale, S. Kumar, 2018, Adaptive Methods for Nonconvex
/// Optimization.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Optimizer, Yogi};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = Yogi { lr: 0.5, initial_accumulator: 0.0, eps: 0.0, ..Yogi::default() };
/// let mut yogi = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// yogi.step(&x.sqr()?.backward()?)?; // as Adam's first: η long
/// assert!((x.to_scalar::<f64>()? - 2.5).abs() < 1e-12);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Yogi {
    /// Learning rate η, `>= 0`. Default `1e-2`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// What both moments start from, m₀ and v₀, `>= 0`. Default `1e-6`.
    pub initial_accumulator: f64,
    /// Keeps the division finite, ε, `>= 0`. Default `1e-3`.
    pub eps: f64,
    /// Weight decay λ, `>= 0`, and how it acts. Default `Decoupled(0)`.
    pub weight_decay: WeightDecay,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Yogi {
    fn default() -> Self {
        Self {
            lr: 1e-2,
            betas: (0.9, 0.999),
            initial_accumulator: 1e-6,
            eps: 1e-3,
            weight_decay: WeightDecay::Decoupled(0.0),
            maximize: false,
        }
    }
}

impl Rule for Yogi {
    fn basics(&self) -> Basics {
        Basics {
            name: "yogi",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let slot = |name| Slot {
            init: self.initial_accumulator,
            ..Slot::like(name, shape)
        };
        ["exp_avg", "exp_avg_sq"].map(slot).into()
    }
    fn validate(&self) -> Result<()> {
        let initial = self.initial_accumulator;
        require_not_negative("yogi", "lr", self.lr)?;
        require_share("yogi", "betas.0", self.betas.0)?;
        require_share("yogi", "betas.1", self.betas.1)?;
        require_not_negative("yogi", "initial_accumulator", initial)?;
        require_not_negative("yogi", "eps", self.eps)?;
        require_not_negative("yogi", "weight_decay", self.weight_decay.amount())
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let (beta1, beta2) = self.betas;
        let now = Now {
            beta1,
            beta2,
            eps: self.eps,
            correction: 1.0 / (1.0 - beta2.powf(at.step as f64)).sqrt(),
            rate: at.lr / (1.0 - beta1.powf(at.step as f64)),
        };
        let decay = self.weight_decay.decay(at.lr, at.weight_decay);
        at.descend::<2, _>(decay, &now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    beta1: f64,
    beta2: f64,
    eps: f64,
    correction: f64,
    rate: f64,
}

impl Descent<2> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [m, v]: [R; 2]) -> (R, [R; 2]) {
        let m = m.lerp(g.clone(), 1.0 - self.beta1);
        let square = g.clone() * g;
        let side = (v.clone() - square.clone()).sign();
        let v = v - (side * square).scale(1.0 - self.beta2);
        let size = v.clone().sqrt().scale(self.correction).shift(self.eps);
        (m.clone().scale(self.rate) / size, [m, v])
    }
}
