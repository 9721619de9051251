//! Networks for images of convolutions, batch norms and residuals.

use anyhow::Result;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::prelude::*;
use burn::tensor::activation::relu;
use peers::Workload;

use crate::training::{device, ids, normal, sgd, training};

/// As much on every side as keeps the size at stride 1.
fn padding(kernel: usize) -> PaddingConfig2d {
    let p = kernel / 2;
    PaddingConfig2d::Explicit(p, p, p, p)
}

#[derive(Module, Debug)]
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new([c_in, c_out]: [usize; 2], kernel: usize, stride: usize, groups: usize) -> Self {
        let conv = Conv2dConfig::new([c_in, c_out], [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(padding(kernel))
            .with_groups(groups)
            .with_bias(false);
        Self {
            conv: conv.init(&device()),
            norm: BatchNormConfig::new(c_out).init(&device()),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

/// The mean of every channel, from `(b, c, h, w)`.
fn pooled(x: Tensor<4>) -> Tensor<2> {
    x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2)
}

#[derive(Module, Debug)]
struct BasicBlock {
    first: ConvNorm,
    second: ConvNorm,
    shortcut: Option<ConvNorm>,
}

impl BasicBlock {
    fn new(c_in: usize, c_out: usize, stride: usize) -> Self {
        let changes = stride != 1 || c_in != c_out;
        Self {
            first: ConvNorm::new([c_in, c_out], 3, stride, 1),
            second: ConvNorm::new([c_out, c_out], 3, 1, 1),
            shortcut: changes.then(|| ConvNorm::new([c_in, c_out], 1, stride, 1)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.second.forward(relu(self.first.forward(x.clone())));
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x),
            None => x,
        };
        relu(y + shortcut)
    }
}

#[derive(Module, Debug)]
struct ResNet {
    stem: ConvNorm,
    pool: Option<MaxPool2d>,
    blocks: Vec<BasicBlock>,
    classifier: Linear,
}

impl ResNet {
    /// So many blocks of each width, the first of all but the first width at stride 2.
    fn new(stem: ConvNorm, pool: Option<MaxPool2d>, stages: &[(usize, usize)], n: usize) -> Self {
        let mut c = stages[0].1;
        let mut blocks = vec![];
        for (i, &(count, width)) in stages.iter().enumerate() {
            for j in 0..count {
                let stride = if i > 0 && j == 0 { 2 } else { 1 };
                blocks.push(BasicBlock::new(c, width, stride));
                c = width;
            }
        }
        let classifier = LinearConfig::new(c, n).init(&device());
        Self {
            stem,
            pool,
            blocks,
            classifier,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = relu(self.stem.forward(x));
        if let Some(pool) = &self.pool {
            x = pool.forward(x);
        }
        for block in &self.blocks {
            x = block.forward(x);
        }
        self.classifier.forward(pooled(x))
    }
}

pub fn resnet20() -> Result<Workload> {
    let stem = ConvNorm::new([3, 16], 3, 1, 1);
    let model = ResNet::new(stem, None, &[(3, 16), (3, 32), (3, 64)], 10);
    let batch = (normal([64, 3, 32, 32], &device()), ids([64], 10));
    training(64, model, ResNet::forward, batch, sgd())
}

pub fn resnet18() -> Result<Workload> {
    let stem = ConvNorm::new([3, 64], 7, 2, 1);
    let pool = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]);
    let pool = pool.with_padding(padding(3)).init();
    let stages = [(2, 64), (2, 128), (2, 256), (2, 512)];
    let model = ResNet::new(stem, Some(pool), &stages, 1000);
    let batch = (normal([8, 3, 224, 224], &device()), ids([8], 1000));
    training(8, model, ResNet::forward, batch, sgd())
}

/// Widen, convolve each channel, narrow, add the input back where the shape stays.
#[derive(Module, Debug)]
struct InvertedResidual {
    widen: Option<ConvNorm>,
    depthwise: ConvNorm,
    narrow: ConvNorm,
    residual: bool,
}

impl InvertedResidual {
    fn new(c_in: usize, c_out: usize, expand: usize, stride: usize) -> Self {
        let wide = c_in * expand;
        Self {
            widen: (expand != 1).then(|| ConvNorm::new([c_in, wide], 1, 1, 1)),
            depthwise: ConvNorm::new([wide, wide], 3, stride, wide),
            narrow: ConvNorm::new([wide, c_out], 1, 1, 1),
            residual: stride == 1 && c_in == c_out,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = match &self.widen {
            Some(widen) => relu6(widen.forward(x.clone())),
            None => x.clone(),
        };
        let y = self.narrow.forward(relu6(self.depthwise.forward(y)));
        if self.residual { x + y } else { y }
    }
}

fn relu6(x: Tensor<4>) -> Tensor<4> {
    x.clamp(0., 6.)
}

#[derive(Module, Debug)]
struct MobileNetV2 {
    stem: ConvNorm,
    blocks: Vec<InvertedResidual>,
    head: ConvNorm,
    classifier: Linear,
}

impl MobileNetV2 {
    fn new() -> Self {
        // Expansion, width, repeats, stride: table 2 of the paper.
        let first = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)];
        let rest = [(6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
        let (mut blocks, mut c) = (vec![], 32);
        for (expand, width, repeats, stride) in first.into_iter().chain(rest) {
            for j in 0..repeats {
                let stride = if j == 0 { stride } else { 1 };
                blocks.push(InvertedResidual::new(c, width, expand, stride));
                c = width;
            }
        }
        Self {
            stem: ConvNorm::new([3, 32], 3, 2, 1),
            blocks,
            head: ConvNorm::new([320, 1280], 1, 1, 1),
            classifier: LinearConfig::new(1280, 1000).init(&device()),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = relu6(self.stem.forward(x));
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = relu6(self.head.forward(x));
        self.classifier.forward(pooled(x))
    }
}

pub fn mobilenet_v2() -> Result<Workload> {
    let batch = (normal([8, 3, 224, 224], &device()), ids([8], 1000));
    training(8, MobileNetV2::new(), MobileNetV2::forward, batch, sgd())
}
