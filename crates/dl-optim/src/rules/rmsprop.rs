//! RMSProp, plain, centred and with momentum.

use serde::{Deserialize, Serialize};

use crate::rule::require_not_negative;
use crate::{Basics, Decay, Descent, Real, Result, Rule, Slot, Update};

/// RMSProp: steps divided by the running size of the gradient (Tieleman and Hinton, 2012).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁
/// sₜ = α sₜ₋₁ + (1 − α) gₜ²
/// ḡₜ = α ḡₜ₋₁ + (1 − α) gₜ            (centred)
/// aₜ = √sₜ + ε                         (centred: √(sₜ − ḡₜ²) + ε)
/// bₜ = μ bₜ₋₁ + gₜ / aₜ               (with momentum; else bₜ = gₜ / aₜ)
/// θₜ = θₜ₋₁ − η bₜ
/// ```
///
/// As in PyTorch, ε is added after the root, and sₜ − ḡₜ² is not kept from turning negative by
/// rounding; Keras and TensorFlow add ε under the root.
///
/// Source: T. Tieleman, G. Hinton, 2012, Lecture 6.5: RMSProp, Coursera.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Optimizer, RmsProp};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let mut rmsprop = Optimizer::new([("x".to_string(), x.clone())], RmsProp::default())?;
/// rmsprop.step(&x.sqr()?.backward()?)?; // 3 − 0.01 · 6 / √(0.01 · 36)
/// assert!((x.to_scalar::<f64>()? - 2.9).abs() < 1e-8);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RmsProp {
    /// Learning rate η, `>= 0`. Default `1e-2`.
    pub lr: f64,
    /// Share of the old size that is kept, α, `>= 0`. Default `0.99`.
    pub alpha: f64,
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Weight decay λ, added to the gradient, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Share of the old step that is kept, μ, `>= 0`. Default `0`.
    pub momentum: f64,
    /// Divides by the standard deviation instead of the root mean square. Default `false`.
    pub centered: bool,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for RmsProp {
    fn default() -> Self {
        Self {
            lr: 1e-2,
            alpha: 0.99,
            eps: 1e-8,
            weight_decay: 0.0,
            momentum: 0.0,
            centered: false,
            maximize: false,
        }
    }
}

impl Rule for RmsProp {
    fn basics(&self) -> Basics {
        Basics {
            name: "rmsprop",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let momentum = (self.momentum > 0.0).then_some("momentum_buffer");
        let centered = self.centered.then_some("grad_avg");
        let names = [Some("square_avg"), momentum, centered];
        names
            .into_iter()
            .flatten()
            .map(|name| Slot::like(name, shape))
            .collect()
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("rmsprop", "lr", self.lr)?;
        require_not_negative("rmsprop", "alpha", self.alpha)?;
        require_not_negative("rmsprop", "eps", self.eps)?;
        require_not_negative("rmsprop", "weight_decay", self.weight_decay)?;
        require_not_negative("rmsprop", "momentum", self.momentum)
    }
    fn can_be_cautious(&self) -> bool {
        self.momentum > 0.0
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let (lr, decay) = (at.lr, Decay::l2(at.weight_decay));
        let (alpha, eps, momentum) = (self.alpha, self.eps, self.momentum);
        let now = Now {
            lr,
            alpha,
            eps,
            momentum,
        };
        match (self.momentum > 0.0, self.centered) {
            (false, false) => at.descend::<1, _>(decay, &now),
            (true, false) => at.descend::<2, _>(decay, &now),
            (false, true) => at.descend::<2, _>(decay, &Centered(now)),
            (true, true) => at.descend::<3, _>(decay, &Centered(now)),
        }
    }
}

#[derive(Clone, Copy)]
struct Now {
    lr: f64,
    alpha: f64,
    eps: f64,
    momentum: f64,
}

#[derive(Clone, Copy)]
struct Centered(Now);

impl Now {
    #[inline(always)]
    fn square<R: Real>(&self, g: &R, s: R) -> R {
        s.scale(self.alpha) + g.clone().scale(1.0 - self.alpha) * g.clone()
    }

    #[inline(always)]
    fn plain<R: Real>(&self, g: R, a: R) -> R {
        g.scale(self.lr) / a.shift(self.eps)
    }

    #[inline(always)]
    fn heavy<R: Real>(&self, g: R, a: R, b: R) -> (R, R) {
        let b = b.scale(self.momentum) + g / a.shift(self.eps);
        (b.clone().scale(self.lr), b)
    }
}

impl Descent<1> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [s]: [R; 1]) -> (R, [R; 1]) {
        let s = self.square(&g, s);
        (self.plain(g, s.clone().sqrt()), [s])
    }
}

impl Descent<2> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [s, b]: [R; 2]) -> (R, [R; 2]) {
        let s = self.square(&g, s);
        let (step, b) = self.heavy(g, s.clone().sqrt(), b);
        (step, [s, b])
    }
}

impl Centered {
    /// The running mean of the gradient and the running deviation from it.
    #[inline(always)]
    fn deviation<R: Real>(&self, g: &R, s: &R, mean: R) -> (R, R) {
        let mean = mean.lerp(g.clone(), 1.0 - self.0.alpha);
        let deviation = (s.clone() - mean.clone() * mean.clone()).sqrt();
        (mean, deviation)
    }
}

impl Descent<2> for Centered {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [s, mean]: [R; 2]) -> (R, [R; 2]) {
        let s = self.0.square(&g, s);
        let (mean, a) = self.deviation(&g, &s, mean);
        (self.0.plain(g, a), [s, mean])
    }
}

impl Descent<3> for Centered {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [s, b, mean]: [R; 3]) -> (R, [R; 3]) {
        let s = self.0.square(&g, s);
        let (mean, a) = self.deviation(&g, &s, mean);
        let (step, b) = self.0.heavy(g, a, b);
        (step, [s, b, mean])
    }
}
