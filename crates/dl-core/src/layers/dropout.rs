//! Dropout.

use candle_core::{Result, Tensor};
use candle_nn::ModuleT;
use dl_autograd::{Purpose, next_rng};

use crate::summary;

/// Sets each element to zero with probability `p` in training and divides the rest by `1 − p`.
///
/// The mask comes from the current [`RngScope`](dl_autograd::RngScope), which the trainer opens for
/// every step.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::layers::Dropout;
/// let x = Tensor::ones(8, DType::F32, &Device::Cpu)?;
/// assert_eq!(Dropout::new(0.5).forward_t(&x, false)?.to_vec1::<f32>()?, [1f32; 8]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    p: f64,
}

impl Dropout {
    /// `p` in `[0, 1]`; forward refuses another one.
    pub fn new(p: f64) -> Self {
        Self { p }
    }
}

impl ModuleT for Dropout {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let y = match train {
            true => dl_autograd::dropout(x, self.p, next_rng(Purpose::Dropout))?,
            false => x.clone(),
        };
        summary::record(None, "Dropout", &y, || 0);
        Ok(y)
    }
}
