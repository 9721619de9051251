//! Residual networks.

use candle_core::{Result, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder};
use dl_autograd::{Activation, MaxPool2dConfig, global_avg_pool, max_pool2d};
use serde::{Deserialize, Serialize};

use super::ImageClassifier;
use super::conv_norm::{ConvNorm, forward_all};
use super::segment::Segment;
use crate::layers::{Linear, linear};

/// What a stage repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResNetBlock {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 and 1×1, which ends with four times the width. The 3×3 has the stride, as in
    /// torchvision.
    Bottleneck,
}

impl ResNetBlock {
    fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

/// What comes before the first stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResNetStem {
    /// A 7×7 convolution and a 3×3 maximum pool, each of stride 2.
    ImageNet,
    /// A 3×3 convolution.
    Cifar,
}

/// A member of the family; [`resnet18`](Self::resnet18) is the default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResNetConfig {
    /// The block of all stages. Default basic.
    pub block: ResNetBlock,
    /// Blocks of each stage. Default `[2, 2, 2, 2]`.
    pub layers: Vec<usize>,
    /// Width of each stage; the stem has the first. Default `[64, 128, 256, 512]`.
    pub widths: Vec<usize>,
    /// Default ImageNet's.
    pub stem: ResNetStem,
    /// Number of classes. Default `1000`.
    pub classes: usize,
    /// Whether blocks keep their inputs alone for the backward, which runs them again
    /// ([`checkpointed`](crate::layers::checkpointed())): less memory for a forward more, and the same
    /// bits. Default `false`.
    pub gradient_checkpointing: bool,
}

impl Default for ResNetConfig {
    fn default() -> Self {
        Self::resnet18()
    }
}

impl ResNetConfig {
    /// 11.7 M parameters, images of 224.
    pub fn resnet18() -> Self {
        Self::imagenet(ResNetBlock::Basic, [2, 2, 2, 2])
    }

    /// 21.8 M parameters, images of 224.
    pub fn resnet34() -> Self {
        Self::imagenet(ResNetBlock::Basic, [3, 4, 6, 3])
    }

    /// 25.6 M parameters, images of 224.
    pub fn resnet50() -> Self {
        Self::imagenet(ResNetBlock::Bottleneck, [3, 4, 6, 3])
    }

    /// 0.27 M parameters, images of 32, 10 classes. Where the width changes the shortcut is a 1×1
    /// convolution, option B of the paper.
    pub fn resnet20() -> Self {
        Self::cifar(3)
    }

    /// 0.86 M parameters, images of 32, 10 classes.
    pub fn resnet56() -> Self {
        Self::cifar(9)
    }

    fn imagenet(block: ResNetBlock, layers: [usize; 4]) -> Self {
        Self {
            block,
            layers: layers.to_vec(),
            widths: vec![64, 128, 256, 512],
            stem: ResNetStem::ImageNet,
            classes: 1000,
            gradient_checkpointing: false,
        }
    }

    fn cifar(blocks: usize) -> Self {
        Self {
            block: ResNetBlock::Basic,
            layers: vec![blocks; 3],
            widths: vec![16, 32, 64],
            stem: ResNetStem::Cifar,
            classes: 10,
            gradient_checkpointing: false,
        }
    }
}

#[derive(Clone, Debug)]
struct Block {
    /// The input is added before the activation of the last.
    branch: Vec<ConvNorm>,
    downsample: Option<ConvNorm>,
}

impl Block {
    fn new(
        block: ResNetBlock,
        (c_in, width): (usize, usize),
        stride: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let c_out = width * block.expansion();
        // Channels in and out, kernel, stride.
        let plan = match block {
            ResNetBlock::Basic => vec![(c_in, width, 3, stride), (width, width, 3, 1)],
            ResNetBlock::Bottleneck => vec![
                (c_in, width, 1, 1),
                (width, width, 3, stride),
                (width, c_out, 1, 1),
            ],
        };
        let convolution = |(i, (c_in, c_out, kernel, stride)): (usize, _)| {
            let vbs = (
                vb.pp(format!("conv{}", i + 1)),
                vb.pp(format!("bn{}", i + 1)),
            );
            ConvNorm::torch((c_in, c_out), (kernel, stride, 1), Activation::Relu, vbs)
        };
        let shortcut = || {
            let vb = vb.pp("downsample");
            let vbs = (vb.pp("0"), vb.pp("1"));
            ConvNorm::torch((c_in, c_out), (1, stride, 1), Activation::Identity, vbs)
        };
        Ok(Self {
            branch: plan
                .into_iter()
                .enumerate()
                .map(convolution)
                .collect::<Result<_>>()?,
            downsample: (stride != 1 || c_in != c_out).then(shortcut).transpose()?,
        })
    }
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward_t(x, train)?,
            None => x.clone(),
        };
        forward_all(&self.branch, x, Some(&shortcut), train)
    }
}

