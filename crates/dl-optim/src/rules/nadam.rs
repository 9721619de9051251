//! NAdam.

use serde::{Deserialize, Serialize};

use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Descent, Real, Result, Rule, Slot, Update, WeightDecay};

/// NAdam: Adam that looks one step ahead, as Nesterov's momentum does (Dozat, 2016).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁                          (L2)
/// θₜ₋₁ ← (1 − η λ) θₜ₋₁                     (decoupled)
/// μₜ = β₁ (1 − ½ · 0.96^(t ψ)),   Πₜ = Πₜ₋₁ μₜ,   Π₀ = 1
/// mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ
/// vₜ = β₂ vₜ₋₁ + (1 − β₂) gₜ²
/// aₜ = √(vₜ / (1 − β₂ᵗ)) + ε
/// θₜ = θₜ₋₁ − η (1 − μₜ) / (1 − Πₜ) · gₜ / aₜ − η μₜ₊₁ / (1 − Πₜ μₜ₊₁) · mₜ / aₜ
/// ```
///
/// As in PyTorch; Keras fixes ψ at 1.
///
/// Source: T. Dozat, 2016, Incorporating Nesterov Momentum into Adam.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{NAdam, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = NAdam { lr: 0.5, momentum_decay: 0.0, ..NAdam::default() }; // μ is 0.45 throughout
/// let mut nadam = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// nadam.step(&x.sqr()?.backward()?)?; // 3 − 0.5 · 1 − 0.5 · 0.45 / (1 − 0.45²) · 0.1
/// assert!((x.to_scalar::<f64>()? - 2.4717868).abs() < 1e-7);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NAdam {
    /// Learning rate η, `>= 0`. Default `2e-3`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Weight decay λ, `>= 0`, and how it acts. Default `L2(0)`.
    pub weight_decay: WeightDecay,
    /// How fast the momentum μ rises from β₁/2 to β₁, ψ, `>= 0`. Default `4e-3`.
    pub momentum_decay: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for NAdam {
    fn default() -> Self {
        Self {
            lr: 2e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: WeightDecay::L2(0.0),
            momentum_decay: 4e-3,
            maximize: false,
        }
    }
}

/// The place of `mu_product`, Π, among the slots.
const PRODUCT: usize = 2;

impl NAdam {
    fn momentum(&self, step: usize) -> f64 {
        let decayed = 0.96_f64.powf(step as f64 * self.momentum_decay);
        self.betas.0 * (1.0 - 0.5 * decayed)
    }

    fn now(&self, at: &Update<'_>, product: f64) -> Now {
        let (beta1, beta2) = self.betas;
        let (mu, next) = (self.momentum(at.step), self.momentum(at.step + 1));
        Now {
            beta1,
            beta2,
            eps: self.eps,
            correction: 1.0 / (1.0 - beta2.powf(at.step as f64)),
            gradient_rate: at.lr * (1.0 - mu) / (1.0 - product),
            moment_rate: at.lr * next / (1.0 - product * next),
        }
    }
}

impl Rule for NAdam {
    fn basics(&self) -> Basics {
        Basics {
            name: "nadam",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        vec![
            Slot::like("exp_avg", shape),
            Slot::like("exp_avg_sq", shape),
            Slot::scalar("mu_product", 1.0),
        ]
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("nadam", "lr", self.lr)?;
        require_share("nadam", "betas.0", self.betas.0)?;
        require_share("nadam", "betas.1", self.betas.1)?;
        require_not_negative("nadam", "eps", self.eps)?;
        require_not_negative("nadam", "weight_decay", self.weight_decay.amount())?;
        require_not_negative("nadam", "momentum_decay", self.momentum_decay)
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, mut at: Update<'_>) -> candle_core::Result<()> {
        at.set_scalar(PRODUCT, at.scalar(PRODUCT)? * self.momentum(at.step))?;
        // Read back: it is what the slot can hold that divides.
        let now = self.now(&at, at.scalar(PRODUCT)?);
        let decay = self.weight_decay.decay(at.lr, at.weight_decay);
        at.descend::<2, _>(decay, &now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    beta1: f64,
    beta2: f64,
    eps: f64,
    correction: f64,
    gradient_rate: f64,
    moment_rate: f64,
}

impl Descent<2> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [m, v]: [R; 2]) -> (R, [R; 2]) {
        let m = m.lerp(g.clone(), 1.0 - self.beta1);
        let v = v.scale(self.beta2) + g.clone().scale(1.0 - self.beta2) * g.clone();
        let a = v.clone().scale(self.correction).sqrt().shift(self.eps);
        let step = g.scale(self.gradient_rate) / a.clone();
        (step + m.clone().scale(self.moment_rate) / a, [m, v])
    }
}
