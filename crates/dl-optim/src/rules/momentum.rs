//! Momentum with the rate inside the velocity, plain and Nesterov's.

use serde::{Deserialize, Serialize};

use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Decay, Descent, Real, Result, Rule, Slot, Update};

/// Momentum as textbooks and Keras write it: the velocity is a step, with the rate inside (Polyak,
/// 1964; Nesterov, 1983).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁
/// vₜ = μ vₜ₋₁ + η gₜ
/// θₜ = θₜ₋₁ − vₜ              (Nesterov: θₜ₋₁ − μ vₜ − η gₜ)
/// ```
///
/// While the rate stays as it is, this is [`Sgd`](crate::Sgd) with `momentum` (and `nesterov`). When
/// the rate falls, the velocity here keeps the old rate for a while; there it does not. With `momentum`
/// 0 both are gradient descent. Keras stores −vₜ, and decays the parameter instead of the gradient.
///
/// Sources: B. Polyak, 1964, Some methods of speeding up the convergence of iteration methods;
/// Y. Nesterov, 1983, A method for solving the convex programming problem with convergence rate
/// O(1/k²).
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Momentum, Optimizer};
/// let x = Var::new(4.0_f64, &Device::Cpu)?;
/// let rule = Momentum { lr: 0.25, momentum: 0.5, ..Momentum::default() };
/// let mut momentum = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// momentum.step(&x.sqr()?.backward()?)?; // v = 2
/// momentum.step(&x.sqr()?.backward()?)?; // v = 0.5 · 2 + 0.25 · 4
/// assert_eq!(x.to_scalar::<f64>()?, 0.0);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Momentum {
    /// Learning rate η, `>= 0`. Default `1e-2`, as in Keras.
    pub lr: f64,
    /// Share of the old velocity that is kept, μ, in `[0, 1)`. Default `0.9`.
    pub momentum: f64,
    /// Looks one step ahead along the velocity. Default `false`.
    pub nesterov: bool,
    /// Weight decay λ, added to the gradient, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Momentum {
    fn default() -> Self {
        Self {
            lr: 1e-2,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.0,
            maximize: false,
        }
    }
}

impl Rule for Momentum {
    fn basics(&self) -> Basics {
        Basics {
            name: "momentum",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        vec![Slot::like("velocity", shape)]
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("momentum", "lr", self.lr)?;
        require_share("momentum", "momentum", self.momentum)?;
        require_not_negative("momentum", "weight_decay", self.weight_decay)
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let now = Now {
            lr: at.lr,
            momentum: self.momentum,
            nesterov: self.nesterov,
        };
        let decay = Decay::l2(at.weight_decay);
        at.descend::<1, _>(decay, &now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    lr: f64,
    momentum: f64,
    nesterov: bool,
}

impl Descent<1> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [v]: [R; 1]) -> (R, [R; 1]) {
        let step = g.scale(self.lr);
        let v = v.scale(self.momentum) + step.clone();
        let step = match self.nesterov {
            true => v.clone().scale(self.momentum) + step,
            false => v.clone(),
        };
        (step, [v])
    }
}