/// Image classifier `(n, 3, h, w)` → logits `(n, classes)`, with the weights' names of torchvision:
/// `conv1.weight`, `layer1.0.bn2.bias`, `layer2.0.downsample.0.weight`, …, `fc.weight`.
///
/// Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2015.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, models::{ResNet, ResNetConfig}};
/// let parameters = |config: ResNetConfig| -> candle_core::Result<usize> {
///     let params = Params::new(0, &Device::Cpu);
///     ResNet::new(&config, params.vb())?;
///     Ok(params.parameter_count())
/// };
/// assert_eq!(parameters(ResNetConfig::resnet18())?, 11_689_512);
/// assert_eq!(parameters(ResNetConfig::resnet50())?, 25_557_032);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ResNet {
    stem: ConvNorm,
    pool: bool,
    stages: Vec<Vec<Segment<Block>>>,
    classifier: Linear,
}

impl ResNet {
    /// The prefix of the classifier's weights.
    pub const CLASSIFIER: &str = "fc";

    /// Builds the network on `vb`.
    pub fn new(config: &ResNetConfig, vb: VarBuilder) -> Result<Self> {
        if config.widths.is_empty() || config.widths.len() != config.layers.len() {
            candle_core::bail!(
                "a ResNet needs a width for each stage, got layers {:?} and widths {:?}",
                config.layers,
                config.widths
            )
        }
        let (kernel, stride) = match config.stem {
            ResNetStem::ImageNet => (7, 2),
            ResNetStem::Cifar => (3, 1),
        };
        let vbs = (vb.pp("conv1"), vb.pp("bn1"));
        let mut channels = config.widths[0];
        let relu = Activation::Relu;
        let stem = ConvNorm::torch((3, channels), (kernel, stride, 1), relu, vbs)?;
        let mut stages = vec![];
        for (i, (&blocks, &width)) in config.layers.iter().zip(&config.widths).enumerate() {
            let vb = vb.pp(format!("layer{}", i + 1));
            let mut stage = vec![];
            for j in 0..blocks {
                let stride = if i > 0 && j == 0 { 2 } else { 1 };
                let build = |vb| Block::new(config.block, (channels, width), stride, vb);
                let block = Segment::new(config.gradient_checkpointing, vb.pp(j), build)?;
                stage.push(block);
                channels = width * config.block.expansion();
            }
            stages.push(stage);
        }
        Ok(Self {
            stem,
            pool: config.stem == ResNetStem::ImageNet,
            stages,
            classifier: linear(channels, config.classes, vb.pp(Self::CLASSIFIER))?,
        })
    }
}

impl ImageClassifier for ResNet {
    fn forward_features(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = self.stem.forward_t(x, train)?;
        if self.pool {
            let config = MaxPool2dConfig {
                kernel: (3, 3),
                stride: Some((2, 2)),
                padding: (1, 1),
                ..Default::default()
            };
            x = max_pool2d(&x, &config)?;
        }
        for block in self.stages.iter().flatten() {
            x = block.forward(&x, train, move |block, x| block.forward_t(x, train))?;
        }
        global_avg_pool(&x)
    }

    fn forward_head(&self, features: &Tensor, _: bool) -> Result<Tensor> {
        self.classifier.forward(features)
    }

    fn depth_patterns(&self) -> Vec<String> {
        let blocks = self.stages.iter().enumerate().flat_map(|(stage, blocks)| {
            (0..blocks.len()).map(move |block| format!("layer{}.{block}.*", stage + 1))
        });
        let mut patterns: Vec<String> = ["conv1.*", "bn1.*"].map(String::from).into();
        patterns.extend(blocks);
        patterns.push("fc.*".to_string());
        patterns.reverse();
        patterns
    }
}

impl ModuleT for ResNet {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.forward_head(&self.forward_features(x, train)?, train)
    }
}
