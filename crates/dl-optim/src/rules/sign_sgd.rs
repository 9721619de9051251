//! SignSGD and Signum.

use serde::{Deserialize, Serialize};

use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Decay, Descent, Real, Result, Rule, Slot, Update};

/// The sign of the gradient, or with momentum of its running mean: Signum (Bernstein et al., 2018).
///
/// ```text
/// θₜ₋₁ ← (1 − η λ) θₜ₋₁
/// mₜ = μ mₜ₋₁ + (1 − μ) gₜ             (μ = 0: mₜ = gₜ)
/// θₜ = θₜ₋₁ − η sign(mₜ)
/// ```
///
/// The paper adds λ θ to the sign, which is the same.
///
/// Source: J. Bernstein, Y. Wang, K. Azizzadenesheli, A. Anandkumar, 2018, signSGD: Compressed
/// Optimisation for Non-Convex Problems.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Optimizer, SignSgd};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = SignSgd { lr: 0.5, ..SignSgd::default() };
/// let mut signum = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// signum.step(&x.sqr()?.backward()?)?;
/// assert_eq!(x.to_scalar::<f64>()?, 2.5);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignSgd {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Share of the old mean that is kept, μ in `[0, 1)`. Default `0.9`; `0` is signSGD.
    pub momentum: f64,
    /// Decoupled weight decay λ, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for SignSgd {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            momentum: 0.9,
            weight_decay: 0.0,
            maximize: false,
        }
    }
}

impl Rule for SignSgd {
    fn basics(&self) -> Basics {
        Basics {
            name: "sign_sgd",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let mean = (self.momentum > 0.0).then(|| Slot::like("momentum_buffer", shape));
        mean.into_iter().collect()
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("sign_sgd", "lr", self.lr)?;
        require_share("sign_sgd", "momentum", self.momentum)?;
        require_not_negative("sign_sgd", "weight_decay", self.weight_decay)
    }
    fn can_be_cautious(&self) -> bool {
        self.momentum > 0.0
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let now = Now {
            lr: at.lr,
            momentum: self.momentum,
        };
        let decay = Decay::decoupled(at.lr, at.weight_decay);
        match self.momentum > 0.0 {
            true => at.descend::<1, _>(decay, &now),
            false => at.descend::<0, _>(decay, &now),
        }
    }
}

#[derive(Clone, Copy)]
struct Now {
    lr: f64,
    momentum: f64,
}

impl Descent<0> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, _: [R; 0]) -> (R, [R; 0]) {
        (g.sign().scale(self.lr), [])
    }
}

impl Descent<1> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [m]: [R; 1]) -> (R, [R; 1]) {
        let m = m.lerp(g, 1.0 - self.momentum);
        (m.clone().sign().scale(self.lr), [m])
    }
}
