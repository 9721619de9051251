//! A convolution and the batch norm behind it.

use candle_core::{Result, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder};
use dl_autograd::Activation;

use crate::layers::{
    BatchNorm, BatchNormConfig, Conv2d, Conv2dOptions, Padding, batch_norm, conv2d,
};

/// A convolution without bias, its norm and the norm's activation.
#[derive(Clone, Debug)]
pub(super) struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    /// Both over the same number of output channels.
    pub(super) fn new(
        (c_in, c_out): (usize, usize),
        options: Conv2dOptions,
        norm: BatchNormConfig,
        (conv_vb, norm_vb): (VarBuilder, VarBuilder),
    ) -> Result<Self> {
        Ok(Self {
            conv: conv2d(c_in, c_out, options, conv_vb)?,
            norm: batch_norm(c_out, norm, norm_vb)?,
        })
    }

    /// As PyTorch's models have it: `⌊kernel/2⌋` zeros on all sides and PyTorch's norm.
    pub(super) fn torch(
        channels: (usize, usize),
        (kernel, stride, groups): (usize, usize, usize),
        activation: Activation,
        vbs: (VarBuilder, VarBuilder),
    ) -> Result<Self> {
        let options = Conv2dOptions {
            kernel: (kernel, kernel),
            stride: (stride, stride),
            padding: Padding::Explicit((kernel / 2).into()),
            groups,
            bias: false,
            ..Default::default()
        };
        let norm = BatchNormConfig {
            activation,
            ..Default::default()
        };
        Self::new(channels, options, norm, vbs)
    }
}

/// Several behind each other, with `residual` added before the last activation, if there is one.
pub(super) fn forward_all(
    layers: &[ConvNorm],
    x: &Tensor,
    residual: Option<&Tensor>,
    train: bool,
) -> Result<Tensor> {
    let [first, rest @ ..] = layers else {
        return Ok(x.clone());
    };
    let (mut y, mut norm) = (first.conv.forward(x)?, &first.norm);
    for next in rest {
        y = norm.forward_conv(&y, &next.conv, train)?;
        norm = &next.norm;
    }
    match residual {
        Some(residual) => norm.forward_add(&y, residual, train),
        None => norm.forward_t(&y, train),
    }
}

impl ModuleT for ConvNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.norm.forward_t(&self.conv.forward(x)?, train)
    }
}
