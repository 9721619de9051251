//! RMS normalisation.

use candle_core::{DType, Result, Shape, Tensor};
use candle_nn::{Init, Module, VarBuilder};

use super::layer_norm::{one_row, over};
use crate::summary;

/// PyTorch's defaults. An `eps` alone converts into it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNormConfig {
    /// Added to the mean square, `≥ 0`. Default none, which is the machine epsilon of the input's
    /// type; Llama's is `1e-6`.
    pub eps: Option<f64>,
    /// Whether there is a weight. Default `true`.
    pub elementwise_affine: bool,
}

impl Default for RmsNormConfig {
    fn default() -> Self {
        Self {
            eps: None,
            elementwise_affine: true,
        }
    }
}

impl From<f64> for RmsNormConfig {
    fn from(eps: f64) -> Self {
        Self {
            eps: Some(eps),
            ..Self::default()
        }
    }
}

/// Divides each row of `(…, d…)` by its root mean square, then scales it by `weight (d…)`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::rms_norm};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = rms_norm(2, 1e-6, params.vb())?;
/// let y = layer.forward(&Tensor::new(&[[1f32, 7.]], &Device::Cpu)?)?.to_vec2::<f32>()?;
/// assert!((y[0][1] - 1.4).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RmsNorm {
    name: String,
    shape: Shape,
    weight: Option<Tensor>,
    eps: Option<f64>,
}

/// RMS normalisation over the last dimensions, which are `shape`: a number, a tuple or a slice.
pub fn rms_norm(
    shape: impl Into<Shape>,
    config: impl Into<RmsNormConfig>,
    vb: VarBuilder,
) -> Result<RmsNorm> {
    let (shape, config) = (shape.into(), config.into());
    let get = || vb.get_with_hints(shape.clone(), "weight", Init::Const(1.));
    Ok(RmsNorm {
        name: vb.prefix(),
        weight: config.elementwise_affine.then(get).transpose()?,
        eps: config.eps,
        shape,
    })
}

/// The distance from 1 to the next number.
fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => f64::from(f32::EPSILON),
    }
}

impl RmsNorm {
    /// The normalised sum of `x` and `residual`, which is never stored.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let residual = one_row(residual, &self.shape, self.weight.is_some())?;
        let y = over(x, &self.shape, self.weight.is_some(), |x| {
            dl_autograd::add_rms_norm(x, &residual, self.weight.as_ref(), self.eps(x))
        })?;
        self.record(&y);
        Ok(y)
    }

    fn eps(&self, x: &Tensor) -> f64 {
        self.eps.unwrap_or_else(|| epsilon(x.dtype()))
    }

    fn record(&self, y: &Tensor) {
        let name = self.weight.as_ref().map(|_| self.name.as_str());
        summary::record(name, "RmsNorm", y, || 0);
    }
}

impl Module for RmsNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = over(x, &self.shape, self.weight.is_some(), |x| {
            dl_autograd::rms_norm(x, self.weight.as_ref(), self.eps(x))
        })?;
        self.record(&y);
        Ok(y)
    }
}
