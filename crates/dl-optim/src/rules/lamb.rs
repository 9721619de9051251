//! LAMB.

use serde::{Deserialize, Serialize};

use crate::rule::{require, require_not_negative, require_share};
use crate::{Basics, Decay, Descent, Gauge, Real, Result, Rule, Slot, Update};

/// LAMB: Adam's direction, in each parameter as long as a share of the parameter (You et al., 2020).
/// For batches of thousands.
///
/// ```text
/// mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ,   vₜ = β₂ vₜ₋₁ + (1 − β₂) gₜ²
/// uₜ = mₜ / (1 − β₁ᵗ) / (√vₜ / √(1 − β₂ᵗ) + ε) + λ θₜ₋₁
/// θₜ = θₜ₋₁ − η min(‖θₜ₋₁‖, φ) / ‖uₜ‖ · uₜ         (η uₜ where a norm is 0)
/// ```
///
/// φ is `max_norm`. As in the paper's second algorithm and in optax; pytorch_optimizer
/// divides the rate by 1 − β₁ᵗ instead of the moments, fixes φ at 10 and adds ε to ‖uₜ‖. Every
/// parameter is scaled, vectors too: give biases and norms another rule with a
/// [`Group`](crate::Group), as TensorFlow's does, if they are not to be. The common norm that apex
/// and timm clip first is [`Clip::Norm`](crate::Clip). One pass reads for the norms, one updates.
///
/// Source: Y. You, J. Li, S. Reddi, J. Hseu, S. Kumar, S. Bhojanapalli, X. Song, J. Demmel,
/// K. Keutzer, C. Hsieh, 2020, Large Batch Optimization for Deep Learning: Training BERT in 76
/// Minutes.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Lamb, Optimizer};
/// let x = Var::new(&[3.0_f64, 4.0], &Device::Cpu)?;
/// let rule = Lamb { lr: 0.1, ..Lamb::default() };
/// let mut lamb = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// lamb.step(&x.sqr()?.sum_all()?.backward()?)?; // u is (1, 1): 3 − 0.1 · 5 / √2
/// assert!((x.to_vec1::<f64>()?[0] - 2.646447).abs() < 1e-6);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lamb {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-6`.
    pub eps: f64,
    /// Weight decay λ, part of the direction, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Divides the moments by 1 − βᵗ. Default `true`.
    pub bias_correction: bool,
    /// The largest norm of a parameter that counts, φ, `> 0`; `None` for no limit. Default `None`.
    pub max_norm: Option<f64>,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Lamb {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-6,
            weight_decay: 0.0,
            bias_correction: true,
            max_norm: None,
            maximize: false,
        }
    }
}

impl Lamb {
    fn direction(&self, at: &Update<'_>) -> Direction {
        let (beta1, beta2) = self.betas;
        let left = |beta: f64| match self.bias_correction {
            true => 1.0 - beta.powf(at.step as f64),
            false => 1.0,
        };
        Direction {
            beta1,
            beta2,
            eps: self.eps,
            weight_decay: at.weight_decay,
            first: 1.0 / left(beta1),
            second: 1.0 / left(beta2).sqrt(),
        }
    }

    /// By what the direction is multiplied, from the squared norms of θ and u.
    fn trust(&self, [theta, u]: [f64; 2]) -> f64 {
        if theta == 0.0 || u == 0.0 {
            return 1.0;
        }
        let theta = theta.sqrt();
        self.max_norm.map_or(theta, |most| theta.min(most)) / u.sqrt()
    }
}

impl Rule for Lamb {
    fn basics(&self) -> Basics {
        Basics {
            name: "lamb",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let names = ["exp_avg", "exp_avg_sq"];
        names.map(|name| Slot::like(name, shape)).into()
    }
    fn validate(&self) -> Result<()> {
        let most = self.max_norm.unwrap_or(1.0);
        require_not_negative("lamb", "lr", self.lr)?;
        require_share("lamb", "betas.0", self.betas.0)?;
        require_share("lamb", "betas.1", self.betas.1)?;
        require_not_negative("lamb", "eps", self.eps)?;
        require_not_negative("lamb", "weight_decay", self.weight_decay)?;
        require(most > 0.0, "lamb", "max_norm", "> 0", most)
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let direction = self.direction(&at);
        let rate = at.lr * self.trust(at.square_sums::<2, _>(&direction)?);
        at.descend::<2, _>(Decay::NONE, &Now { direction, rate })
    }
}

#[derive(Clone, Copy)]
struct Direction {
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    first: f64,
    second: f64,
}

impl Direction {
    /// u and both moments.
    #[inline(always)]
    fn of<R: Real>(&self, theta: &R, g: R, [m, v]: [R; 2]) -> (R, [R; 2]) {
        let m = m.lerp(g.clone(), 1.0 - self.beta1);
        let v = v.scale(self.beta2) + g.clone().scale(1.0 - self.beta2) * g;
        let size = v.clone().sqrt().scale(self.second).shift(self.eps);
        let u = m.clone().scale(self.first) / size;
        (u.add_scaled(theta, self.weight_decay), [m, v])
    }
}

impl Gauge<2> for Direction {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, slots: [R; 2]) -> [R; 2] {
        let (u, _) = self.of(&theta, g, slots);
        [theta, u]
    }
}

#[derive(Clone, Copy)]
struct Now {
    direction: Direction,
    rate: f64,
}

impl Descent<2> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, theta: &R, g: R, slots: [R; 2]) -> (R, [R; 2]) {
        let (u, slots) = self.direction.of(theta, g, slots);
        (u.scale(self.rate), slots)
    }
}
