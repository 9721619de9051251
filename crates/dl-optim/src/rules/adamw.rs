//! AdamW: Adam with decoupled weight decay.

use serde::{Deserialize, Serialize};

use super::{Adam, WeightDecay};
use crate::{Basics, Result, Rule, Slot, Update};

/// Adam with decoupled weight decay, on by default (Loshchilov and Hutter, 2019).
///
/// ```text
/// θₜ₋₁ ← (1 − η λ) θₜ₋₁, then as Adam
/// ```
///
/// As in PyTorch the rate multiplies λ; in the paper λ stands alone.
///
/// Source: I. Loshchilov, F. Hutter, 2019, Decoupled Weight Decay Regularization.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{AdamW, Optimizer};
/// let x = Var::new(2.0_f64, &Device::Cpu)?;
/// let rule = AdamW { lr: 0.5, weight_decay: 0.1, ..AdamW::default() };
/// let mut adamw = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// adamw.step(&x.sqr()?.backward()?)?; // 2 · (1 − 0.05) − 0.5
/// assert!((x.to_scalar::<f64>()? - 1.4).abs() < 1e-8);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Decoupled weight decay λ, `>= 0`. Default `0.01`.
    pub weight_decay: f64,
    /// Divides by the largest second moment so far. Default `false`.
    pub amsgrad: bool,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for AdamW {
    fn default() -> Self {
        let Adam {
            lr,
            betas,
            eps,
            amsgrad,
            maximize,
            ..
        } = Adam::default();
        Self {
            lr,
            betas,
            eps,
            weight_decay: 0.01,
            amsgrad,
            maximize,
        }
    }
}

impl AdamW {
    fn adam(&self) -> Adam {
        let Self {
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize,
        } = *self;
        let weight_decay = WeightDecay::Decoupled(weight_decay);
        Adam {
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize,
        }
    }
}

impl Rule for AdamW {
    fn basics(&self) -> Basics {
        Basics {
            name: "adamw",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        self.adam().slots(shape)
    }
    fn validate(&self) -> Result<()> {
        self.adam().validate_as("adamw")
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        self.adam().update(at)
    }
}
