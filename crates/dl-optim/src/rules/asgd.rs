//! Averaged SGD.

use serde::{Deserialize, Serialize};

use crate::rule::{require, require_not_negative};
use crate::{Basics, Kernel, Real, Result, Rule, Slot, Update};

/// Averaged stochastic gradient descent: SGD with a falling rate, and the mean of the parameters
/// beside it (Polyak and Juditsky, 1992).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁
/// θₜ = (1 − γ ηₜ₋₁) θₜ₋₁ − ηₜ₋₁ gₜ,   η₀ = lr
/// āₜ = āₜ₋₁ + μₜ₋₁ (θₜ − āₜ₋₁),        μ₀ = 1
/// ηₜ = lr / (1 + γ lr t)^α,           μₜ = 1 / max(1, t − t₀)
/// ```
///
/// γ is `lambd`. The mean is in the state under `ax`; as in PyTorch it is not written to the
/// parameters. [`Ema`](crate::Ema) averages any rule.
///
/// Source: B. Polyak, A. Juditsky, 1992, Acceleration of Stochastic Approximation by Averaging.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Asgd, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = Asgd { lr: 0.25, lambd: 0.0, t0: 0.0, ..Asgd::default() };
/// let mut asgd = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// for _ in 0..3 {
///     asgd.step(&x.sqr()?.backward()?)?; // 1.5, 0.75, 0.375
/// }
/// let mean = asgd.state()?.tensors["x.ax"].to_scalar::<f64>()?; // of the last two
/// assert_eq!((x.to_scalar::<f64>()?, mean), (0.375, 0.5625));
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asgd {
    /// Learning rate η₀, `>= 0`. Default `1e-2`.
    pub lr: f64,
    /// Decay of the parameters and of the rate, γ, `>= 0`. Default `1e-4`.
    pub lambd: f64,
    /// Power of the falling rate, α, `>= 0`. Default `0.75`.
    pub alpha: f64,
    /// The step after which averaging starts, t₀, not NaN. Default `1e6`.
    pub t0: f64,
    /// Weight decay λ, added to the gradient, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Asgd {
    fn default() -> Self {
        Self {
            lr: 1e-2,
            lambd: 1e-4,
            alpha: 0.75,
            t0: 1e6,
            weight_decay: 0.0,
            maximize: false,
        }
    }
}

/// The places of η and μ among the slots.
const ETA: usize = 1;
const MU: usize = 2;

impl Rule for Asgd {
    fn basics(&self) -> Basics {
        Basics {
            name: "asgd",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        vec![
            Slot::like("ax", shape),
            Slot::scalar("eta", self.lr),
            Slot::scalar("mu", 1.0),
        ]
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("asgd", "lr", self.lr)?;
        require_not_negative("asgd", "lambd", self.lambd)?;
        require_not_negative("asgd", "alpha", self.alpha)?;
        require(!self.t0.is_nan(), "asgd", "t0", "a number", self.t0)?;
        require_not_negative("asgd", "weight_decay", self.weight_decay)
    }
    fn update(&self, mut at: Update<'_>) -> candle_core::Result<()> {
        let (lr, step) = (at.lr, at.step as f64);
        if at.step == 1 {
            // The rate of the group and of the schedule, which the slot did not know.
            at.set_scalar(ETA, lr)?;
        }
        let (eta, mu) = (at.scalar(ETA)?, at.scalar(MU)?);
        at.set_scalar(ETA, lr / (1.0 + self.lambd * lr * step).powf(self.alpha))?;
        at.set_scalar(MU, 1.0 / (step - self.t0).max(1.0))?;
        let now = Now {
            kept: 1.0 - self.lambd * eta,
            eta,
            mu,
            weight_decay: at.weight_decay,
        };
        at.elementwise::<1, _>(&now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    kept: f64,
    eta: f64,
    mu: f64,
    weight_decay: f64,
}

impl Kernel<1> for Now {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, [mean]: [R; 1]) -> (R, [R; 1]) {
        let g = g.add_scaled(&theta, self.weight_decay);
        let theta = theta.scale(self.kept) - g.scale(self.eta);
        let mean = match self.mu == 1.0 {
            true => theta.clone(),
            false => mean.clone() + (theta.clone() - mean).scale(self.mu),
        };
        (theta, [mean])
    }
}
