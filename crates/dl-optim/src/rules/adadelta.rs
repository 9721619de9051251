//! Adadelta.

use serde::{Deserialize, Serialize};

use crate::rule::{require, require_not_negative};
use crate::{Basics, Kernel, Real, Result, Rule, Slot, Update};

/// Adadelta: steps in the unit of the parameter, from the sizes of the last steps and gradients
/// (Zeiler, 2012).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁
/// sₜ = ρ sₜ₋₁ + (1 − ρ) gₜ²
/// Δₜ = √(aₜ₋₁ + ε) / √(sₜ + ε) · gₜ
/// aₜ = ρ aₜ₋₁ + (1 − ρ) Δₜ²
/// θₜ = θₜ₋₁ − η Δₜ
/// ```
///
/// Source: M. Zeiler, 2012, ADADELTA: An Adaptive Learning Rate Method. The rate η is PyTorch's; the
/// paper has η = 1.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Adadelta, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let mut adadelta = Optimizer::new([("x".to_string(), x.clone())], Adadelta::default())?;
/// adadelta.step(&x.sqr()?.backward()?)?; // 3 − √1e-6 / √(0.1 · 36) · 6
/// assert!((x.to_scalar::<f64>()? - 2.9968377).abs() < 1e-6);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adadelta {
    /// Learning rate η, `>= 0`. Default `1`.
    pub lr: f64,
    /// Share of the old sizes that is kept, ρ, in `[0, 1]`. Default `0.9`.
    pub rho: f64,
    /// Keeps the division finite and the first steps above zero, ε, `>= 0`. Default `1e-6`.
    pub eps: f64,
    /// Weight decay λ, added to the gradient, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Adadelta {
    fn default() -> Self {
        Self {
            lr: 1.0,
            rho: 0.9,
            eps: 1e-6,
            weight_decay: 0.0,
            maximize: false,
        }
    }
}

impl Rule for Adadelta {
    fn basics(&self) -> Basics {
        Basics {
            name: "adadelta",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let names = ["square_avg", "acc_delta"];
        names.map(|name| Slot::like(name, shape)).into()
    }
    fn validate(&self) -> Result<()> {
        let valid = (0.0..=1.0).contains(&self.rho);
        require_not_negative("adadelta", "lr", self.lr)?;
        require(valid, "adadelta", "rho", "in [0, 1]", self.rho)?;
        require_not_negative("adadelta", "eps", self.eps)?;
        require_not_negative("adadelta", "weight_decay", self.weight_decay)
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let now = Now {
            lr: at.lr,
            weight_decay: at.weight_decay,
            rho: self.rho,
            eps: self.eps,
        };
        at.elementwise::<2, _>(&now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    lr: f64,
    weight_decay: f64,
    rho: f64,
    eps: f64,
}

impl Now {
    #[inline(always)]
    fn mean_square<R: Real>(&self, old: R, x: R) -> R {
        old.scale(self.rho) + x.clone().scale(1.0 - self.rho) * x
    }
}

impl Kernel<2> for Now {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, [s, a]: [R; 2]) -> (R, [R; 2]) {
        let g = g.add_scaled(&theta, self.weight_decay);
        let s = self.mean_square(s, g.clone());
        let ratio = a.clone().shift(self.eps).sqrt() / s.clone().shift(self.eps).sqrt();
        let delta = ratio * g;
        let a = self.mean_square(a, delta.clone());
        (theta - delta.scale(self.lr), [s, a])
    }
}
