//! EfficientNet-Lite: EfficientNet without squeeze-excite and with ReLU6, for plain hardware.
//!
//! Source: Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020, after Tan, Le,
//! "EfficientNet: rethinking model scaling for convolutional neural networks", 2019.

use candle_core::{Result, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder};
use dl_autograd::{Activation, global_avg_pool};
use serde::{Deserialize, Serialize};

use super::ImageClassifier;
use super::conv_norm::{ConvNorm, forward_all};
use crate::layers::{BatchNormConfig, Conv2dOptions, Dropout, Linear, Padding, linear};

/// Repeats, kernel, stride, expansion and output channels of the seven stages of Lite0.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
];
const STEM: usize = 32;
const HEAD: usize = 1280;

/// A member of the family; [`lite0`](Self::lite0) is the default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EfficientNetLiteConfig {
    /// Factor on the channels of the stages, `> 0`. Default `1.0`.
    pub width: f64,
    /// Factor on the repeats of the stages, the first and the last excepted, `> 0`. Default `1.0`.
    pub depth: f64,
    /// Number of classes. Default `1000`.
    pub classes: usize,
    /// Dropout in front of the classifier, in `[0, 1]`. Default `0.2`.
    pub dropout: f64,
    /// Added to the variance in batch norm, `≥ 0`. Default `1e-3`, TensorFlow's, which the
    /// pretrained weights were trained with.
    pub batch_norm_eps: f64,
    /// Weight of the newest batch in the running statistics, in `[0, 1]`. Default `0.1`, PyTorch's;
    /// the original trained for hundreds of epochs with `0.01`.
    pub batch_norm_momentum: f64,
}

impl Default for EfficientNetLiteConfig {
    fn default() -> Self {
        Self::lite0()
    }
}

impl EfficientNetLiteConfig {
    /// 4.65 M parameters, images of 224.
    pub fn lite0() -> Self {
        Self::scaled(1.0, 1.0, 0.2)
    }

    /// 5.4 M parameters, images of 240.
    pub fn lite1() -> Self {
        Self::scaled(1.0, 1.1, 0.2)
    }

    /// 6.1 M parameters, images of 260.
    pub fn lite2() -> Self {
        Self::scaled(1.1, 1.2, 0.3)
    }

    /// 8.2 M parameters, images of 280.
    pub fn lite3() -> Self {
        Self::scaled(1.2, 1.4, 0.3)
    }

    /// 13.0 M parameters, images of 300.
    pub fn lite4() -> Self {
        Self::scaled(1.4, 1.8, 0.3)
    }

    fn scaled(width: f64, depth: f64, dropout: f64) -> Self {
        Self {
            width,
            depth,
            classes: 1000,
            dropout,
            batch_norm_eps: 1e-3,
            batch_norm_momentum: 0.1,
        }
    }

    /// Channels scaled and rounded to a multiple of 8, never below 90 % of what was asked.
    fn channels(&self, channels: usize) -> usize {
        let scaled = channels as f64 * self.width;
        let rounded = ((scaled / 8. + 0.5) as usize * 8).max(8);
        match (rounded as f64) < 0.9 * scaled {
            true => rounded + 8,
            false => rounded,
        }
    }

    fn repeats(&self, stage: usize, repeats: usize) -> usize {
        match stage == 0 || stage == STAGES.len() - 1 {
            true => repeats,
            false => (repeats as f64 * self.depth).ceil() as usize,
        }
    }

    fn norm(&self, activation: Activation) -> BatchNormConfig {
        BatchNormConfig {
            eps: self.batch_norm_eps,
            momentum: self.batch_norm_momentum,
            activation,
        }
    }

    /// Every block in order: channels in and out, kernel, stride, expansion.
    fn blocks(&self) -> Vec<BlockConfig> {
        let mut blocks: Vec<BlockConfig> = vec![];
        let mut c_in = STEM;
        for (stage, &(repeats, kernel, stride, expand, c_out)) in STAGES.iter().enumerate() {
            let c_out = self.channels(c_out);
            for repeat in 0..self.repeats(stage, repeats) {
                blocks.push(BlockConfig {
                    c_in,
                    c_out,
                    kernel,
                    stride: if repeat == 0 { stride } else { 1 },
                    expand,
                });
                c_in = c_out;
            }
        }
        blocks
    }
}

