//! Sophia.

use serde::{Deserialize, Serialize};

use crate::rule::{require_not_negative, require_share};
use crate::sweep::{Toward, combine};
use crate::{Basics, Descent, Real, Result, Rule, Slot, Update, WeightDecay};

/// Sophia: momentum divided by a running estimate of the Hessian's diagonal, element by element no
/// longer than ρ (Liu et al., 2024).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁ (L2),   θₜ₋₁ ← (1 − η λ) θₜ₋₁ (decoupled)
/// mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ
/// hₜ = β₂ hₜ₋₁ + (1 − β₂) ĥₜ                  (in steps with an estimate ĥ; else hₜ₋₁)
/// θₜ = θₜ₋₁ − η clip(mₜ / max(hₜ, ε), −ρ, ρ)
/// ```
///
/// ρ is `p`. Give an estimate every ten steps or so to
/// [`Optimizer::step_with_curvature`](crate::Optimizer::step_with_curvature):
/// [`hutchinson`](crate::hutchinson) makes SophiaH's from a Hessian-vector product. Where there never
/// was one, and where the curvature is not positive, steps are ηρ long. As in pytorch_optimizer; in
/// the paper the rate multiplies clip(m / max(γ h, ε), −1, 1).
///
/// Source: H. Liu, Z. Li, D. Hall, P. Liang, T. Ma, 2024, Sophia: A Scalable Stochastic Second-order
/// Optimizer for Language Model Pre-training.
///
/// ```
/// use candle_core::{Device, Var, backprop::GradStore};
/// use dl_optim::{Optimizer, Sophia};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = Sophia { lr: 1.0, betas: (0.0, 0.0), p: 10.0, ..Sophia::default() };
/// let mut sophia = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// let mut curvature = GradStore::default();
/// curvature.insert(&x, x.ones_like()?.affine(2.0, 0.0)?); // of x²
/// sophia.step_with_curvature(&x.sqr()?.backward()?, &curvature)?; // Newton's: 3 − 6 / 2
/// assert_eq!(x.to_scalar::<f64>()?, 0.0);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sophia {
    /// Learning rate η, `>= 0`. Default `6e-2`.
    pub lr: f64,
    /// Shares of the old momentum and the old estimate that are kept, β₁ and β₂, each in `[0, 1)`.
    /// Default `(0.96, 0.99)`.
    pub betas: (f64, f64),
    /// Weight decay λ, `>= 0`, and how it acts. Default `Decoupled(0)`.
    pub weight_decay: WeightDecay,
    /// The longest that an element of the quotient may be, ρ, `>= 0`. Default `1e-2`.
    pub p: f64,
    /// The least curvature that divides, ε, `>= 0`. Default `1e-12`.
    pub eps: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Sophia {
    fn default() -> Self {
        Self {
            lr: 6e-2,
            betas: (0.96, 0.99),
            weight_decay: WeightDecay::Decoupled(0.0),
            p: 1e-2,
            eps: 1e-12,
            maximize: false,
        }
    }
}

impl Rule for Sophia {
    fn basics(&self) -> Basics {
        Basics {
            name: "sophia",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        ["momentum", "hessian_moment"]
            .map(|name| Slot::like(name, shape))
            .into()
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("sophia", "lr", self.lr)?;
        require_share("sophia", "betas.0", self.betas.0)?;
        require_share("sophia", "betas.1", self.betas.1)?;
        require_not_negative("sophia", "weight_decay", self.weight_decay.amount())?;
        require_not_negative("sophia", "p", self.p)?;
        require_not_negative("sophia", "eps", self.eps)
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        if let ([_, h], Some(estimate)) = (&mut *at.slots, at.curvature) {
            let estimate = estimate.detach().to_dtype(h.dtype())?;
            let share = 1.0 - self.betas.1;
            *h = combine(h.clone(), &estimate, at.path, &Toward { share })?;
        }
        let decay = self.weight_decay.decay(at.lr, at.weight_decay);
        let now = Now {
            lr: at.lr,
            share: 1.0 - self.betas.0,
            limit: self.p,
            eps: self.eps,
        };
        at.descend::<2, _>(decay, &now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    lr: f64,
    share: f64,
    limit: f64,
    eps: f64,
}

impl Descent<2> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [m, h]: [R; 2]) -> (R, [R; 2]) {
        let m = m.lerp(g, self.share);
        let u = m.clone() / h.fill(self.eps).larger(h.clone());
        let u = u.clamp(-self.limit, self.limit);
        (u.scale(self.lr), [m, h])
    }
}
