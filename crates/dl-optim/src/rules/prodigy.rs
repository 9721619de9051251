//! Prodigy.

use serde::{Deserialize, Serialize};

use super::distance::{Distance, bias_correction};
use crate::norm::total;
use crate::rule::{require, require_not_negative, require_share};
use crate::{Basics, Descent, Kernel, NormType, Real, Result, Rule, Slot, Update, WeightDecay};

/// Prodigy: Adam that finds its rate from how far it has come (Mishchenko and Defazio, 2024).
///
/// ```text
/// ρₜ = η dₜ cₜ                        cₜ = 1 or, with bias correction, √(1 − β₂ᵗ) / (1 − β₁ᵗ)
/// gₜ ← gₜ + λ θₜ                                                     (L2)
/// mₜ₊₁ = β₁ mₜ + (1 − β₁) dₜ gₜ,   vₜ₊₁ = β₂ vₜ + (1 − β₂) dₜ² gₜ²
/// rₜ₊₁ = β₃ rₜ + dₜ/d₀ ρₜ ⟨gₜ, θ₀ − θₜ⟩
/// sₜ₊₁ = β₃ sₜ + dₜ/d₀ ρₜ gₜ                                         (safeguard: dₜ in place of ρₜ)
/// d̂ₜ₊₁ = κ rₜ₊₁ / ‖sₜ₊₁‖₁,   dₜ₊₁: the largest d̂ so far, at most dₜ times the growth rate
/// θₜ₊₁ = (1 − ρₜ λ) θₜ − ρₜ mₜ₊₁ / (√vₜ₊₁ + dₜ₊₁ ε)                  (λ here: decoupled)
/// ```
///
/// d and r are one number each for all parameters of the rule; r and ‖s‖₁ are sums over all of them.
/// Leave the rate at 1 and schedule it as a factor; κ, `d_coef`, is what to tune. The scale of a group
/// multiplies its steps and its share of both sums, as `layer_scale` does in the authors'
/// [`DAdaptAdam`](crate::DAdaptAdam); their Prodigy knows no such scale and refuses rates that differ.
/// A step at a rate of 0, or with no gradient but zeros, changes nothing. The authors' `slice_p`, which
/// estimates from a part of the elements, is left out; what they give as infinite growth is `None`.
///
/// Source: K. Mishchenko, A. Defazio, 2024, Prodigy: An Expeditiously Adaptive Parameter-Free Learner;
/// numbers of `prodigyopt` 1.1.2.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Optimizer, Prodigy};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let mut prodigy = Optimizer::new([("x".to_string(), x.clone())], Prodigy::default())?;
/// for _ in 0..100 {
///     prodigy.step(&x.sqr()?.backward()?)?; // no rate was given
/// }
/// assert!(x.to_scalar::<f64>()?.abs() < 0.5);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prodigy {
    /// What the rate that is found is multiplied by, η, `>= 0`. Default `1`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Share of the old sums that is kept, β₃ in `[0, 1]`; `None` for √β₂. Default `None`.
    pub beta3: Option<f64>,
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Weight decay λ, `>= 0`, and how it acts. Default `Decoupled(0)`.
    pub weight_decay: WeightDecay,
    /// Corrects the bias of the moments as Adam does. Default `false`.
    pub use_bias_correction: bool,
    /// Leaves the rate out of s, for schedules that warm up. Default `false`.
    pub safeguard_warmup: bool,
    /// The first estimate of the distance, `> 0`. Default `1e-6`.
    pub d0: f64,
    /// What the estimate is multiplied by, κ, `>= 0`. Default `1`.
    pub d_coef: f64,
    /// The most that the estimate may grow by in a step, `>= 1`; `None` for any. Default `None`.
    pub growth_rate: Option<f64>,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Prodigy {
    fn default() -> Self {
        Self {
            lr: 1.0,
            betas: (0.9, 0.999),
            beta3: None,
            eps: 1e-8,
            weight_decay: WeightDecay::Decoupled(0.0),
            use_bias_correction: false,
            safeguard_warmup: false,
            d0: 1e-6,
            d_coef: 1.0,
            growth_rate: None,
            maximize: false,
        }
    }
}

impl Prodigy {
    fn distance(&self) -> Distance {
        Distance {
            d0: self.d0,
            growth_rate: self.growth_rate,
        }
    }

    fn beta3(&self) -> f64 {
        self.beta3.unwrap_or(self.betas.1.sqrt())
    }

