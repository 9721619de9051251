//! Layer and RMS normalisation.

use candle_core::{Result, Tensor};
use candle_nn::{Init, Module, VarBuilder};

use crate::summary;

/// Normalises each row of `(…, d)` to mean 0 and variance 1, then scales and shifts it.
///
/// Weights `weight (d,)`, ones at first, and `bias (d,)`, zeros at first. candle's own layer of this
/// name lets no gradient through.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::layer_norm};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = layer_norm(2, 1e-5, params.vb())?;
/// let y = layer.forward(&Tensor::new(&[[1f32, 5.]], &Device::Cpu)?)?.to_vec2::<f32>()?;
/// assert!((y[0][0] + 1.).abs() < 1e-5 && (y[0][1] - 1.).abs() < 1e-5);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LayerNorm {
    name: String,
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

/// Layer normalisation of rows of `dim`; PyTorch's `eps` is `1e-5`, BERT's `1e-12`.
pub fn layer_norm(dim: usize, eps: f64, vb: VarBuilder) -> Result<LayerNorm> {
    Ok(LayerNorm {
        name: vb.prefix(),
        weight: vb.get_with_hints(dim, "weight", Init::Const(1.))?,
        bias: vb.get_with_hints(dim, "bias", Init::Const(0.))?,
        eps,
    })
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::layer_norm(x, &self.weight, &self.bias, self.eps)?;
        summary::record(Some(&self.name), "LayerNorm", &y, || 0);
        Ok(y)
    }
}

/// Divides each row of `(…, d)` by its root mean square, then scales it by `weight (d,)`.
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
    weight: Tensor,
    eps: f64,
}

/// RMS normalisation of rows of `dim`; Llama's `eps` is `1e-6`.
pub fn rms_norm(dim: usize, eps: f64, vb: VarBuilder) -> Result<RmsNorm> {
    Ok(RmsNorm {
        name: vb.prefix(),
        weight: vb.get_with_hints(dim, "weight", Init::Const(1.))?,
        eps,
    })
}

impl Module for RmsNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::rms_norm(x, &self.weight, self.eps)?;
        summary::record(Some(&self.name), "RmsNorm", &y, || 0);
        Ok(y)
    }
}
