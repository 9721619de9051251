//! Adam with moments in 8 bits.

use serde::{Deserialize, Serialize};

use super::{Adam, WeightDecay};
use crate::{BLOCK_LEN, Basics, Result, Rule, Slot, Update};

/// Adam whose moments take one byte an element each (Dettmers et al., 2022).
///
/// ```text
/// θₜ, mₜ, vₜ: as Adam, from mₜ₋₁ and vₜ₋₁ as they were kept
/// aᵇ = max |mₜ| over block b of 256 elements;   kept: aᵇ and the code nearest to mₜ / aᵇ
/// ```
///
/// A code stands for one of 256 numbers of the dynamic map: decades down to 10⁻⁶, finer at the top;
/// with a sign for m, without for v. A parameter of 4 bytes an element has a state of 2.03 instead
/// of 8. Parameters below `min_8bit_size` elements keep moments in full, and so should embeddings:
/// give them [`Adam`] with a [`Group`](crate::Group).
///
/// The step itself uses mₜ and vₜ before they are narrowed, and is Adam's in this crate: decay comes
/// before the step (bitsandbytes on a GPU: after it) and may be L2 (there: always decoupled). A number
/// takes the nearest code (there: a negative one never that of zero, and on the CPU one near it).
///
/// Source: T. Dettmers, M. Lewis, S. Shleifer, L. Zettlemoyer, 2022, 8-bit Optimizers via Block-wise
/// Quantization.
///
/// ```
/// use candle_core::{DType, Device, Var};
/// use dl_optim::{Adam8bit, Optimizer};
/// let x = Var::ones(4096, DType::F32, &Device::Cpu)?;
/// let mut adam = Optimizer::new([("x".to_string(), x.clone())], Adam8bit { lr: 0.5, ..Adam8bit::default() })?;
/// adam.step(&x.sqr()?.sum_all()?.backward()?)?; // the first step is η long, whatever the gradient
/// assert!((x.to_vec1::<f32>()?[0] - 0.5).abs() < 1e-6);
/// let state = adam.state()?;
/// assert_eq!(state.tensors["x.state1"].dtype(), DType::U8);
/// assert_eq!(state.tensors["x.absmax1"].dims(), [16]);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam8bit {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Weight decay λ, `>= 0`, and how it acts. Default `L2(0)`.
    pub weight_decay: WeightDecay,
    /// The least number of elements of a parameter whose moments are kept in 8 bits. Default `4096`.
    pub min_8bit_size: usize,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Adam8bit {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: WeightDecay::L2(0.0),
            min_8bit_size: 4096,
            maximize: false,
        }
    }
}

impl Adam8bit {
    /// The rule of the step.
    pub(super) fn adam(&self) -> Adam {
        Adam {
            lr: self.lr,
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
            amsgrad: false,
            maximize: self.maximize,
        }
    }
}

impl Rule for Adam8bit {
    fn basics(&self) -> Basics {
        Basics {
            name: "adam8bit",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let count: usize = shape.iter().product();
        if count < self.min_8bit_size.max(1) {
            return ["state1", "state2"]
                .map(|name| Slot::like(name, shape))
                .into();
        }
        let blocks = [count.div_ceil(BLOCK_LEN)];
        vec![
            Slot::codes("state1", shape),
            Slot::codes("state2", shape),
            Slot::like("absmax1", &blocks),
            Slot::like("absmax2", &blocks),
        ]
    }
    fn validate(&self) -> Result<()> {
        self.adam().validate_as("adam8bit")
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let now = self.adam().now(&at);
        let decay = self.weight_decay.decay(at.lr, at.weight_decay);
        match at.slots.len() {
            2 => at.descend::<2, _>(decay, &now),
            _ => at.descend_blockwise(decay, &now),
        }
    }
}
