//! Adam by D-Adaptation.

use serde::{Deserialize, Serialize};

use super::distance::{Distance, bias_correction};
use super::prodigy::Now;
use crate::norm::total;
use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Kernel, NormType, Real, Result, Rule, Slot, Update, WeightDecay};

/// Adam that finds its rate by D-Adaptation (Defazio and Mishchenko, 2023).
///
/// ```text
/// ρₖ = η dₖ cₖ                  cₖ = 1 or, with bias correction, √(1 − β₂ᵏ⁺¹) / (1 − β₁ᵏ⁺¹)
/// gₖ ← gₖ + λ θₖ                                                     (L2)
/// rₖ₊₁ = √β₂ rₖ + (1 − √β₂) ρₖ ⟨gₖ, sₖ / (√vₖ + ε)⟩
/// mₖ₊₁ = β₁ mₖ + (1 − β₁) ρₖ gₖ,   vₖ₊₁ = β₂ vₖ + (1 − β₂) gₖ²
/// sₖ₊₁ = √β₂ sₖ + (1 − √β₂) ρₖ gₖ
/// d̂ₖ₊₁ = rₖ₊₁ / ((1 − √β₂) ‖sₖ₊₁‖₁),   dₖ₊₁ = max(dₖ, min(d̂ₖ₊₁, dₖ times the growth rate))
/// θₖ₊₁ = (1 − ρₖ λ) θₖ − mₖ₊₁ / (√vₖ₊₁ + ε)                          (λ here: decoupled)
/// ```
///
/// d and r are one number each for all parameters of the rule; r and ‖s‖₁ are sums over all of them.
/// Leave the rate at 1 and schedule it as a factor. The scale of a group is the authors' `layer_scale`:
/// it multiplies m's part of the gradient and the group's share of both sums. A step at a rate of 0, or
/// with no gradient but zeros, changes nothing. What the authors give as infinite growth is `None`.
///
/// Source: A. Defazio, K. Mishchenko, 2023, Learning-Rate-Free Learning by D-Adaptation; numbers of
/// `dadaptation` 3.2.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{DAdaptAdam, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let mut adam = Optimizer::new([("x".to_string(), x.clone())], DAdaptAdam::default())?;
/// for _ in 0..200 {
///     adam.step(&x.sqr()?.backward()?)?; // no rate was given
/// }
/// assert!(x.to_scalar::<f64>()?.abs() < 1.0);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DAdaptAdam {
    /// What the rate that is found is multiplied by, η, `>= 0`. Default `1`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Weight decay λ, `>= 0`, and how it acts. Default `L2(0)`.
    pub weight_decay: WeightDecay,
    /// Corrects the bias of the moments as Adam does. Default `false`.
    pub use_bias_correction: bool,
    /// The first estimate of the distance, `> 0`. Default `1e-6`.
    pub d0: f64,
    /// The most that the estimate may grow by in a step, `>= 1`; `None` for any. Default `None`.
    pub growth_rate: Option<f64>,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for DAdaptAdam {
    fn default() -> Self {
        Self {
            lr: 1.0,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: WeightDecay::L2(0.0),
            use_bias_correction: false,
            d0: 1e-6,
            growth_rate: None,
            maximize: false,
        }
    }
}

impl DAdaptAdam {
    fn distance(&self) -> Distance {
        Distance {
            d0: self.d0,
            growth_rate: self.growth_rate,
        }
    }

    /// ρ at step `k`, from the estimate d and the rate.
    fn rate(&self, d: f64, k: f64, lr: f64) -> f64 {
        d * lr * bias_correction(self.use_bias_correction, self.betas, k)
    }
}

impl Rule for DAdaptAdam {
    fn basics(&self) -> Basics {
        Basics {
            name: "dadapt_adam",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        ["exp_avg", "exp_avg_sq", "s"]
            .map(|name| Slot::like(name, shape))
            .into()
    }
    fn validate(&self) -> Result<()> {
        let owner = "dadapt_adam";
        require_not_negative(owner, "lr", self.lr)?;
        require_share(owner, "betas.0", self.betas.0)?;
        require_share(owner, "betas.1", self.betas.1)?;
        require_not_negative(owner, "eps", self.eps)?;
        require_not_negative(owner, "weight_decay", self.weight_decay.amount())?;
        self.distance().validate(owner)
    }
    fn shared(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("d", self.d0),
            ("numerator_weighted", 0.0),
            ("d_before", self.d0),
            ("k", 0.0),
        ]
    }
    fn measure(&self, at: &mut Update<'_>) -> candle_core::Result<[f64; 2]> {
        if at.lr == 0.0 {
            return Ok([0.0; 2]);
        }
        let &[d, .., k] = at.shared else {
            candle_core::bail!("dadapt_adam shares 4 numbers, got {}", at.shared.len());
        };
        let scale = at.lr_scale;
        let rate = self.rate(d, k + 1.0, at.lr / scale);
        let sums = Sums {
            l2: self.weight_decay.split(rate, at.weight_decay).1,
            betas: self.betas,
            eps: self.eps,
            rate,
            scale,
        };
        let product = total(&at.evaluate::<3, _>(&sums)?)?;
        let size = NormType::L1.of([&at.slots[2]])?;
        Ok([scale * rate * product, scale * size])
    }
    fn agree(&self, shared: &mut [f64], [product, size]: [f64; 2], _: f64) -> bool {
        let [d, numerator, before, k] = shared else {
            return false;
        };
        if size == 0.0 {
            return false;
        }
        let kept = self.betas.1.sqrt();
        *numerator = kept * *numerator + (1.0 - kept) * product;
        let found = *numerator / ((1.0 - kept) * size);
        *before = *d;
        *d = d.max(found.min(self.distance().limit(*d)));
        *k += 1.0;
        true
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let &[_, _, before, k] = at.shared else {
            candle_core::bail!("dadapt_adam shares 4 numbers, got {}", at.shared.len());
        };
        let rate = self.rate(before, k, at.lr / at.lr_scale);
        let decay = self.weight_decay.decay(rate, at.weight_decay);
        let now = Now {
            rate: 1.0,
            eps: self.eps,
        };
        match at.lr == 0.0 {
            true => Ok(()),
            false => at.leading::<2>()?.descend::<2, _>(decay, &now),
        }
    }
}

/// Moves the moments and s, and gives g s / (√v + ε) from what s and v were.
#[derive(Clone, Copy)]
struct Sums {
    l2: f64,
    betas: (f64, f64),
    eps: f64,
    rate: f64,
    scale: f64,
}

impl Kernel<3> for Sums {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, [m, v, s]: [R; 3]) -> (R, [R; 3]) {
        let ((beta1, beta2), kept) = (self.betas, self.betas.1.sqrt());
        let g = g.add_scaled(&theta, self.l2);
        let product = g.clone() * (s.clone() / v.clone().sqrt().shift(self.eps));
        let m = m.scale(beta1) + g.clone().scale(self.scale * self.rate * (1.0 - beta1));
        let v = v.scale(beta2) + (g.clone() * g.clone()).scale(1.0 - beta2);
        let s = s.scale(kept) + g.scale(self.rate * (1.0 - kept));
        (product, [m, v, s])
    }
}