    /// ρ at step `k`, from the estimate d and the rate.
    fn rate(&self, d: f64, k: f64, lr: f64) -> f64 {
        d * lr * bias_correction(self.use_bias_correction, self.betas, k)
    }
}

impl Rule for Prodigy {
    fn basics(&self) -> Basics {
        Basics {
            name: "prodigy",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        ["exp_avg", "exp_avg_sq", "s", "p0"]
            .map(|name| Slot::like(name, shape))
            .into()
    }
    fn validate(&self) -> Result<()> {
        let (owner, beta3) = ("prodigy", self.beta3());
        require_not_negative(owner, "lr", self.lr)?;
        require_share(owner, "betas.0", self.betas.0)?;
        require_share(owner, "betas.1", self.betas.1)?;
        let share = (0.0..=1.0).contains(&beta3);
        require(share, owner, "beta3", "in [0, 1]", beta3)?;
        require_not_negative(owner, "eps", self.eps)?;
        require_not_negative(owner, "weight_decay", self.weight_decay.amount())?;
        require_not_negative(owner, "d_coef", self.d_coef)?;
        self.distance().validate(owner)
    }
    fn shared(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("d", self.d0),
            ("d_max", self.d0),
            ("d_numerator", 0.0),
            ("d_before", self.d0),
            ("k", 0.0),
        ]
    }
    fn measure(&self, at: &mut Update<'_>) -> candle_core::Result<[f64; 2]> {
        if at.step == 1 {
            at.slots[3] = at.theta()?.copy()?;
        }
        if at.lr == 0.0 {
            return Ok([0.0; 2]);
        }
        let &[d, .., k] = at.shared else {
            candle_core::bail!("prodigy shares 5 numbers, got {}", at.shared.len());
        };
        let scale = at.lr_scale;
        let rate = self.rate(d, k + 1.0, at.lr / scale);
        let weight = d / self.d0 * rate;
        let sums = Sums {
            l2: self.weight_decay.split(rate, at.weight_decay).1,
            betas: self.betas,
            beta3: self.beta3(),
            d,
            weight: if self.safeguard_warmup {
                d / self.d0 * d
            } else {
                weight
            },
        };
        let product = total(&at.evaluate::<4, _>(&sums)?)?;
        let size = NormType::L1.of([&at.slots[2]])?;
        Ok([scale * weight * product, scale * size])
    }
    fn agree(&self, shared: &mut [f64], sums: [f64; 2], _: f64) -> bool {
        let ([d, d_max, numerator, before, k], [product, size]) = (shared, sums) else {
            return false;
        };
        if size == 0.0 {
            return false;
        }
        *numerator = self.beta3() * *numerator + product;
        let found = self.d_coef * *numerator / size;
        *before = *d;
        let least = if *d == self.d0 { d.max(found) } else { *d };
        *d_max = d_max.max(found);
        *d = d_max.min(self.distance().limit(least));
        *k += 1.0;
        true
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let &[d, _, _, before, k] = at.shared else {
            candle_core::bail!("prodigy shares 5 numbers, got {}", at.shared.len());
        };
        let rate = self.rate(before, k, at.lr);
        let decay = self.weight_decay.decay(rate, at.weight_decay);
        let now = Now {
            rate,
            eps: d * self.eps,
        };
        match at.lr == 0.0 {
            true => Ok(()),
            false => at.leading::<2>()?.descend::<2, _>(decay, &now),
        }
    }
}

/// Moves the moments and s, and gives g (θ₀ − θ).
#[derive(Clone, Copy)]
struct Sums {
    l2: f64,
    betas: (f64, f64),
    beta3: f64,
    d: f64,
    weight: f64,
}

impl Kernel<4> for Sums {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, [m, v, s, start]: [R; 4]) -> (R, [R; 4]) {
        let ((beta1, beta2), d) = (self.betas, self.d);
        let g = g.add_scaled(&theta, self.l2);
        let m = m.scale(beta1) + g.clone().scale(d * (1.0 - beta1));
        let v = v.scale(beta2) + (g.clone() * g.clone()).scale(d * d * (1.0 - beta2));
        let s = s.scale(self.beta3) + g.clone().scale(self.weight);
        (g * (start.clone() - theta), [m, v, s, start])
    }
}

#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) rate: f64,
    pub(super) eps: f64,
}

impl Descent<2> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, _: R, [m, v]: [R; 2]) -> (R, [R; 2]) {
        let step = m.clone().scale(self.rate) / v.clone().sqrt().shift(self.eps);
        (step, [m, v])
    }
}
