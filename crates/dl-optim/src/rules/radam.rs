//! RAdam.

use serde::{Deserialize, Serialize};

use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Descent, Real, Result, Rule, Slot, Update, WeightDecay};

/// RAdam: Adam that does not trust the second moment before it has seen enough (Liu et al., 2020).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁                          (L2)
/// θₜ₋₁ ← (1 − η λ) θₜ₋₁                     (decoupled)
/// mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ
/// vₜ = β₂ vₜ₋₁ + (1 − β₂) gₜ²
/// ρ∞ = 2 / (1 − β₂) − 1,   ρₜ = ρ∞ − 2 t β₂ᵗ / (1 − β₂ᵗ)
/// rₜ = √((ρₜ − 4) (ρₜ − 2) ρ∞ / ((ρ∞ − 4) (ρ∞ − 2) ρₜ))
/// θₜ = θₜ₋₁ − η rₜ √(1 − β₂ᵗ) / (1 − β₁ᵗ) · mₜ / (√vₜ + ε)       (ρₜ > 5)
/// θₜ = θₜ₋₁ − η / (1 − β₁ᵗ) · mₜ                                 (else)
/// ```
///
/// As in PyTorch the threshold is 5, the paper's is 4. With β₂ = 0.999 the first five steps do not
/// adapt.
///
/// Source: L. Liu, H. Jiang, P. He, W. Chen, X. Liu, J. Gao, J. Han, 2020, On the Variance of the
/// Adaptive Learning Rate and Beyond.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Optimizer, RAdam};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = RAdam { lr: 0.25, ..RAdam::default() };
/// let mut radam = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// radam.step(&x.sqr()?.backward()?)?; // 3 − 0.25 · 6: not adapted yet
/// assert!((x.to_scalar::<f64>()? - 1.5).abs() < 1e-12);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RAdam {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Weight decay λ, `>= 0`, and how it acts. Default `L2(0)`.
    pub weight_decay: WeightDecay,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for RAdam {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: WeightDecay::L2(0.0),
            maximize: false,
        }
    }
}

/// rₜ √(1 − β₂ᵗ), once there is enough to estimate a variance from.
pub(super) fn rectification(beta2: f64, step: usize) -> Option<f64> {
    let t = step as f64;
    let power = beta2.powf(t);
    let most = 2.0 / (1.0 - beta2) - 1.0;
    let length = most - 2.0 * t * power / (1.0 - power);
    let above = (length - 4.0) * (length - 2.0) * most;
    let below = (most - 4.0) * (most - 2.0) * length;
    (length > 5.0).then(|| (above / below).sqrt() * (1.0 - power).sqrt())
}

impl RAdam {
    fn now(&self, at: &Update<'_>) -> Now {
        let (beta1, beta2) = self.betas;
        Now {
            beta1,
            beta2,
            eps: self.eps,
            rate: at.lr / (1.0 - beta1.powf(at.step as f64)),
            rectification: rectification(beta2, at.step),
        }
    }
}

impl Rule for RAdam {
    fn basics(&self) -> Basics {
        Basics {
            name: "radam",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let names = ["exp_avg", "exp_avg_sq"];
        names.map(|name| Slot::like(name, shape)).into()
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("radam", "lr", self.lr)?;
        require_share("radam", "betas.0", self.betas.0)?;
        require_share("radam", "betas.1", self.betas.1)?;
        require_not_negative("radam", "eps", self.eps)?;
        require_not_negative("radam", "weight_decay", self.weight_decay.amount())
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let now = self.now(&at);
        let decay = self.weight_decay.decay(at.lr, at.weight_decay);
        at.descend::<2, _>(decay, &now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    beta1: f64,
    beta2: f64,
    eps: f64,
    rate: f64,
    rectification: Option<f64>,
}

impl Descent<2> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [m, v]: [R; 2]) -> (R, [R; 2]) {
        let m = m.lerp(g.clone(), 1.0 - self.beta1);
        let v = v.scale(self.beta2) + g.clone().scale(1.0 - self.beta2) * g;
        let step = m.clone().scale(self.rate);
        let step = match self.rectification {
            Some(r) => step.scale(r) / v.clone().sqrt().shift(self.eps),
            None => step,
        };
        (step, [m, v])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_step_is_the_first_that_adapts() {
        let adapts = |step| rectification(0.999, step).is_some();
        assert!(!adapts(5) && adapts(6));
    }
}
