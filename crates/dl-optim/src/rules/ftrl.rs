//! FTRL-Proximal.

use serde::{Deserialize, Serialize};

use crate::rule::{require, require_not_negative};
use crate::{Basics, Kernel, Real, Result, Rule, Slot, Update};

/// FTRL-Proximal: the parameter that would have been best so far, with weights that L1 sets to exactly
/// zero (McMahan et al., 2013). For sparse linear models.
///
/// ```text
/// σₜ = (nₜ⁻ᵖ − nₜ₋₁⁻ᵖ) / η,   nₜ = nₜ₋₁ + gₜ²
/// zₜ = zₜ₋₁ + gₜ − σₜ θₜ₋₁
/// θₜ = 0                                                  where |zₜ| ≤ λ₁
/// θₜ = −(zₜ − sign(zₜ) λ₁) / ((β + nₜ⁻ᵖ) / η + λ₂)        elsewhere
/// ```
///
/// p is `lr_power`. Where a weight never had a gradient (n = 0) it stays as it is; the paper, whose
/// weights start at zero, and pytorch_optimizer set it to zero. For powers other than −½
/// pytorch_optimizer has √n in the last line; this is TensorFlow's, which follows from the first.
/// λ₂ counts as the weight decay of a [`Group`](crate::Group). θ is proportional to η, so a schedule
/// that lowers the rate draws the weights to zero with it: keep it constant. A rate of 0 leaves
/// everything as it is.
///
/// Source: H. McMahan, G. Holt, D. Sculley, et al., 2013, Ad Click Prediction: a View from the Trenches.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Ftrl, Optimizer};
/// let x = Var::new(3.0_f64, &Device::Cpu)?;
/// let rule = Ftrl { lr: 0.5, lambda_1: 18.0, ..Ftrl::default() };
/// let mut ftrl = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// ftrl.step(&x.sqr()?.backward()?)?; // z = 6 − 6 / 0.5 · 3 = −30: (30 − 18) · 0.5 / 6
/// assert_eq!(x.to_scalar::<f64>()?, 1.0);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ftrl {
    /// Learning rate η, `> 0`. Default `1e-3`.
    pub lr: f64,
    /// Power p of the rate's decay, `<= 0`; 0 for a constant rate. Default `-0.5`.
    pub lr_power: f64,
    /// Slows the first steps, β, `>= 0`. Default `0`.
    pub beta: f64,
    /// How strongly weights are drawn to exactly zero, λ₁, `>= 0`. Default `0`.
    pub lambda_1: f64,
    /// How strongly they are made small, λ₂, `>= 0`. Default `0`.
    pub lambda_2: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Ftrl {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            lr_power: -0.5,
            beta: 0.0,
            lambda_1: 0.0,
            lambda_2: 0.0,
            maximize: false,
        }
    }
}

impl Rule for Ftrl {
    fn basics(&self) -> Basics {
        Basics {
            name: "ftrl",
            lr: self.lr,
            weight_decay: self.lambda_2,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        ["z", "n"].map(|name| Slot::like(name, shape)).into()
    }
    fn validate(&self) -> Result<()> {
        let (lr, power) = (self.lr, self.lr_power);
        require(lr > 0.0 && lr.is_finite(), "ftrl", "lr", "> 0", lr)?;
        require(power <= 0.0, "ftrl", "lr_power", "<= 0", power)?;
        require_not_negative("ftrl", "beta", self.beta)?;
        require_not_negative("ftrl", "lambda_1", self.lambda_1)?;
        require_not_negative("ftrl", "lambda_2", self.lambda_2)
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        if at.lr == 0.0 {
            return Ok(());
        }
        let now = Now {
            lr: at.lr,
            power: -self.lr_power,
            beta: self.beta,
            lambda_1: self.lambda_1,
            lambda_2: at.weight_decay,
        };
        at.elementwise::<2, _>(&now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    lr: f64,
    power: f64,
    beta: f64,
    lambda_1: f64,
    lambda_2: f64,
}

impl Now {
    #[inline(always)]
    fn root<R: Real>(&self, n: R) -> R {
        match self.power == 0.5 {
            true => n.sqrt(),
            false => n.powf(self.power),
        }
    }
}

impl Kernel<2> for Now {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, [z, n]: [R; 2]) -> (R, [R; 2]) {
        let old = self.root(n.clone());
        let n = n + g.clone() * g.clone();
        let root = self.root(n.clone());
        let sigma = (root.clone() - old).scale(1.0 / self.lr);
        let z = z + g - sigma * theta.clone();
        let beyond = z.clone().clamp(-self.lambda_1, self.lambda_1) - z.clone();
        let curvature = root.shift(self.beta).scale(1.0 / self.lr);
        let next = beyond / curvature.shift(self.lambda_2);
        (n.clone().if_positive(next, theta), [z, n])
    }
}
