//! Rprop.

use serde::{Deserialize, Serialize};

use crate::rule::{require, require_not_negative};
use crate::{Basics, Kernel, Real, Result, Rule, Slot, Update};

/// Rprop: a step size of its own for every element, from the signs of its gradients alone (Riedmiller
/// and Braun, 1993). For whole batches: with samples of them the signs say little.
///
/// ```text
/// Δₜ = clamp(η₊ Δₜ₋₁)   where gₜ gₜ₋₁ > 0
/// Δₜ = clamp(η₋ Δₜ₋₁)   where gₜ gₜ₋₁ < 0, and gₜ ← 0
/// Δₜ = Δₜ₋₁             elsewhere,   Δ₀ = lr
/// θₜ = θₜ₋₁ − sign(gₜ) Δₜ
/// ```
///
/// As in PyTorch the step before a change of sign is not taken back (Rprop⁻), and the rate counts at
/// the first step only: a schedule does nothing after it.
///
/// Source: M. Riedmiller, H. Braun, 1993, A Direct Adaptive Method for Faster Backpropagation
/// Learning: The RPROP Algorithm.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Optimizer, Rprop};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = Rprop { lr: 0.5, ..Rprop::default() };
/// let mut rprop = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// rprop.step(&x.sqr()?.backward()?)?; // 3 − 0.5
/// rprop.step(&x.sqr()?.backward()?)?; // 2.5 − 0.5 · 1.2
/// assert!((x.to_scalar::<f64>()? - 1.9).abs() < 1e-12);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rprop {
    /// The first step size, Δ₀, `>= 0`. Default `1e-2`.
    pub lr: f64,
    /// Factors of the step size after a change of sign and after none, `0 < η₋ < 1 < η₊`. Default
    /// `(0.5, 1.2)`.
    pub etas: (f64, f64),
    /// The smallest and the largest step size, `0 <= smallest <= largest`. Default `(1e-6, 50)`.
    pub step_sizes: (f64, f64),
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Rprop {
    fn default() -> Self {
        Self {
            lr: 1e-2,
            etas: (0.5, 1.2),
            step_sizes: (1e-6, 50.0),
            maximize: false,
        }
    }
}

impl Rule for Rprop {
    fn basics(&self) -> Basics {
        Basics {
            name: "rprop",
            lr: self.lr,
            weight_decay: 0.0,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let names = ["prev", "step_size"];
        names.map(|name| Slot::like(name, shape)).into()
    }
    fn validate(&self) -> Result<()> {
        let (down, up) = self.etas;
        let (smallest, largest) = self.step_sizes;
        require_not_negative("rprop", "lr", self.lr)?;
        let valid = down > 0.0 && down < 1.0;
        require(valid, "rprop", "etas.0", "in (0, 1)", down)?;
        let valid = up > 1.0 && up.is_finite();
        require(valid, "rprop", "etas.1", "> 1", up)?;
        require_not_negative("rprop", "step_sizes.0", smallest)?;
        let wanted = ">= step_sizes.0";
        require(
            largest >= smallest,
            "rprop",
            "step_sizes.1",
            wanted,
            largest,
        )
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let now = Now {
            first: (at.step == 1).then_some(at.lr),
            etas: self.etas,
            step_sizes: self.step_sizes,
            weight_decay: at.weight_decay,
        };
        at.elementwise::<2, _>(&now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    first: Option<f64>,
    etas: (f64, f64),
    step_sizes: (f64, f64),
    /// A group can ask for it; the rule itself has none.
    weight_decay: f64,
}

impl Kernel<2> for Now {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, [previous, size]: [R; 2]) -> (R, [R; 2]) {
        let g = g.add_scaled(&theta, self.weight_decay);
        let size = match self.first {
            Some(lr) => size.fill(lr),
            None => size,
        };
        let (agrees, turned) = (
            g.clone() * previous.clone(),
            g.clone().scale(-1.0) * previous,
        );
        let (up, down) = (g.fill(self.etas.1), g.fill(self.etas.0));
        let factor = turned.clone().if_positive(down, g.fill(1.0));
        let factor = agrees.if_positive(up, factor);
        let size = (size * factor).clamp(self.step_sizes.0, self.step_sizes.1);
        let g = turned.if_positive(g.fill(0.0), g);
        (theta - g.clone().sign() * size.clone(), [g, size])
    }
}
