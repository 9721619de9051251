//! LARS.

use serde::{Deserialize, Serialize};

use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Decay, Descent, Gauge, Real, Result, Rule, Slot, Update};

/// LARS: momentum whose gradients are in each matrix as long as a share of the matrix (You et al.,
/// 2017). For batches of thousands.
///
/// ```text
/// rₜ = κ ‖θₜ₋₁‖ / (‖gₜ‖ + λ ‖θₜ₋₁‖)           (1 where a norm is 0)
/// gₜ ← rₜ (gₜ + λ θₜ₋₁)                        (vectors and scalars: gₜ)
/// vₜ = μ vₜ₋₁ + (1 − τ) gₜ
/// θₜ = θₜ₋₁ − η vₜ                              (Nesterov: − η (gₜ + μ vₜ))
/// ```
///
/// κ is `trust_coefficient`, τ `dampening`. As in pytorch_optimizer, the rate multiplies the velocity,
/// as in [`Sgd`](crate::Sgd), and vectors and scalars are neither scaled nor decayed; in the paper the
/// rate is part of the velocity and every parameter is scaled. One pass reads for the norms, one
/// updates.
///
/// Source: Y. You, I. Gitman, B. Ginsburg, 2017, Large Batch Training of Convolutional Networks.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Lars, Optimizer};
/// let x = Var::new(&[[3.0_f64, 4.0]], &Device::Cpu)?;
/// let rule = Lars { lr: 1.0, trust_coefficient: 0.5, ..Lars::default() };
/// let mut lars = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// lars.step(&x.sqr()?.sum_all()?.backward()?)?; // 3 − 0.5 · 5 / 10 · 6
/// assert!((x.to_vec2::<f64>()?[0][0] - 1.5).abs() < 1e-12);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lars {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Weight decay λ, added to the gradient of matrices, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Share of the old velocity that is kept, μ in `[0, 1)`. Default `0.9`.
    pub momentum: f64,
    /// Share of the new gradient that is left out, τ in `[0, 1)`. Default `0`.
    pub dampening: f64,
    /// How long a gradient becomes, in lengths of the parameter, κ, `>= 0`. Default `1e-3`.
    pub trust_coefficient: f64,
    /// Looks one step ahead along the velocity. Default `false`.
    pub nesterov: bool,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Lars {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            weight_decay: 0.0,
            momentum: 0.9,
            dampening: 0.0,
            trust_coefficient: 1e-3,
            nesterov: false,
            maximize: false,
        }
    }
}

impl Lars {
    /// r, from the squared norms of θ and g.
    fn trust(&self, [theta, g]: [f64; 2], weight_decay: f64) -> f64 {
        let (theta, g) = (theta.sqrt(), g.sqrt());
        let below = g + weight_decay * theta;
        match theta == 0.0 || below == 0.0 {
            true => 1.0,
            false => self.trust_coefficient * theta / below,
        }
    }
}

impl Rule for Lars {
    fn basics(&self) -> Basics {
        Basics {
            name: "lars",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let velocity = (self.momentum > 0.0).then(|| Slot::like("momentum_buffer", shape));
        velocity.into_iter().collect()
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("lars", "lr", self.lr)?;
        require_not_negative("lars", "weight_decay", self.weight_decay)?;
        require_share("lars", "momentum", self.momentum)?;
        require_share("lars", "dampening", self.dampening)?;
        require_not_negative("lars", "trust_coefficient", self.trust_coefficient)
    }
    fn can_be_cautious(&self) -> bool {
        self.momentum > 0.0
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let matrix = at.theta()?.rank() > 1;
        let (trust, decay) = match matrix {
            true => (
                self.trust(at.square_sums::<0, _>(&Norms)?, at.weight_decay),
                Decay::l2(at.weight_decay),
            ),
            false => (1.0, Decay::NONE),
        };
        let now = Now {
            lr: at.lr,
            trust,
            momentum: self.momentum,
            added: 1.0 - self.dampening,
            nesterov: self.nesterov,
        };
        match self.momentum > 0.0 {
            true => at.descend::<1, _>(decay, &now),
            false => at.descend::<0, _>(decay, &now),
        }
    }
}

#[derive(Clone, Copy)]
struct Norms;

impl Gauge<0> for Norms {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, _: [R; 0]) -> [R; 2] {
        [theta, g]
    }
}

#[derive(Clone, Copy)]
struct Now {
    lr: f64,
    trust: f64,
    momentum: f64,
    added: f64,
    nesterov: bool,
}

impl Descent<0> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, _: [R; 0]) -> (R, [R; 0]) {
        (g.scale(self.trust).scale(self.lr), [])
    }
}

impl Descent<1> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [v]: [R; 1]) -> (R, [R; 1]) {
        let g = g.scale(self.trust);
        let v = v.scale(self.momentum) + g.clone().scale(self.added);
        let u = match self.nesterov {
            true => g + v.clone().scale(self.momentum),
            false => v.clone(),
        };
        (u.scale(self.lr), [v])
    }
}
