//! Group normalisation.

use candle_core::{Result, Tensor, bail};
use candle_nn::{Init, Module, VarBuilder};

use crate::summary;

/// PyTorch's defaults. An `eps` alone converts into it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormConfig {
    /// Added to the variance, `≥ 0`. Default `1e-5`.
    pub eps: f64,
    /// Whether there are a weight and a bias. Default `true`.
    pub affine: bool,
}

impl Default for GroupNormConfig {
    fn default() -> Self {
        Self {
            eps: 1e-5,
            affine: true,
        }
    }
}

impl From<f64> for GroupNormConfig {
    fn from(eps: f64) -> Self {
        Self {
            eps,
            ..Self::default()
        }
    }
}

/// Normalises groups of channels of each sample of `(n, c, …)`, then scales and shifts each channel.
///
/// Weights `weight (c,)`, ones at first, and `bias (c,)`, zeros at first.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::group_norm};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = group_norm(2, 4, 0., params.vb())?;
/// let y = layer.forward(&Tensor::new(&[[1f32, 3., 5., 9.]], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[-1., 1., -1., 1.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GroupNorm {
    name: String,
    groups: usize,
    channels: usize,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    eps: f64,
}

/// Normalisation of `groups` groups of `channels` channels; an error if they do not divide them.
pub fn group_norm(
    groups: usize,
    channels: usize,
    config: impl Into<GroupNormConfig>,
    vb: VarBuilder,
) -> Result<GroupNorm> {
    if groups == 0 || !channels.is_multiple_of(groups) {
        bail!("{groups} groups do not divide {channels} channels")
    }
    let config = config.into();
    let name = vb.prefix();
    let (weight, bias) = affine(config.affine, channels, vb)?;
    Ok(GroupNorm {
        name,
        groups,
        channels,
        weight,
        bias,
        eps: config.eps,
    })
}

pub(super) fn affine(
    wanted: bool,
    channels: usize,
    vb: VarBuilder,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    if !wanted {
        return Ok((None, None));
    }
    let weight = vb.get_with_hints(channels, "weight", Init::Const(1.))?;
    let bias = vb.get_with_hints(channels, "bias", Init::Const(0.))?;
    Ok((Some(weight), Some(bias)))
}

pub(super) fn check(x: &Tensor, channels: usize) -> Result<()> {
    match x.dims().get(1) == Some(&channels) {
        true => Ok(()),
        false => bail!(
            "a norm of {channels} channels takes x (n, {channels}, …), got {:?}",
            x.shape()
        ),
    }
}

impl Module for GroupNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        check(x, self.channels)?;
        let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
        let y = dl_autograd::group_norm(x, self.groups, weight, bias, self.eps)?;
        let name = weight.map(|_| self.name.as_str());
        summary::record(name, "GroupNorm", &y, || 0);
        Ok(y)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Params;
    use candle_core::Device;

    #[test]
    fn groups_that_do_not_divide_and_channels_that_differ_are_named() {
        let params = Params::new(0, &Device::Cpu);
        let error = group_norm(3, 4, 1e-5, params.vb()).unwrap_err().to_string();
        assert!(error.contains("3 groups") && error.contains("4 channels"));
        let config = GroupNormConfig {
            affine: false,
            ..Default::default()
        };
        let layer = group_norm(2, 4, config, params.vb()).unwrap();
        assert!(params.names().is_empty());
        let x = Tensor::new(&[[1f32, 2.]], &Device::Cpu).unwrap();
        let error = layer.forward(&x).unwrap_err().to_string();
        assert!(error.contains("4 channels") && error.contains("[1, 2]"));
    }
}
