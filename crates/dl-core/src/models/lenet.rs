//! Two convolutions and two dense layers.

use candle_core::{Result, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder};
use dl_autograd::{Activation, MaxPool2dConfig, flatten_from, max_pool2d, relu};
use serde::{Deserialize, Serialize};

use crate::layers::{Conv2d, Conv2dOptions, Linear, Padding, conv2d, linear};

/// The sizes of a network for small images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeNetConfig {
    /// Channels, height and width of an image; the sides multiples of 4. Default `[1, 28, 28]`.
    pub image: [usize; 3],
    /// Channels behind each convolution. Default `[32, 64]`.
    pub channels: [usize; 2],
    /// Width of the hidden dense layer. Default `128`.
    pub hidden: usize,
    /// Number of classes. Default `10`.
    pub classes: usize,
}

impl Default for LeNetConfig {
    fn default() -> Self {
        Self {
            image: [1, 28, 28],
            channels: [32, 64],
            hidden: 128,
            classes: 10,
        }
    }
}

/// LeNet-5's plan with today's parts: 5×5 convolutions that keep the size, ReLU, 2×2 maximum pools.
///
/// `(n, c, h, w)` → logits `(n, classes)`. Weights `conv1`, `conv2`, `fc1`, `fc2`.
///
/// Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition",
/// 1998.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::{Params, models::LeNet};
/// let params = Params::new(0, &Device::Cpu);
/// let model = LeNet::new(&Default::default(), params.vb())?;
/// assert_eq!(params.parameter_count(), 454_922);
/// let x = Tensor::zeros((2, 1, 28, 28), DType::F32, &Device::Cpu)?;
/// assert_eq!(model.forward_t(&x, false)?.dims(), [2, 10]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LeNet {
    convolutions: [Conv2d; 2],
    hidden: Linear,
    classifier: Linear,
}

impl LeNet {
    /// Builds the network on `vb`.
    pub fn new(config: &LeNetConfig, vb: VarBuilder) -> Result<Self> {
        let [c, h, w] = config.image;
        let [first, second] = config.channels;
        let options = Conv2dOptions {
            kernel: (5, 5),
            padding: Padding::Same,
            ..Default::default()
        };
        let features = second * (h / 4) * (w / 4);
        Ok(Self {
            convolutions: [
                conv2d(c, first, options, vb.pp("conv1"))?,
                conv2d(first, second, options, vb.pp("conv2"))?,
            ],
            hidden: linear(features, config.hidden, vb.pp("fc1"))?,
            classifier: linear(config.hidden, config.classes, vb.pp("fc2"))?,
        })
    }
}

impl ModuleT for LeNet {
    fn forward_t(&self, x: &Tensor, _: bool) -> Result<Tensor> {
        let mut x = x.clone();
        for convolution in &self.convolutions {
            // The pool first: it commutes with ReLU and leaves a quarter.
            x = max_pool2d(&convolution.forward(&x)?, &MaxPool2dConfig::default())?;
            x = Activation::Relu.forward(&x)?;
        }
        let hidden = relu(&self.hidden.forward(&flatten_from(&x, 1)?)?)?;
        self.classifier.forward(&hidden)
    }
}
