//! VGG.

use candle_core::{Result, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder};
use dl_autograd::{MaxPool2dConfig, adaptive_avg_pool2d, flatten_from, max_pool2d, relu};
use serde::{Deserialize, Serialize};

use super::ImageClassifier;
use crate::layers::{Conv2d, Conv2dOptions, Dropout, Linear, Padding, conv2d, linear};

/// A member of the family; [`vgg16`](Self::vgg16) is the default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VggConfig {
    /// Output channels of the convolutions between two pools.
    pub blocks: Vec<Vec<usize>>,
    /// Width of the two hidden dense layers. Default `4096`.
    pub hidden: usize,
    /// Number of classes. Default `1000`.
    pub classes: usize,
    /// Dropout behind each hidden dense layer, in `[0, 1]`. Default `0.5`.
    pub dropout: f64,
}

impl Default for VggConfig {
    fn default() -> Self {
        Self::vgg16()
    }
}

impl VggConfig {
    /// 132.9 M parameters, images of 224.
    pub fn vgg11() -> Self {
        Self::repeated([1, 1, 2, 2, 2])
    }

    /// 138.4 M parameters, images of 224.
    pub fn vgg16() -> Self {
        Self::repeated([2, 2, 3, 3, 3])
    }

    fn repeated(layers: [usize; 5]) -> Self {
        let widths = [64, 128, 256, 512, 512];
        let blocks = layers.into_iter().zip(widths);
        Self {
            blocks: blocks.map(|(n, width)| vec![width; n]).collect(),
            hidden: 4096,
            classes: 1000,
            dropout: 0.5,
        }
    }
}

/// The convolutions of a VGG without the classifier: `(n, 3, h, w)` → `(n, c, h/32, w/32)`.
///
/// Weights `0.weight`, `0.bias`, …, numbered as torchvision's `features`.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, models::{VggConfig, VggFeatures}};
/// let params = Params::new(0, &Device::Cpu);
/// VggFeatures::new(&VggConfig::vgg16(), params.vb().pp("features"))?;
/// assert_eq!(params.parameter_count(), 14_714_688);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct VggFeatures {
    blocks: Vec<Vec<Conv2d>>,
    /// Modules before the end of each block, as torchvision counts them.
    names: Vec<usize>,
}

impl VggFeatures {
    /// Builds the convolutions on `vb`.
    pub fn new(config: &VggConfig, vb: VarBuilder) -> Result<Self> {
        let options = Conv2dOptions {
            padding: Padding::Explicit(1.into()),
            ..Default::default()
        };
        let (mut channels, mut module) = (3, 0);
        let (mut blocks, mut names) = (vec![], vec![]);
        for widths in &config.blocks {
            let mut block = vec![];
            for &width in widths {
                block.push(conv2d(channels, width, options, vb.pp(module))?);
                names.push(module);
                // The convolution and its ReLU.
                (channels, module) = (width, module + 2);
            }
            module += 1;
            blocks.push(block);
        }
        Ok(Self { blocks, names })
    }
}

impl Module for VggFeatures {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for block in &self.blocks {
            for (i, convolution) in block.iter().enumerate() {
                x = convolution.forward(&x)?;
                if i + 1 < block.len() {
                    x = relu(&x)?;
                }
            }
            // The last ReLU behind the pool: they commute, and the pool leaves a quarter.
            x = relu(&max_pool2d(&x, &MaxPool2dConfig::default())?)?;
        }
        Ok(x)
    }
}

/// Image classifier `(n, 3, h, w)` → logits `(n, classes)`, with the weights' names of torchvision:
/// `features.0.weight`, …, `classifier.0.weight`, `classifier.3.weight`, `classifier.6.weight`.
///
/// Source: Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition",
/// 2014.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::{Params, models::{Vgg, VggConfig}};
/// let params = Params::new(0, &Device::Cpu);
/// let config = VggConfig { blocks: vec![vec![4], vec![8, 8]], hidden: 16, ..Default::default() };
/// let model = Vgg::new(&config, params.vb())?;
/// let x = Tensor::zeros((2, 3, 32, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(model.forward_t(&x, false)?.dims(), [2, 1000]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Vgg {
    features: VggFeatures,
    hidden: [Linear; 2],
    dropout: Dropout,
    classifier: Linear,
}

impl Vgg {
    /// The prefix of the last layer's weights.
    pub const CLASSIFIER: &str = "classifier.6";

    /// Builds the network on `vb`.
    pub fn new(config: &VggConfig, vb: VarBuilder) -> Result<Self> {
        let channels = config.blocks.iter().flatten().last().copied().unwrap_or(3);
        let (hidden, dense) = (config.hidden, vb.pp("classifier"));
        Ok(Self {
            features: VggFeatures::new(config, vb.pp("features"))?,
            hidden: [
                linear(channels * 49, hidden, dense.pp("0"))?,
                linear(hidden, hidden, dense.pp("3"))?,
            ],
            dropout: Dropout::new(config.dropout),
            classifier: linear(hidden, config.classes, vb.pp(Self::CLASSIFIER))?,
        })
    }
}

impl ImageClassifier for Vgg {
    fn forward_features(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let x = adaptive_avg_pool2d(&self.features.forward(x)?, (7, 7))?;
        let mut x = flatten_from(&x, 1)?;
        for hidden in &self.hidden {
            x = self
                .dropout
                .forward_t(&relu(&hidden.forward(&x)?)?, train)?;
        }
        Ok(x)
    }

    fn forward_head(&self, features: &Tensor, _: bool) -> Result<Tensor> {
        self.classifier.forward(features)
    }

    fn depth_patterns(&self) -> Vec<String> {
        let dense = [6, 3, 0].map(|i| format!("classifier.{i}.*"));
        let names = self.features.names.iter().rev();
        dense
            .into_iter()
            .chain(names.map(|i| format!("features.{i}.*")))
            .collect()
    }
}

impl ModuleT for Vgg {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.forward_head(&self.forward_features(x, train)?, train)
    }
}
