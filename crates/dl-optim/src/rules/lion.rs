//! Lion.

use serde::{Deserialize, Serialize};

use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Decay, Descent, Real, Result, Rule, Slot, Update};

/// Lion: the sign of an interpolated moment, which a second share then carries on (Chen et al.,
/// 2023). Half of Adam's memory; rates are three to ten times smaller and decays as much larger.
///
/// ```text
/// θₜ₋₁ ← (1 − η λ) θₜ₋₁
/// cₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ
/// θₜ = θₜ₋₁ − η sign(cₜ)
/// mₜ = β₂ mₜ₋₁ + (1 − β₂) gₜ
/// ```
///
/// Source: X. Chen et al., 2023, Symbolic Discovery of Optimization Algorithms.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Lion, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = Lion { lr: 0.5, ..Lion::default() };
/// let mut lion = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// lion.step(&x.sqr()?.backward()?)?; // one η, whatever the gradient
/// assert_eq!(x.to_scalar::<f64>()?, 2.5);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lion {
    /// Learning rate η, `>= 0`. Default `1e-4`.
    pub lr: f64,
    /// Shares of the old moment that are kept in the step and in the moment, β₁ and β₂, each in
    /// `[0, 1)`. Default `(0.9, 0.99)`.
    pub betas: (f64, f64),
    /// Decoupled weight decay λ, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Lion {
    fn default() -> Self {
        Self {
            lr: 1e-4,
            betas: (0.9, 0.99),
            weight_decay: 0.0,
            maximize: false,
        }
    }
}

impl Rule for Lion {
    fn basics(&self) -> Basics {
        Basics {
            name: "lion",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        vec![Slot::like("exp_avg", shape)]
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("lion", "lr", self.lr)?;
        require_share("lion", "betas.0", self.betas.0)?;
        require_share("lion", "betas.1", self.betas.1)?;
        require_not_negative("lion", "weight_decay", self.weight_decay)
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let now = Now {
            lr: at.lr,
            beta1: self.betas.0,
            beta2: self.betas.1,
        };
        let decay = Decay::decoupled(at.lr, at.weight_decay);
        at.descend::<1, _>(decay, &now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    lr: f64,
    beta1: f64,
    beta2: f64,
}

impl Descent<1> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [m]: [R; 1]) -> (R, [R; 1]) {
        let c = m.clone().lerp(g.clone(), 1.0 - self.beta1);
        (c.sign().scale(self.lr), [m.lerp(g, 1.0 - self.beta2)])
    }
}