fn options(kernel: usize, stride: usize, groups: usize) -> Conv2dOptions {
    Conv2dOptions {
        kernel: (kernel, kernel),
        stride: (stride, stride),
        padding: Padding::Same,
        groups,
        bias: false,
        ..Default::default()
    }
}

#[derive(Clone, Copy, Debug)]
struct BlockConfig {
    c_in: usize,
    c_out: usize,
    kernel: usize,
    stride: usize,
    expand: usize,
}

/// Mobile inverted bottleneck: widen, convolve each channel, narrow, add the input back.
#[derive(Clone, Debug)]
struct Block {
    convolutions: Vec<ConvNorm>,
    residual: bool,
}

impl Block {
    fn new(b: BlockConfig, config: &EfficientNetLiteConfig, vb: VarBuilder) -> Result<Self> {
        let wide = b.c_in * b.expand;
        let relu6 = config.norm(Activation::Relu6);
        let mut convolutions = vec![];
        if b.expand != 1 {
            let vbs = (vb.pp("_expand_conv"), vb.pp("_bn0"));
            let widen = ConvNorm::new((b.c_in, wide), options(1, 1, 1), relu6, vbs)?;
            convolutions.push(widen);
        }
        let vbs = (vb.pp("_depthwise_conv"), vb.pp("_bn1"));
        let channels = options(b.kernel, b.stride, wide);
        convolutions.push(ConvNorm::new((wide, wide), channels, relu6, vbs)?);
        let vbs = (vb.pp("_project_conv"), vb.pp("_bn2"));
        let linear = config.norm(Activation::Identity);
        let narrow = ConvNorm::new((wide, b.c_out), options(1, 1, 1), linear, vbs)?;
        convolutions.push(narrow);
        Ok(Self {
            convolutions,
            residual: b.stride == 1 && b.c_in == b.c_out,
        })
    }
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let residual = self.residual.then_some(x);
        forward_all(&self.convolutions, x, residual, train)
    }
}

/// Image classifier `(n, 3, h, w)` → logits `(n, classes)`.
///
/// Pixels are scaled as `(x − 127) / 128` for x in `0..=255`. Weights carry the names of the
/// pretrained PyTorch file: `_conv_stem.weight`, `_blocks.0._depthwise_conv.weight`, …,
/// `_fc.weight`.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, models::EfficientNetLite};
/// let params = Params::new(0, &Device::Cpu);
/// EfficientNetLite::new(&Default::default(), params.vb())?;
/// assert_eq!(params.parameter_count(), 4_652_008);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EfficientNetLite {
    stem: ConvNorm,
    blocks: Vec<Block>,
    head: ConvNorm,
    dropout: Dropout,
    classifier: Linear,
}

impl EfficientNetLite {
    /// Length of the vector in front of the classifier.
    pub const FEATURES: usize = HEAD;
    /// The prefix of the classifier's weights.
    pub const CLASSIFIER: &str = "_fc";

    /// Builds the network on `vb`.
    pub fn new(config: &EfficientNetLiteConfig, vb: VarBuilder) -> Result<Self> {
        let relu6 = config.norm(Activation::Relu6);
        let blocks = config.blocks();
        let last = blocks.last().map_or(STEM, |b| b.c_out);
        let block = |(i, &b): (usize, &BlockConfig)| Block::new(b, config, vb.pp("_blocks").pp(i));
        Ok(Self {
            stem: ConvNorm::new(
                (3, STEM),
                options(3, 2, 1),
                relu6,
                (vb.pp("_conv_stem"), vb.pp("_bn0")),
            )?,
            blocks: blocks
                .iter()
                .enumerate()
                .map(block)
                .collect::<Result<_>>()?,
            head: ConvNorm::new(
                (last, HEAD),
                options(1, 1, 1),
                relu6,
                (vb.pp("_conv_head"), vb.pp("_bn1")),
            )?,
            dropout: Dropout::new(config.dropout),
            classifier: linear(HEAD, config.classes, vb.pp(Self::CLASSIFIER))?,
        })
    }
}

impl ImageClassifier for EfficientNetLite {
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
        let blocks = (0..self.blocks.len())
            .rev()
            .map(|i| format!("_blocks.{i}.*"));
        ["_fc.*", "_conv_head.*", "_bn1.*"]
            .map(String::from)
            .into_iter()
            .chain(blocks)
            .chain(["_bn0.*", "_conv_stem.*"].map(String::from))
            .collect()
    }
}

impl ModuleT for EfficientNetLite {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.forward_head(&self.forward_features(x, train)?, train)
    }
}
