//! NovoGrad.

use serde::{Deserialize, Serialize};

use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Decay, Descent, Gauge, Real, Result, Rule, Slot, Update, WeightDecay};

/// NovoGrad: momentum of gradients that are divided by the running norm of the parameter's gradient
/// (Ginsburg et al., 2019). Half of Adam's memory.
///
/// ```text
/// vₜ = β₂ vₜ₋₁ + (1 − β₂) ‖gₜ‖²                  (v₁ = ‖g₁‖²)
/// gₜ ← gₜ / (√vₜ + ε) + λ θₜ₋₁ (L2),   θₜ₋₁ ← (1 − η λ) θₜ₋₁ (decoupled)
/// mₜ = β₁ mₜ₋₁ + gₜ                              (m₁ = g₁; averaging: + (1 − β₁) gₜ)
/// θₜ = θₜ₋₁ − η mₜ
/// ```
///
/// One pass reads the gradient for its norm, one updates.
///
/// Source: B. Ginsburg, P. Castonguay, O. Hrinchuk, O. Kuchaiev, V. Lavrukhin, R. Leary, J. Li,
/// H. Nguyen, Y. Zhang, J. Cohen, 2019, Stochastic Gradient Methods with Layer-wise Adaptive Moments
/// for Training of Deep Networks.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{NovoGrad, Optimizer};
/// let x = Var::new(&[3.0_f64, 4.0], &Device::Cpu)?;
/// let rule = NovoGrad { lr: 1.0, ..NovoGrad::default() };
/// let mut novograd = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// novograd.step(&x.sqr()?.sum_all()?.backward()?)?; // η long: 3 − 6 / 10
/// assert!((x.to_vec1::<f64>()?[0] - 2.4).abs() < 1e-8);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NovoGrad {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Shares of the old momentum and the old squared norm that are kept, β₁ and β₂, each in `[0, 1)`.
    /// Default `(0.95, 0.98)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Weight decay λ, `>= 0`, and how it acts: `L2` adds it to the divided gradient. Default `L2(0)`.
    pub weight_decay: WeightDecay,
    /// Adds a share of 1 − β₁ of the gradient to the momentum. Default `false`.
    pub grad_averaging: bool,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for NovoGrad {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.95, 0.98),
            eps: 1e-8,
            weight_decay: WeightDecay::L2(0.0),
            grad_averaging: false,
            maximize: false,
        }
    }
}

/// The place of `grads_ema`, v, among the slots.
const SQUARE: usize = 1;

impl NovoGrad {
    /// Moves v and gives √v + ε.
    fn size(&self, at: &mut Update<'_>) -> candle_core::Result<f64> {
        let [square, _] = at.square_sums::<0, _>(&Gradient)?;
        let old = if at.step == 1 {
            square
        } else {
            at.scalar(SQUARE)?
        };
        at.set_scalar(SQUARE, old.lerp(square, 1.0 - self.betas.1))?;
        // Read back: it is what the slot can hold that divides.
        Ok(at.scalar(SQUARE)?.sqrt() + self.eps)
    }
}

impl Rule for NovoGrad {
    fn basics(&self) -> Basics {
        Basics {
            name: "novograd",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        vec![Slot::like("moments", shape), Slot::scalar("grads_ema", 0.0)]
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("novograd", "lr", self.lr)?;
        require_share("novograd", "betas.0", self.betas.0)?;
        require_share("novograd", "betas.1", self.betas.1)?;
        require_not_negative("novograd", "eps", self.eps)?;
        require_not_negative("novograd", "weight_decay", self.weight_decay.amount())
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, mut at: Update<'_>) -> candle_core::Result<()> {
        let size = self.size(&mut at)?;
        let Decay { kept, l2 } = self.weight_decay.decay(at.lr, at.weight_decay);
        let first = at.step == 1;
        let now = Now {
            lr: at.lr,
            share: if size == 0.0 { 0.0 } else { 1.0 / size },
            l2,
            kept: self.betas.0,
            added: match self.grad_averaging && !first {
                true => 1.0 - self.betas.0,
                false => 1.0,
            },
        };
        at.descend::<1, _>(Decay { kept, l2: 0.0 }, &now)
    }
}

#[derive(Clone, Copy)]
struct Gradient;

impl Gauge<0> for Gradient {
    #[inline(always)]
    fn apply<R: Real>(&self, _: R, g: R, _: [R; 0]) -> [R; 2] {
        let none = g.fill(0.0);
        [g, none]
    }
}

#[derive(Clone, Copy)]
struct Now {
    lr: f64,
    share: f64,
    l2: f64,
    kept: f64,
    added: f64,
}

impl Descent<1> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, theta: &R, g: R, [m]: [R; 1]) -> (R, [R; 1]) {
        let g = g.scale(self.share).add_scaled(theta, self.l2);
        let m = m.scale(self.kept) + g.scale(self.added);
        (m.clone().scale(self.lr), [m])
    }
}
