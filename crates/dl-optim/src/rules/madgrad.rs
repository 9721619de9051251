//! MADGRAD.

use serde::{Deserialize, Serialize};

use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Kernel, Real, Result, Rule, Slot, Update, WeightDecay};

/// MADGRAD: dual averaging, each step from where the parameter began, divided by the cube root of the
/// squared gradients (Defazio and Jelassi, 2022).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁ (L2)
/// wₜ = η √t
/// sₜ = sₜ₋₁ + wₜ gₜ,   νₜ = νₜ₋₁ + wₜ gₜ²
/// zₜ = θ₀ − sₜ / (∛νₜ + ε)                      (0 instead of a division by 0)
/// θₜ = μ θₜ₋₁ + (1 − μ) zₜ − η λ θₜ₋₁ (decoupled)
/// ```
///
/// As in the authors' code ε is added to a rate that is not 0; and without momentum θ₀ is not stored,
/// but follows from θₜ₋₁. t counts the steps of a parameter; theirs counts the optimizer's. The
/// velocity is no step from where the parameter is, so this rule cannot be
/// [`Cautious`](crate::Cautious).
///
/// Source: A. Defazio, S. Jelassi, 2022, Adaptivity without Compromise: A Momentumized, Adaptive, Dual
/// Averaged Gradient Method for Stochastic Optimization.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{MadGrad, Optimizer};
/// let x = Var::new(4.0_f64, &Device::Cpu)?;
/// let rule = MadGrad { lr: 1.0, momentum: 0.5, eps: 0.0, ..MadGrad::default() };
/// let mut madgrad = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// madgrad.step(&x.sqr()?.backward()?)?; // half of the way to 4 − 8 / ∛64
/// assert!((x.to_scalar::<f64>()? - 3.0).abs() < 1e-12);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MadGrad {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Share of the old parameter that is kept, μ in `[0, 1)`. Default `0.9`.
    pub momentum: f64,
    /// Keeps the division finite, ε, `>= 0`. Default `1e-6`.
    pub eps: f64,
    /// Weight decay λ, `>= 0`, and how it acts. Default `L2(0)`.
    pub weight_decay: WeightDecay,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for MadGrad {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            momentum: 0.9,
            eps: 1e-6,
            weight_decay: WeightDecay::L2(0.0),
            maximize: false,
        }
    }
}

/// The place of `x0`, θ₀, among the slots.
const START: usize = 2;

impl Rule for MadGrad {
    fn basics(&self) -> Basics {
        Basics {
            name: "madgrad",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let names: &[_] = match self.momentum > 0.0 {
            true => &["grad_sum_sq", "s", "x0"],
            false => &["grad_sum_sq", "s"],
        };
        names.iter().map(|name| Slot::like(name, shape)).collect()
    }
    fn validate(&self) -> Result<()> {
        require_not_negative("madgrad", "lr", self.lr)?;
        require_share("madgrad", "momentum", self.momentum)?;
        require_not_negative("madgrad", "eps", self.eps)?;
        require_not_negative("madgrad", "weight_decay", self.weight_decay.amount())
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let lr = if at.lr == 0.0 { 0.0 } else { at.lr + self.eps };
        let (l2, lost) = match self.weight_decay {
            WeightDecay::L2(_) => (at.weight_decay, 0.0),
            WeightDecay::Decoupled(_) => (0.0, lr * at.weight_decay),
        };
        let now = Now {
            weight: lr * (at.step as f64).sqrt(),
            share: 1.0 - self.momentum,
            eps: self.eps,
            l2,
            lost,
        };
        if self.momentum == 0.0 {
            return at.elementwise::<2, _>(&now);
        }
        if at.step == 1 {
            at.slots[START] = at.theta()?.copy()?;
        }
        at.elementwise::<3, _>(&now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    weight: f64,
    share: f64,
    eps: f64,
    l2: f64,
    lost: f64,
}

impl Now {
    /// Moves ν and s.
    #[inline(always)]
    fn sums<R: Real>(&self, theta: &R, g: R, squares: R, sum: R) -> (R, R) {
        let g = g.add_scaled(theta, self.l2);
        let squares = squares + g.clone() * g.clone().scale(self.weight);
        (squares, sum + g.scale(self.weight))
    }

    /// s / (∛ν + ε).
    #[inline(always)]
    fn away<R: Real>(&self, squares: &R, sum: &R) -> R {
        let root = squares.clone().cbrt().shift(self.eps);
        let quotient = sum.clone() / root.clone();
        root.if_positive(quotient, sum.fill(0.0))
    }
}

impl Kernel<2> for Now {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, [squares, sum]: [R; 2]) -> (R, [R; 2]) {
        let start = theta.clone() + self.away(&squares, &sum);
        let (squares, sum) = self.sums(&theta, g, squares, sum);
        let z = start - self.away(&squares, &sum);
        (z - theta.scale(self.lost), [squares, sum])
    }
}

impl Kernel<3> for Now {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, [squares, sum, start]: [R; 3]) -> (R, [R; 3]) {
        let (squares, sum) = self.sums(&theta, g, squares, sum);
        let z = start.clone() - self.away(&squares, &sum);
        let next = theta.clone().lerp(z, self.share);
        (next - theta.scale(self.lost), [squares, sum, start])
    }
}
