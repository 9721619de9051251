//! Adamax.

use serde::{Deserialize, Serialize};

use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Decay, Descent, Real, Result, Rule, Slot, Update};

/// Adamax: Adam with the largest recent gradient in the place of the second moment (Kingma and Ba,
/// 2015).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁
/// mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ
/// uₜ = max(β₂ uₜ₋₁, |gₜ| + ε)
/// θₜ = θₜ₋₁ − η / (1 − β₁ᵗ) · mₜ / uₜ
/// ```
///
/// As in PyTorch, ε stands inside the maximum; the paper has none.
///
/// Source: D. Kingma, J. Ba, 2015, Adam: A Method for Stochastic Optimization, section 7.1.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Adamax, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = Adamax { lr: 0.5, ..Adamax::default() };
/// let mut adamax = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// adamax.step(&x.sqr()?.backward()?)?; // 3 − 0.5 · 6 / 6
/// assert!((x.to_scalar::<f64>()? - 2.5).abs() < 1e-8);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adamax {
    /// Learning rate η, `>= 0`. Default `2e-3`.
    pub lr: f64,
    /// Shares that are kept of the moment and of the maximum, β₁ and β₂, each in `[0, 1)`. Default
    /// `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Weight decay λ, added to the gradient, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Adamax {
    fn default() -> Self {
        Self {
            lr: 2e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            maximize: false,
        }
    }
}

impl Rule for Adamax {
    fn basics(&self) -> Basics {
        Basics {
            name: "adamax",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let names = ["exp_avg", "exp_inf"];
        names.map(|name| Slot::like(name, shape)).into()
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("adamax", "lr", self.lr)?;
        require_share("adamax", "betas.0", self.betas.0)?;
        require_share("adamax", "betas.1", self.betas.1)?;
        require_not_negative("adamax", "eps", self.eps)?;
        require_not_negative("adamax", "weight_decay", self.weight_decay)
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let (beta1, beta2) = self.betas;
        let now = Now {
            rate: at.lr / (1.0 - beta1.powf(at.step as f64)),
            beta1,
            beta2,
            eps: self.eps,
        };
        let decay = Decay::l2(at.weight_decay);
        at.descend::<2, _>(decay, &now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    rate: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
}

impl Descent<2> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [m, u]: [R; 2]) -> (R, [R; 2]) {
        let m = m.lerp(g.clone(), 1.0 - self.beta1);
        let u = u.scale(self.beta2).larger(g.abs().shift(self.eps));
        (m.clone().scale(self.rate) / u.clone(), [m, u])
    }
}
