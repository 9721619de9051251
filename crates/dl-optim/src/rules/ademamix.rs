//! AdEMAMix.

use serde::{Deserialize, Serialize};

use crate::rule::{require, require_not_negative, require_share};
use crate::{Basics, Descent, Real, Result, Rule, Slot, Update, WeightDecay};

/// AdEMAMix: Adam with a second, slow first moment that remembers tens of thousands of gradients
/// (Pagliardini et al., 2024).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁ (L2),   θₜ₋₁ ← (1 − η λ) θₜ₋₁ (decoupled)
/// αₜ = min(α t / T, α),   ln β₃ₜ = ln β₁ ln β₃ / ((1 − t/T) ln β₃ + t/T ln β₁), at most ln β₃
/// mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ
/// nₜ = β₃ₜ nₜ₋₁ + (1 − β₃ₜ) gₜ
/// vₜ = β₂ vₜ₋₁ + (1 − β₂) gₜ²
/// θₜ = θₜ₋₁ − η (mₜ / (1 − β₁ᵗ) + αₜ nₜ) / (√vₜ / √(1 − β₂ᵗ) + ε)
/// ```
///
/// T is `t_alpha_beta3`, the warm-up of the slow moment and its share; without it both are constant,
/// where the paper warms them up over the whole run. Decay is decoupled as in the paper;
/// pytorch_optimizer's default adds it to the gradient.
///
/// Source: M. Pagliardini, P. Ablin, D. Grangier, 2024, The AdEMAMix Optimizer: Better, Faster, Older.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{AdEmaMix, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = AdEmaMix { lr: 0.5, ..AdEmaMix::default() };
/// let mut ademamix = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// ademamix.step(&x.sqr()?.backward()?)?; // 3 − 0.5 · (1 + 5 · 0.0001)
/// assert!((x.to_scalar::<f64>()? - 2.49975).abs() < 1e-8);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdEmaMix {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Shares of the old fast moment, the old squares and the old slow moment that are kept, β₁, β₂ and
    /// β₃, each in `[0, 1)`, β₁ and β₃ `> 0` with a warm-up. Default `(0.9, 0.999, 0.9999)`.
    pub betas: (f64, f64, f64),
    /// How much the slow moment counts, α, `>= 0`. Default `5`.
    pub alpha: f64,
    /// Steps T over which α and β₃ rise to their values, `> 0`; `None` for no warm-up. Default `None`.
    pub t_alpha_beta3: Option<f64>,
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Weight decay λ, `>= 0`, and how it acts. Default `Decoupled(0)`.
    pub weight_decay: WeightDecay,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for AdEmaMix {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999, 0.9999),
            alpha: 5.0,
            t_alpha_beta3: None,
            eps: 1e-8,
            weight_decay: WeightDecay::Decoupled(0.0),
            maximize: false,
        }
    }
}

impl AdEmaMix {
    /// αₜ and β₃ₜ.
    fn slow(&self, step: usize) -> (f64, f64) {
        let (fast, _, slow) = self.betas;
        let Some(steps) = self.t_alpha_beta3 else {
            return (self.alpha, slow);
        };
        let done = step as f64 / steps;
        if done >= 1.0 {
            return (self.alpha, slow);
        }
        let (ln_fast, ln_slow) = (fast.ln(), slow.ln());
        let ln = ln_fast * ln_slow / ((1.0 - done) * ln_slow + done * ln_fast);
        (self.alpha * done, ln.exp().min(slow))
    }

    fn now(&self, at: &Update<'_>) -> Now {
        let (beta1, beta2, _) = self.betas;
        let (alpha, beta3) = self.slow(at.step);
        Now {
            beta1,
            beta2,
            beta3,
            eps: self.eps,
            fast_rate: at.lr / (1.0 - beta1.powf(at.step as f64)),
            slow_rate: at.lr * alpha,
            correction: 1.0 / (1.0 - beta2.powf(at.step as f64)).sqrt(),
        }
    }
}

impl Rule for AdEmaMix {
    fn basics(&self) -> Basics {
        Basics {
            name: "ademamix",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let names = ["exp_avg", "exp_avg_slow", "exp_avg_sq"];
        names.map(|name| Slot::like(name, shape)).into()
    }
    fn validate(&self) -> Result<()> {
        let (owner, (beta1, beta2, beta3)) = ("ademamix", self.betas);
        require_not_negative(owner, "lr", self.lr)?;
        require_share(owner, "betas.0", beta1)?;
        require_share(owner, "betas.1", beta2)?;
        require_share(owner, "betas.2", beta3)?;
        if let Some(steps) = self.t_alpha_beta3 {
            let wanted = "in (0, 1) with a warm-up";
            require(steps > 0.0, owner, "t_alpha_beta3", "> 0", steps)?;
            require(beta1 > 0.0, owner, "betas.0", wanted, beta1)?;
            require(beta3 > 0.0, owner, "betas.2", wanted, beta3)?;
        }
        require_not_negative(owner, "alpha", self.alpha)?;
        require_not_negative(owner, "eps", self.eps)?;
        require_not_negative(owner, "weight_decay", self.weight_decay.amount())
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let now = self.now(&at);
        let decay = self.weight_decay.decay(at.lr, at.weight_decay);
        at.descend::<3, _>(decay, &now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    beta1: f64,
    beta2: f64,
    beta3: f64,
    eps: f64,
    fast_rate: f64,
    slow_rate: f64,
    correction: f64,
}

impl Descent<3> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [m, n, v]: [R; 3]) -> (R, [R; 3]) {
        let m = m.lerp(g.clone(), 1.0 - self.beta1);
        let n = n.lerp(g.clone(), 1.0 - self.beta3);
        let v = v.scale(self.beta2) + g.clone().scale(1.0 - self.beta2) * g;
        let step = m.clone().scale(self.fast_rate) + n.clone().scale(self.slow_rate);
        let size = v.clone().sqrt().scale(self.correction).shift(self.eps);
        (step / size, [m, n, v])
    }
}
