//! RMS normalisation, alone and behind a residual sum.

use candle_core::{Result, Tensor};

use crate::layer_norm::norm;
use crate::row_norm::{Moments, add_row_norm};

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

/// [`rms_norm`] of `x + residual`, whose sum is never stored.
///
/// `x (…, d…)`, `residual (…, d…)`, `weight (d…)` → `(…, d…)`
///
/// A pre-norm block needs the sum as well: [`add`](crate::add), then [`rms_norm`]. An error if the
/// shapes do not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f64, 4.]], &Device::Cpu)?;
/// let residual = Tensor::new(&[[2f64, 0.]], &Device::Cpu)?;
/// let y = dl_autograd::add_rms_norm(&x, &residual, None, 0.)?.to_vec2::<f64>()?;
/// assert!((y[0][0] - 3. / 12.5f64.sqrt()).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn add_rms_norm(
    x: &Tensor,
    residual: &Tensor,
    weight: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let norm = norm("add_rms_norm", x, weight, None, Moments::Second, eps)?;
    add_row_norm(norm, x, residual, weight, None)
}
