//! Stochastic gradient descent with momentum.

use serde::{Deserialize, Serialize};

use crate::rule::{require, require_not_negative};
use crate::{Basics, Decay, Descent, Real, Result, Rule, Slot, Update};

/// Stochastic gradient descent, plain or with momentum (Polyak, 1964; Sutskever et al., 2013).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁
/// vₜ = μ vₜ₋₁ + (1 − δ) gₜ,   v₁ = g₁
/// uₜ = vₜ                     (Nesterov: gₜ + μ vₜ)
/// θₜ = θₜ₋₁ − η uₜ
/// ```
///
/// As in PyTorch the rate stands outside the velocity, and the first velocity is not dampened.
///
/// Source: I. Sutskever, J. Martens, G. Dahl, G. Hinton, 2013, On the importance of initialization
/// and momentum in deep learning.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Optimizer, Sgd};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let mut sgd = Optimizer::new([("x".to_string(), x.clone())], Sgd { lr: 0.25, ..Sgd::default() })?;
/// sgd.step(&x.sqr()?.backward()?)?; // 3 − 0.25 · 6
/// assert_eq!(x.to_scalar::<f64>()?, 1.5);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Share of the old velocity that is kept, μ, `>= 0`. Default `0`: no velocity.
    pub momentum: f64,
    /// Share of the new gradient that is left out of the velocity, δ. Default `0`.
    pub dampening: f64,
    /// Weight decay λ, added to the gradient, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Looks one step ahead along the velocity; needs momentum and no dampening. Default `false`.
    pub nesterov: bool,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
            maximize: false,
        }
    }
}

impl Rule for Sgd {
    fn basics(&self) -> Basics {
        Basics {
            name: "sgd",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let velocity = (self.momentum != 0.0).then(|| Slot::like("momentum_buffer", shape));
        velocity.into_iter().collect()
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("sgd", "lr", self.lr)?;
        require_not_negative("sgd", "momentum", self.momentum)?;
        require_not_negative("sgd", "weight_decay", self.weight_decay)?;
        require(
            self.dampening.is_finite(),
            "sgd",
            "dampening",
            "finite",
            self.dampening,
        )?;
        let (wanted, nesterov) = ("> 0 with nesterov", self.nesterov);
        require(
            !nesterov || self.momentum > 0.0,
            "sgd",
            "momentum",
            wanted,
            self.momentum,
        )?;
        let wanted = "0 with nesterov";
        require(
            !nesterov || self.dampening == 0.0,
            "sgd",
            "dampening",
            wanted,
            self.dampening,
        )
    }
    fn can_be_cautious(&self) -> bool {
        self.momentum != 0.0
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let first = at.step == 1;
        let now = Now {
            lr: at.lr,
            kept: if first { 0.0 } else { self.momentum },
            added: if first { 1.0 } else { 1.0 - self.dampening },
            ahead: self.nesterov.then_some(self.momentum),
        };
        let decay = Decay::l2(at.weight_decay);
        match self.momentum == 0.0 {
            true => at.descend::<0, _>(decay, &now),
            false => at.descend::<1, _>(decay, &now),
        }
    }
}

#[derive(Clone, Copy)]
struct Now {
    lr: f64,
    kept: f64,
    added: f64,
    ahead: Option<f64>,
}

impl Descent<0> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, _: [R; 0]) -> (R, [R; 0]) {
        (g.scale(self.lr), [])
    }
}

impl Descent<1> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [v]: [R; 1]) -> (R, [R; 1]) {
        let v = v.scale(self.kept) + g.clone().scale(self.added);
        let u = match self.ahead {
            Some(momentum) => g + v.clone().scale(momentum),
            None => v.clone(),
        };
        (u.scale(self.lr), [v])
    }
}
