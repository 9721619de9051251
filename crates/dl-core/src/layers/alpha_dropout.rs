//! Dropout behind SELU.

use candle_core::{Result, Tensor};
use candle_nn::ModuleT;
use dl_autograd::{Purpose, next_rng};

use crate::summary;

/// Dropout that keeps the mean and the variance of self-normalising networks, in training, as
/// `torch.nn.AlphaDropout`; see [`dl_autograd::alpha_dropout`].
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::layers::AlphaDropout;
/// let x = Tensor::ones(8, DType::F32, &Device::Cpu)?;
/// assert_eq!(AlphaDropout::new(0.5).forward_t(&x, false)?.to_vec1::<f32>()?, [1f32; 8]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlphaDropout {
    p: f64,
}

impl AlphaDropout {
    /// `p` in `[0, 1)`; forward refuses another one.
    pub fn new(p: f64) -> Self {
        Self { p }
    }
}

impl ModuleT for AlphaDropout {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let y = match train {
            true => dl_autograd::alpha_dropout(x, self.p, next_rng(Purpose::Dropout))?,
            false => x.clone(),
        };
        summary::record(None, "AlphaDropout", &y, || 0);
        Ok(y)
    }
}
