//! AdamW with moments in 8 bits.

use serde::{Deserialize, Serialize};

use super::{Adam8bit, WeightDecay};
use crate::{Basics, Result, Rule, Slot, Update};

/// AdamW whose moments take one byte an element each (Dettmers et al., 2022); see [`Adam8bit`].
///
/// ```text
/// θₜ₋₁ ← (1 − η λ) θₜ₋₁, then as Adam8bit
/// ```
///
/// Source: T. Dettmers, M. Lewis, S. Shleifer, L. Zettlemoyer, 2022, 8-bit Optimizers via Block-wise
/// Quantization.
///
/// ```
/// use candle_core::{DType, Device, Var};
/// use dl_optim::{AdamW8bit, Optimizer};
/// let x = Var::ones(4096, DType::F32, &Device::Cpu)?;
/// let rule = AdamW8bit { lr: 0.5, weight_decay: 0.1, ..AdamW8bit::default() };
/// let mut adamw = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// adamw.step(&x.sqr()?.sum_all()?.backward()?)?; // 1 · (1 − 0.05) − 0.5
/// assert!((x.to_vec1::<f32>()?[0] - 0.45).abs() < 1e-6);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW8bit {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Decoupled weight decay λ, `>= 0`. Default `0.01`.
    pub weight_decay: f64,
    /// The least number of elements of a parameter whose moments are kept in 8 bits. Default `4096`.
    pub min_8bit_size: usize,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for AdamW8bit {
    fn default() -> Self {
        let Adam8bit {
            lr,
            betas,
            eps,
            min_8bit_size,
            maximize,
            ..
        } = Adam8bit::default();
        Self {
            lr,
            betas,
            eps,
            weight_decay: 0.01,
            min_8bit_size,
            maximize,
        }
    }
}

impl AdamW8bit {
    fn adam8bit(&self) -> Adam8bit {
        Adam8bit {
            lr: self.lr,
            betas: self.betas,
            eps: self.eps,
            weight_decay: WeightDecay::Decoupled(self.weight_decay),
            min_8bit_size: self.min_8bit_size,
            maximize: self.maximize,
        }
    }
}

impl Rule for AdamW8bit {
    fn basics(&self) -> Basics {
        Basics {
            name: "adamw8bit",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        self.adam8bit().slots(shape)
    }
    fn validate(&self) -> Result<()> {
        self.adam8bit().adam().validate_as("adamw8bit")
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        self.adam8bit().update(at)
    }
}
