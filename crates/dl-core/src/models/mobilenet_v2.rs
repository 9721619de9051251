//! MobileNetV2.

use candle_core::{Result, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder};
use dl_autograd::{Activation, global_avg_pool};
use serde::{Deserialize, Serialize};

use super::ImageClassifier;
use super::conv_norm::{ConvNorm, forward_all};
use crate::layers::{Dropout, Linear, linear};

/// Blocks that are alike but for the stride of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MobileNetV2Stage {
    /// How many times wider a block is inside, `≥ 1`.
    pub expand: usize,
    /// Channels behind each block.
    pub channels: usize,
    /// Number of blocks.
    pub repeats: usize,
    /// Stride of the first.
    pub stride: usize,
}

/// The plan of the network, torchvision's by default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MobileNetV2Config {
    /// Channels behind the first convolution. Default `32`.
    pub stem: usize,
    /// Default the seven of the paper.
    pub stages: Vec<MobileNetV2Stage>,
    /// Length of the vector in front of the classifier. Default `1280`.
    pub features: usize,
    /// Number of classes. Default `1000`.
    pub classes: usize,
    /// Dropout in front of the classifier, in `[0, 1]`. Default `0.2`.
    pub dropout: f64,
}

impl Default for MobileNetV2Config {
    fn default() -> Self {
        let stage = |(expand, channels, repeats, stride)| MobileNetV2Stage {
            expand,
            channels,
            repeats,
            stride,
        };
        let stages = [
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ];
        Self {
            stem: 32,
            stages: stages.map(stage).to_vec(),
            features: 1280,
            classes: 1000,
            dropout: 0.2,
        }
    }
}

/// Widen, convolve each channel, narrow, add the input back where the shape stays.
#[derive(Clone, Debug)]
struct Block {
    convolutions: Vec<ConvNorm>,
    residual: bool,
}

impl Block {
    fn new(
        (c_in, c_out): (usize, usize),
        expand: usize,
        stride: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let (wide, vb) = (c_in * expand, vb.pp("conv"));
        let mut convolutions = vec![];
        let inside = |i: usize| (vb.pp(i).pp("0"), vb.pp(i).pp("1"));
        if expand != 1 {
            let widen = ConvNorm::torch((c_in, wide), (1, 1, 1), Activation::Relu6, inside(0))?;
            convolutions.push(widen);
        }
        let depthwise = (3, stride, wide);
        let vbs = inside(convolutions.len());
        convolutions.push(ConvNorm::torch(
            (wide, wide),
            depthwise,
            Activation::Relu6,
            vbs,
        )?);
        let last = convolutions.len();
        let vbs = (vb.pp(last), vb.pp(last + 1));
        let narrow = ConvNorm::torch((wide, c_out), (1, 1, 1), Activation::Identity, vbs)?;
        convolutions.push(narrow);
        Ok(Self {
            convolutions,
            residual: stride == 1 && c_in == c_out,
        })
    }
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let residual = self.residual.then_some(x);
        forward_all(&self.convolutions, x, residual, train)
    }
}

/// Image classifier `(n, 3, h, w)` → logits `(n, classes)`, with the weights' names of torchvision:
/// `features.0.0.weight`, `features.2.conv.1.0.weight`, …, `classifier.1.weight`.
///
/// Source: Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2", 2018.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, models::MobileNetV2};
/// let params = Params::new(0, &Device::Cpu);
/// MobileNetV2::new(&Default::default(), params.vb())?;
/// assert_eq!(params.parameter_count(), 3_504_872);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MobileNetV2 {
    stem: ConvNorm,
    blocks: Vec<Block>,
    head: ConvNorm,
    dropout: Dropout,
    classifier: Linear,
}

impl MobileNetV2 {
    /// The prefix of the classifier's weights.
    pub const CLASSIFIER: &str = "classifier.1";

    /// Builds the network on `vb`.
    pub fn new(config: &MobileNetV2Config, vb: VarBuilder) -> Result<Self> {
        let features = vb.pp("features");
        let outer = |i: usize| (features.pp(i).pp("0"), features.pp(i).pp("1"));
        let relu6 = Activation::Relu6;
        let stem = ConvNorm::torch((3, config.stem), (3, 2, 1), relu6, outer(0))?;
        let (mut channels, mut blocks) = (config.stem, vec![]);
        for stage in &config.stages {
            for repeat in 0..stage.repeats {
                let stride = if repeat == 0 { stage.stride } else { 1 };
                let vb = features.pp(blocks.len() + 1);
                let sizes = (channels, stage.channels);
                blocks.push(Block::new(sizes, stage.expand, stride, vb)?);
                channels = stage.channels;
            }
        }
        let last = outer(blocks.len() + 1);
        Ok(Self {
            stem,
            blocks,
            head: ConvNorm::torch((channels, config.features), (1, 1, 1), relu6, last)?,
            dropout: Dropout::new(config.dropout),
            classifier: linear(config.features, config.classes, vb.pp(Self::CLASSIFIER))?,
        })
    }
}

impl ImageClassifier for MobileNetV2 {
    fn forward_features(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = self.stem.forward_t(x, train)?;
        for block in &self.blocks {
            x = block.forward_t(&x, train)?;
        }
        global_avg_pool(&self.head.forward_t(&x, train)?)
    }

    fn forward_head(&self, features: &Tensor, train: bool) -> Result<Tensor> {
        let features = self.dropout.forward_t(features, train)?;
        self.classifier.forward(&features)
    }

    fn depth_patterns(&self) -> Vec<String> {
        let features = (0..self.blocks.len() + 2).rev();
        let features = features.map(|i| format!("features.{i}.*"));
        ["classifier.*".to_string()]
            .into_iter()
            .chain(features)
            .collect()
    }
}

impl ModuleT for MobileNetV2 {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.forward_head(&self.forward_features(x, train)?, train)
    }
}
