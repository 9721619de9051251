//! RMS normalisation.

use candle_core::{Result, Tensor};

use crate::layer_norm::norm;
use crate::row_norm::Moments;

/// Divides each row by its root mean square, then scales, as `torch.nn.functional.rms_norm`.
///
/// `x (…, d…)`, `weight (d…)` → `(…, d…)`
///
/// ```text
/// y = γ·x/√(mean(x²) + ε)          mean over d…
/// ```
///
/// The dimensions of weight say over how many of the last dimensions of x a row goes; without one
/// it goes over the last. PyTorch's default `eps` is the machine epsilon of x's type. candle's own
/// cuts the graph in silence. An error if the shapes do not fit or `eps` is negative.
///
/// Source: Zhang, Sennrich, "Root mean square layer normalization", 2019.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[3f64, 4.]], &Device::Cpu)?;
/// let two = Tensor::new(&[2f64, 2.], &Device::Cpu)?;
/// let y = dl_autograd::rms_norm(&x, Some(&two), 0.)?.to_vec2::<f64>()?;
/// assert!((y[0][0] - 2. * 3. / 12.5f64.sqrt()).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn rms_norm(x: &Tensor, weight: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    norm("rms_norm", x, weight, None, Moments::Second, eps)?.apply(x, weight, None)
}
