//! A network for images of convolutions, batch norms and residuals.

use anyhow::Result;
use candle_core::{Result as CandleResult, Tensor};
use candle_nn::{BatchNorm, Conv2d, Conv2dConfig, Linear, Module, ModuleT, VarBuilder, VarMap};
use candle_nn::{batch_norm, conv2d_no_bias, linear};
use peers::Workload;

use crate::training::{builder, ids, normal, sgd, training};

struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(
        (c_in, c_out): (usize, usize),
        kernel: usize,
        stride: usize,
        vb: VarBuilder,
    ) -> CandleResult<Self> {
        let config = Conv2dConfig {
            padding: kernel / 2,
            stride,
            ..Default::default()
        };
        Ok(Self {
            conv: conv2d_no_bias(c_in, c_out, kernel, config, vb.pp("conv"))?,
            norm: batch_norm(c_out, 1e-5, vb.pp("norm"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        self.norm.forward_t(&self.conv.forward(x)?, true)
    }
}

struct BasicBlock {
    first: ConvNorm,
    second: ConvNorm,
    shortcut: Option<ConvNorm>,
}

impl BasicBlock {
    fn new(c_in: usize, c_out: usize, stride: usize, vb: VarBuilder) -> CandleResult<Self> {
        let changes = stride != 1 || c_in != c_out;
        let shortcut = || ConvNorm::new((c_in, c_out), 1, stride, vb.pp("shortcut"));
        Ok(Self {
            first: ConvNorm::new((c_in, c_out), 3, stride, vb.pp("first"))?,
            second: ConvNorm::new((c_out, c_out), 3, 1, vb.pp("second"))?,
            shortcut: changes.then(shortcut).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let y = self.second.forward(&self.first.forward(x)?.relu()?)?;
        match &self.shortcut {
            Some(shortcut) => (y + shortcut.forward(x)?)?.relu(),
            None => (y + x)?.relu(),
        }
    }
}

struct ResNet20 {
    stem: ConvNorm,
    blocks: Vec<BasicBlock>,
    classifier: Linear,
}

impl ResNet20 {
    fn new(vb: VarBuilder) -> CandleResult<Self> {
        let (mut blocks, mut c) = (vec![], 16);
        for i in 0..9 {
            let (width, stride) = (16 << (i / 3), if i == 3 || i == 6 { 2 } else { 1 });
            blocks.push(BasicBlock::new(c, width, stride, vb.pp("blocks").pp(i))?);
            c = width;
        }
        Ok(Self {
            stem: ConvNorm::new((3, 16), 3, 1, vb.pp("stem"))?,
            blocks,
            classifier: linear(64, 10, vb.pp("classifier"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let mut x = self.stem.forward(x)?.relu()?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        self.classifier.forward(&x.mean((2, 3))?)
    }
}

pub fn resnet20() -> Result<Workload> {
    let vars = VarMap::new();
    let model = ResNet20::new(builder(&vars))?;
    let batch = (normal(&[64, 3, 32, 32])?, ids(&[64], 10)?);
    training(move |x| model.forward(x), batch, sgd(&vars)?)
}
