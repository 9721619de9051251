//! Dropout of whole channels.

use candle_core::{Result, Tensor};
use candle_nn::ModuleT;
use dl_autograd::{Purpose, next_rng};

use crate::summary;

/// Sets whole channels of `(n, channels, d…)` to zero with probability `p` in training and divides the
/// rest by `1 − p`, as `torch.nn.Dropout1d`, `Dropout2d` and `Dropout3d`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::layers::Dropout2d;
/// let x = Tensor::ones((2, 3, 4, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(Dropout2d::new(0.5).forward_t(&x, false)?.sum_all()?.to_scalar::<f32>()?, 96.);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelDropout {
    p: f64,
}

/// [`ChannelDropout`] by its name for signals.
pub type Dropout1d = ChannelDropout;
/// [`ChannelDropout`] by its name for images.
pub type Dropout2d = ChannelDropout;
/// [`ChannelDropout`] by its name for volumes.
pub type Dropout3d = ChannelDropout;

impl ChannelDropout {
    /// `p` in `[0, 1]`; forward refuses another one.
    pub fn new(p: f64) -> Self {
        Self { p }
    }
}

impl ModuleT for ChannelDropout {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let y = match train {
            true => dl_autograd::dropout_channels(x, self.p, next_rng(Purpose::Dropout))?,
            false => x.clone(),
        };
        summary::record(None, "ChannelDropout", &y, || 0);
        Ok(y)
    }
}
