//! In which precision a model's products are computed.

use candle_core::{DType, Result};
use dl_autograd::Autocast;
use serde::{Deserialize, Serialize};

/// In which precision a model's products are computed while its weights stay in f32; the names are
/// those of Hugging Face's Accelerate.
///
/// ```
/// use dl_core::train::{MixedPrecision, TrainerConfig};
/// let config: TrainerConfig = serde_json::from_str(r#"{"mixed_precision": "bf16"}"#).unwrap();
/// assert_eq!(config.mixed_precision, MixedPrecision::Bf16);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MixedPrecision {
    /// That of the weights.
    #[default]
    No,
    /// bf16, which has the range of f32 and 8 bits.
    Bf16,
    /// f16, which has 11 bits and ends at 65,504: together with a loss scale.
    Fp16,
}

impl MixedPrecision {
    /// Products on this thread in this precision until the scope is dropped.
    ///
    /// ```
    /// use dl_core::train::MixedPrecision;
    /// assert!(MixedPrecision::No.scope()?.is_none());
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn scope(self) -> Result<Option<Autocast>> {
        match self {
            Self::No => Ok(None),
            Self::Bf16 => Autocast::new(DType::BF16).map(Some),
            Self::Fp16 => Autocast::new(DType::F16).map(Some),
        }
    }
}
