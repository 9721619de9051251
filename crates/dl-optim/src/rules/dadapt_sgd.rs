//! SGD by D-Adaptation.

use serde::{Deserialize, Serialize};

use super::distance::Distance;
use crate::norm::total;
use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Kernel, NormType, Real, Result, Rule, Slot, Update};

/// SGD with momentum that finds its rate by D-Adaptation (Defazio and Mishchenko, 2023).
///
/// ```text
/// ρₖ = η dₖ / ‖g₀‖                    (of all parameters, before decay)
/// gₖ ← gₖ + λ θₖ
/// rₖ₊₁ = rₖ + ρₖ ⟨gₖ, sₖ⟩,   sₖ₊₁ = sₖ + ρₖ gₖ
/// d̂ₖ₊₁ = 2 rₖ₊₁ / ‖sₖ₊₁‖,   dₖ₊₁ = max(dₖ, min(d̂ₖ₊₁, dₖ times the growth rate))
/// θₖ₊₁ = μ θₖ + (1 − μ) (θ₀ − sₖ₊₁)
/// ```
///
/// d, r and ‖g₀‖ are one number each for all parameters of the rule; r and ‖s‖ are over all of them.
/// Leave the rate at 1 and schedule it as a factor. The scale q of a group, which the authors do not
/// have, multiplies its step, θ₀ − q sₖ₊₁, and its share of ⟨g, s⟩ and ‖s‖². A step at a rate of 0, or
/// at the beginning with no gradient but zeros, changes nothing. What the authors give as infinite
/// growth is `None`. Their z is θ₀ − s and is not stored.
///
/// Source: A. Defazio, K. Mishchenko, 2023, Learning-Rate-Free Learning by D-Adaptation; numbers of
/// `dadaptation` 3.2.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{DAdaptSgd, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let mut sgd = Optimizer::new([("x".to_string(), x.clone())], DAdaptSgd::default())?;
/// for _ in 0..200 {
///     sgd.step(&x.sqr()?.backward()?)?; // no rate was given
/// }
/// assert!(x.to_scalar::<f64>()?.abs() < 1.0);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DAdaptSgd {
    /// What the rate that is found is multiplied by, η, `>= 0`. Default `1`.
    pub lr: f64,
    /// Share of the old place that is kept, μ in `[0, 1)`. Default `0`.
    pub momentum: f64,
    /// Weight decay λ, added to the gradient, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// The first estimate of the distance, `> 0`. Default `1e-6`.
    pub d0: f64,
    /// The most that the estimate may grow by in a step, `>= 1`; `None` for any. Default `None`.
    pub growth_rate: Option<f64>,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for DAdaptSgd {
    fn default() -> Self {
        Self {
            lr: 1.0,
            momentum: 0.0,
            weight_decay: 0.0,
            d0: 1e-6,
            growth_rate: None,
            maximize: false,
        }
    }
}

impl DAdaptSgd {
    fn distance(&self) -> Distance {
        Distance {
            d0: self.d0,
            growth_rate: self.growth_rate,
        }
    }
}

impl Rule for DAdaptSgd {
    fn basics(&self) -> Basics {
        Basics {
            name: "dadapt_sgd",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        ["s", "x0"].map(|name| Slot::like(name, shape)).into()
    }
    fn validate(&self) -> Result<()> {
        let owner = "dadapt_sgd";
        require_not_negative(owner, "lr", self.lr)?;
        require_share(owner, "momentum", self.momentum)?;
        require_not_negative(owner, "weight_decay", self.weight_decay)?;
        self.distance().validate(owner)
    }
    fn shared(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("d", self.d0),
            ("numerator_weighted", 0.0),
            ("g0_norm", 0.0),
            ("k", 0.0),
        ]
    }
    fn measure(&self, at: &mut Update<'_>) -> candle_core::Result<[f64; 2]> {
        if at.step == 1 {
            at.slots[1] = at.theta()?.copy()?;
        }
        let &[d, _, norm, k] = at.shared else {
            candle_core::bail!("dadapt_sgd shares 4 numbers, got {}", at.shared.len());
        };
        if at.lr == 0.0 {
            return Ok([0.0; 2]);
        }
        // ‖g₀‖ is not known before all were asked: s follows in the update, and ⟨g, s⟩ is 0.
        if k == 0.0 {
            // Contiguous: a norm adds in the order of memory.
            let norm = NormType::L2.of([&at.gradient()?.contiguous()?])?;
            return Ok([0.0, norm.powi(2)]);
        }
        let scale = at.lr_scale;
        let rate = d * at.lr / scale / norm;
        let l2 = at.weight_decay;
        let product = total(&at.evaluate::<2, _>(&Sum { rate, l2 })?)?;
        let square = NormType::L2.of([&at.slots[0]])?.powi(2);
        Ok([scale * rate * product, scale * square])
    }
    fn agree(&self, shared: &mut [f64], [product, square]: [f64; 2], _: f64) -> bool {
        let [d, numerator, norm, k] = shared else {
            return false;
        };
        if square == 0.0 {
            return false;
        }
        if *k == 0.0 {
            *norm = square.sqrt();
        } else {
            *numerator += product;
            let found = 2.0 * *numerator / square.sqrt();
            *d = d.max(found.min(self.distance().limit(*d)));
        }
        *k += 1.0;
        true
    }
    fn update(&self, mut at: Update<'_>) -> candle_core::Result<()> {
        let &[d, _, norm, k] = at.shared else {
            candle_core::bail!("dadapt_sgd shares 4 numbers, got {}", at.shared.len());
        };
        if at.lr == 0.0 {
            return Ok(());
        }
        if k == 1.0 {
            let (rate, l2) = (d * at.lr / at.lr_scale / norm, at.weight_decay);
            at.evaluate::<2, _>(&Sum { rate, l2 })?;
        }
        let now = Now {
            momentum: self.momentum,
            scale: at.lr_scale,
        };
        at.elementwise::<2, _>(&now)
    }
}

/// Moves s, and gives g s from what s was.
#[derive(Clone, Copy)]
struct Sum {
    rate: f64,
    l2: f64,
}

impl Kernel<2> for Sum {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, [s, start]: [R; 2]) -> (R, [R; 2]) {
        let g = g.add_scaled(&theta, self.l2);
        (g.clone() * s.clone(), [s + g.scale(self.rate), start])
    }
}

#[derive(Clone, Copy)]
struct Now {
    momentum: f64,
    scale: f64,
}

impl Kernel<2> for Now {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, _: R, [s, start]: [R; 2]) -> (R, [R; 2]) {
        let z = start.clone() - s.clone().scale(self.scale);
        let theta = theta.scale(self.momentum) + z.scale(1.0 - self.momentum);
        (theta, [s, start])
    }
}
