//! Stochastic depth.

use candle_core::{Result, Tensor};
use candle_nn::ModuleT;
use dl_autograd::{Purpose, next_rng};

use crate::summary;

/// Sets whole samples to zero with probability `p` in training and divides the rest by `1 − p`, for the
/// branch of a residual sum; see [`dl_autograd::drop_path`] and [`Residual`](super::Residual).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::layers::DropPath;
/// let x = Tensor::ones((8, 1), DType::F32, &Device::Cpu)?;
/// assert_eq!(DropPath::new(0.5).forward_t(&x, false)?.to_vec2::<f32>()?, [[1f32]; 8]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropPath {
    p: f64,
}

impl DropPath {
    /// `p` in `[0, 1]`; forward refuses another one.
    pub fn new(p: f64) -> Self {
        Self { p }
    }
}

impl ModuleT for DropPath {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let y = match train {
            true => dl_autograd::drop_path(x, self.p, next_rng(Purpose::DropPath))?,
            false => x.clone(),
        };
        summary::record(None, "DropPath", &y, || 0);
        Ok(y)
    }
}
