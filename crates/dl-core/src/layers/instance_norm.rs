//! Instance normalisation.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};

use super::group_norm::{affine, check};
use crate::summary;

/// PyTorch's defaults. Running statistics, off there by default, are not offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceNormConfig {
    /// Added to the variance, `≥ 0`. Default `1e-5`.
    pub eps: f64,
    /// Whether there are a weight and a bias. Default `false`.
    pub affine: bool,
}

impl Default for InstanceNormConfig {
    fn default() -> Self {
        Self {
            eps: 1e-5,
            affine: false,
        }
    }
}

/// Normalises each channel of each sample of `(n, c, …)` by itself, in training and evaluation.
///
/// Weights, where there are any: `weight (c,)`, ones at first, and `bias (c,)`, zeros at first.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::{InstanceNormConfig, instance_norm}};
/// let params = Params::new(0, &Device::Cpu);
/// let config = InstanceNormConfig { eps: 0., affine: true };
/// let layer = instance_norm(2, config, params.vb())?;
/// let y = layer.forward(&Tensor::new(&[[[1f32, 3.], [5., 9.]]], &Device::Cpu)?)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [-1., 1., -1., 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct InstanceNorm {
    name: String,
    channels: usize,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    eps: f64,
}

/// Instance normalisation of `channels` channels.
pub fn instance_norm(
    channels: usize,
    config: InstanceNormConfig,
    vb: VarBuilder,
) -> Result<InstanceNorm> {
    let name = vb.prefix();
    let (weight, bias) = affine(config.affine, channels, vb)?;
    Ok(InstanceNorm {
        name,
        channels,
        weight,
        bias,
        eps: config.eps,
    })
}

impl Module for InstanceNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        check(x, self.channels)?;
        let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
        let y = dl_autograd::instance_norm(x, weight, bias, self.eps)?;
        let name = weight.map(|_| self.name.as_str());
        summary::record(name, "InstanceNorm", &y, || 0);
        Ok(y)
    }
}
