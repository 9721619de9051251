//! Squeeze and excitation.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};
use dl_autograd::{global_avg_pool, relu, reshape, scale_channels};

use super::conv2d::{Conv2d, Conv2dOptions, conv2d};

/// Between the two convolutions of a [`SqueezeExcite`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SqueezeActivation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `x·σ(x)`: EfficientNet's.
    Silu,
}

/// From the last convolution of a [`SqueezeExcite`] to the factors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SqueezeGate {
    /// `1/(1 + e⁻ˣ)`.
    #[default]
    Sigmoid,
    /// `min(max(x + 3, 0), 6)/6`: MobileNetV3's.
    HardSigmoid,
}

/// What a [`SqueezeExcite`] is besides its channel counts: torchvision's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SqueezeExciteConfig {
    /// Between the convolutions. Default ReLU.
    pub activation: SqueezeActivation,
    /// Behind them. Default the sigmoid.
    pub gate: SqueezeGate,
}

/// Weighs each channel by what all channels are on average: `(n, c, h, w)` → `(n, c, h, w)`.
///
/// ```text
/// s = gate(W₂·φ(W₁·mean(x) + b₁) + b₂)          y = s·x
/// ```
///
/// Weights `fc1.weight (squeezed, c, 1, 1)`, `fc1.bias`, `fc2.weight (c, squeezed, 1, 1)`, `fc2.bias`,
/// as those of torchvision's `SqueezeExcitation` and timm's `SEModule`; timm's EfficientNets have
/// `conv_reduce` and `conv_expand` in their place.
///
/// Source: Hu, Shen, Sun, "Squeeze-and-excitation networks", 2018.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, init, layers::squeeze_excite};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = squeeze_excite(4, 1, Default::default(), params.vb())?;
/// init::zeros(&params, "fc2.*")?;
/// let y = layer.forward(&Tensor::ones((1, 4, 3, 3), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [0.5; 36]); // σ(0)
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SqueezeExcite {
    fc1: Conv2d,
    fc2: Conv2d,
    config: SqueezeExciteConfig,
}

/// A gate of `channels` channels, of which `squeezed`, usually a fourth to a sixteenth, are between
/// the convolutions.
pub fn squeeze_excite(
    channels: usize,
    squeezed: usize,
    config: SqueezeExciteConfig,
    vb: VarBuilder,
) -> Result<SqueezeExcite> {
    let pointwise = Conv2dOptions {
        kernel: (1, 1),
        ..Default::default()
    };
    Ok(SqueezeExcite {
        fc1: conv2d(channels, squeezed, pointwise, vb.pp("fc1"))?,
        fc2: conv2d(squeezed, channels, pointwise, vb.pp("fc2"))?,
        config,
    })
}

impl Module for SqueezeExcite {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let means = global_avg_pool(x)?;
        let (n, c) = means.dims2()?;
        let hidden = self.fc1.forward(&reshape(&means, (n, c, 1, 1))?)?;
        let hidden = match self.config.activation {
            SqueezeActivation::Relu => relu(&hidden)?,
            SqueezeActivation::Silu => dl_autograd::silu(&hidden)?,
        };
        let factors = self.config.gate.open(&self.fc2.forward(&hidden)?)?;
        scale_channels(x, &reshape(&factors, (n, c))?)
    }
}

impl SqueezeGate {
    fn open(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Sigmoid => dl_autograd::sigmoid(x),
            Self::HardSigmoid => dl_autograd::hard_sigmoid(x),
        }
    }
}
