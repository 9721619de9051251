//! Adagrad.

use serde::{Deserialize, Serialize};

use crate::rule::require_not_negative;
use crate::{Basics, Kernel, Real, Result, Rule, Slot, Update};

/// Adagrad: steps divided by the root of all squared gradients so far (Duchi et al., 2011).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁
/// Sₜ = Sₜ₋₁ + gₜ²
/// θₜ = θₜ₋₁ − η / (1 + (t − 1) ρ) · gₜ / (√Sₜ + ε)
/// ```
///
/// Source: J. Duchi, E. Hazan, Y. Singer, 2011, Adaptive Subgradient Methods for Online Learning
/// and Stochastic Optimization. The decay ρ is PyTorch's.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Adagrad, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = Adagrad { lr: 0.5, ..Adagrad::default() };
/// let mut adagrad = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// adagrad.step(&x.sqr()?.backward()?)?; // 3 − 0.5 · 6 / √36
/// assert!((x.to_scalar::<f64>()? - 2.5).abs() < 1e-8);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adagrad {
    /// Learning rate η, `>= 0`. Default `1e-2`.
    pub lr: f64,
    /// How fast the rate itself decays, ρ, `>= 0`. Default `0`.
    pub lr_decay: f64,
    /// Weight decay λ, added to the gradient, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// The sum S₀ to start from, `>= 0`. Default `0`.
    pub initial_accumulator_value: f64,
    /// Keeps the division finite, ε, `>= 0`. Default `1e-10`.
    pub eps: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Adagrad {
    fn default() -> Self {
        Self {
            lr: 1e-2,
            lr_decay: 0.0,
            weight_decay: 0.0,
            initial_accumulator_value: 0.0,
            eps: 1e-10,
            maximize: false,
        }
    }
}

impl Rule for Adagrad {
    fn basics(&self) -> Basics {
        Basics {
            name: "adagrad",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        vec![Slot {
            init: self.initial_accumulator_value,
            ..Slot::like("sum", shape)
        }]
    }
    fn validate(&self) -> Result<()> {
        let initial = self.initial_accumulator_value;
        require_not_negative("adagrad", "lr", self.lr)?;
        require_not_negative("adagrad", "lr_decay", self.lr_decay)?;
        require_not_negative("adagrad", "weight_decay", self.weight_decay)?;
        require_not_negative("adagrad", "initial_accumulator_value", initial)?;
        require_not_negative("adagrad", "eps", self.eps)
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let rate = at.lr / (1.0 + (at.step - 1) as f64 * self.lr_decay);
        let now = Now {
            rate,
            weight_decay: at.weight_decay,
            eps: self.eps,
        };
        at.elementwise::<1, _>(&now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    rate: f64,
    weight_decay: f64,
    eps: f64,
}

impl Kernel<1> for Now {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, [sum]: [R; 1]) -> (R, [R; 1]) {
        let g = g.add_scaled(&theta, self.weight_decay);
        let sum = sum + g.clone() * g.clone();
        (
            theta - g.scale(self.rate) / sum.clone().sqrt().shift(self.eps),
            [sum],
        )
    }
}
