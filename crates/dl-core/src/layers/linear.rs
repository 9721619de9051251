//! Dense layer.

use candle_core::{Result, Tensor};
use candle_nn::{Init, Module, VarBuilder};

use crate::summary;

/// `y = x·Wᵀ + b`: `(…, in)` → `(…, out)`, with the weights `weight (out, in)` and `bias (out,)`.
///
/// Initialised as PyTorch does: both uniform in `±1/√in`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::linear};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = linear(4, 3, params.vb())?;
/// let y = layer.forward(&Tensor::zeros((2, 4), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [2, 3]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    name: String,
    weight: Tensor,
    bias: Option<Tensor>,
}

/// A dense layer with a bias.
pub fn linear(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Linear> {
    let bias = vb.get_with_hints(outputs, "bias", uniform(inputs))?;
    Ok(Linear {
        bias: Some(bias),
        ..linear_no_bias(inputs, outputs, vb)?
    })
}

/// A dense layer without a bias.
pub fn linear_no_bias(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Linear> {
    Ok(Linear {
        name: vb.prefix(),
        weight: vb.get_with_hints((outputs, inputs), "weight", uniform(inputs))?,
        bias: None,
    })
}

/// Kaiming's uniform with a = √5, PyTorch's default: `±√(6/((1 + a²)·fan_in)) = ±1/√fan_in`.
pub(super) fn uniform(fan_in: usize) -> Init {
    let up = 1. / (fan_in.max(1) as f64).sqrt();
    Init::Uniform { lo: -up, up }
}

impl Linear {
    /// GELU of what [`forward`](Module::forward) gives; see [`linear_gelu`](dl_autograd::linear_gelu()).
    pub fn forward_gelu(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::linear_gelu(x, &self.weight, self.bias.as_ref())?;
        Ok(self.recorded(y))
    }

    fn recorded(&self, y: Tensor) -> Tensor {
        summary::record(Some(&self.name), "Linear", &y, || {
            summary::products(&y, &self.weight)
        });
        y
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::linear(x, &self.weight, self.bias.as_ref())?;
        Ok(self.recorded(y))
    }
}
