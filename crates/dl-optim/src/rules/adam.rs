//! Adam, with L2 or decoupled weight decay and AMSGrad.

use serde::{Deserialize, Serialize};

use crate::rule::{require_not_negative, require_share};
use crate::{Basics, Decay, Descent, Real, Result, Rule, Slot, Update};

/// How weight decay acts.
///
/// ```
/// use dl_optim::WeightDecay;
/// assert_eq!(WeightDecay::Decoupled(0.1).amount(), 0.1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightDecay {
    /// λθ is added to the gradient, and so passes through the moments.
    L2(f64),
    /// θ is multiplied by 1 − ηλ before the update (Loshchilov and Hutter, 2019).
    Decoupled(f64),
}

impl WeightDecay {
    /// λ.
    pub fn amount(self) -> f64 {
        match self {
            Self::L2(amount) | Self::Decoupled(amount) => amount,
        }
    }

    /// What it does in a step, where the rate is `lr` and λ is `amount`.
    pub(super) fn decay(self, lr: f64, amount: f64) -> Decay {
        match self {
            Self::L2(_) => Decay::l2(amount),
            Self::Decoupled(_) => Decay::decoupled(lr, amount),
        }
    }

    /// What θ is multiplied by and what share of it is added to the gradient.
    pub(super) fn split(self, lr: f64, amount: f64) -> (f64, f64) {
        let Decay { kept, l2 } = self.decay(lr, amount);
        (kept, l2)
    }
}

/// Adam: steps scaled by running moments of the gradient (Kingma and Ba, 2015).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁                          (L2)
/// θₜ₋₁ ← (1 − η λ) θₜ₋₁                     (decoupled)
/// mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ
/// vₜ = β₂ vₜ₋₁ + (1 − β₂) gₜ²               (AMSGrad: the largest vₜ so far divides)
/// θₜ = θₜ₋₁ − η / (1 − β₁ᵗ) · mₜ / (√vₜ / √(1 − β₂ᵗ) + ε)
/// ```
///
/// As in PyTorch, ε is added after the bias correction and AMSGrad compares uncorrected moments;
/// the paper adds ε to √v̂ as well, Keras adds it before the correction.
///
/// Sources: D. Kingma, J. Ba, 2015, Adam: A Method for Stochastic Optimization; S. Reddi, S. Kale,
/// S. Kumar, 2018, On the Convergence of Adam and Beyond.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Adam, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let mut adam = Optimizer::new([("x".to_string(), x.clone())], Adam { lr: 0.5, ..Adam::default() })?;
/// adam.step(&x.sqr()?.backward()?)?; // the first step is η long, whatever the gradient
/// assert!((x.to_scalar::<f64>()? - 2.5).abs() < 1e-8);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Weight decay λ, `>= 0`, and how it acts. Default `L2(0)`.
    pub weight_decay: WeightDecay,
    /// Divides by the largest second moment so far. Default `false`.
    pub amsgrad: bool,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: WeightDecay::L2(0.0),
            amsgrad: false,
            maximize: false,
        }
    }
}

impl Adam {
    /// The checks, in the name of the rule that the user chose.
    pub(super) fn validate_as(&self, owner: &'static str) -> Result<()> {
        require_not_negative(owner, "lr", self.lr)?;
        require_share(owner, "betas.0", self.betas.0)?;
        require_share(owner, "betas.1", self.betas.1)?;
        require_not_negative(owner, "eps", self.eps)?;
        require_not_negative(owner, "weight_decay", self.weight_decay.amount())
    }

    /// The numbers of this step.
    pub(super) fn now(&self, at: &Update<'_>) -> Now {
        let (beta1, beta2) = self.betas;
        Now {
            beta1,
            beta2,
            eps: self.eps,
            correction: 1.0 / (1.0 - beta2.powf(at.step as f64)).sqrt(),
            rate: at.lr / (1.0 - beta1.powf(at.step as f64)),
        }
    }
}

impl Rule for Adam {
    fn basics(&self) -> Basics {
        Basics {
            name: "adam",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let names: &[_] = match self.amsgrad {
            true => &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
            false => &["exp_avg", "exp_avg_sq"],
        };
        names.iter().map(|name| Slot::like(name, shape)).collect()
    }
    fn validate(&self) -> Result<()> {
        self.validate_as("adam")
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let now = self.now(&at);
        let decay = self.weight_decay.decay(at.lr, at.weight_decay);
        match self.amsgrad {
            true => at.descend::<3, _>(decay, &now),
            false => at.descend::<2, _>(decay, &now),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Now {
    beta1: f64,
    beta2: f64,
    eps: f64,
    correction: f64,
    rate: f64,
}

impl Now {
    #[inline(always)]
    fn moments<R: Real>(&self, g: R, m: R, v: R) -> (R, R) {
        let m = m.lerp(g.clone(), 1.0 - self.beta1);
        let v = v.scale(self.beta2) + g.clone().scale(1.0 - self.beta2) * g;
        (m, v)
    }

    #[inline(always)]
    fn quotient<R: Real>(&self, m: R, v: R) -> R {
        m.scale(self.rate) / v.sqrt().scale(self.correction).shift(self.eps)
    }
}

impl Descent<2> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [m, v]: [R; 2]) -> (R, [R; 2]) {
        let (m, v) = self.moments(g, m, v);
        (self.quotient(m.clone(), v.clone()), [m, v])
    }
}

impl Descent<3> for Now {
    #[inline(always)]
    fn step<R: Real>(&self, _: &R, g: R, [m, v, largest]: [R; 3]) -> (R, [R; 3]) {
        let (m, v) = self.moments(g, m, v);
        let largest = largest.larger(v.clone());
        (self.quotient(m.clone(), largest.clone()), [m, v, largest])
    }
}
