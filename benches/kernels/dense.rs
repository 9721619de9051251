//! Dense layers, plain convolutions, norms, tables.

use candle_core::{Device, Result, Tensor};
use candle_nn::Module;
use dl_autograd::{
    Activation, Conv2dConfig, Epilogue, Prologue, add_layer_norm, add_rms_norm, batch_norm,
    batch_norm_conv2d, batch_norm_with, conv2d, embedding, group_norm, instance_norm, layer_norm,
    linear, linear_gelu, linear_with, log_softmax, matmul, rms_norm, softmax, spectral_norm,
    weight_norm,
};

use crate::{Kernel, kernel};

fn same(groups: usize) -> Conv2dConfig {
    Conv2dConfig {
        padding: 1.into(),
        groups,
        ..Default::default()
    }
}

/// As many ids as a batch of 16 texts of 128 has, spread over the vocabulary.
fn ids() -> Result<Tensor> {
    let ids: Vec<u32> = (0..2048).map(|i| i * 7919 % 30_522).collect();
    Tensor::new(ids, &Device::Cpu)
}

/// Layer norm in candle's operations: its own layer lets no gradient through.
fn candle_layer_norm(t: &[Tensor]) -> Result<Tensor> {
    let centred = t[0].broadcast_sub(&t[0].mean_keepdim(1)?)?;
    let variance = centred.sqr()?.mean_keepdim(1)?;
    centred
        .broadcast_div(&(variance + 1e-12)?.sqrt()?)?
        .broadcast_mul(&t[1])?
        .broadcast_add(&t[2])
}

fn normalised(t: &[Tensor]) -> Result<Tensor> {
    let mean = t[0].mean_keepdim((0, 2, 3))?;
    let centred = t[0].broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim((0, 2, 3))?;
    centred
        .broadcast_div(&(variance + 1e-5)?.sqrt()?)?
        .broadcast_mul(&t[1].reshape((1, (), 1, 1))?)?
        .broadcast_add(&t[2].reshape((1, (), 1, 1))?)
}

/// A vector of length 1.
fn unit(len: usize) -> Result<Tensor> {
    Tensor::ones(len, candle_core::DType::F32, &Device::Cpu)? * (len as f64).powf(-0.5)
}

fn candle_rms_norm(t: &[Tensor]) -> Result<Tensor> {
    candle_nn::ops::rms_norm_slow(&t[0], &t[1], 1e-6)
}

fn candle_group_norm(t: &[Tensor]) -> Result<Tensor> {
    candle_nn::GroupNorm::new(t[1].clone(), t[2].clone(), 64, 8, 1e-5)?.forward(&t[0])
}

pub fn dense() -> Vec<Kernel> {
    vec![
        kernel(
            "linear 2048×768→768",
            &[&[2048, 768], &[768, 768], &[768]],
            |t| linear(&t[0], &t[1], Some(&t[2])),
            Some(|t| t[0].matmul(&t[1].t()?)?.broadcast_add(&t[2])),
        ),
        kernel(
            "matmul 48×128×64×128",
            &[&[48, 128, 64], &[48, 64, 128]],
            |t| matmul(&t[0], &t[1]),
            Some(|t| t[0].matmul(&t[1])),
        ),
        kernel(
            "conv2d 3×3, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64, 64, 3, 3]],
            |t| conv2d(&t[0], &t[1], None, &same(1)),
            Some(|t| t[0].conv2d(&t[1], 1, 1, 1, 1)),
        ),
        kernel(
            "conv2d 1×1, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64, 64, 1, 1]],
            |t| conv2d(&t[0], &t[1], None, &Conv2dConfig::default()),
            Some(|t| t[0].conv2d(&t[1], 0, 1, 1, 1)),
        ),
        kernel(
            "depthwise conv2d 3×3, 16×96×28×28",
            &[&[16, 96, 28, 28], &[96, 1, 3, 3]],
            |t| conv2d(&t[0], &t[1], None, &same(96)),
            Some(|t| t[0].conv2d(&t[1], 1, 1, 1, 96)),
        ),
        kernel(
            "batch_norm + relu + depthwise conv2d 3×3, 16×96×28×28",
            &[&[16, 96, 28, 28], &[96], &[96], &[96, 1, 3, 3]],
            |t| {
                let norm = Prologue {
                    gamma: &t[1],
                    beta: &t[2],
                    eps: 1e-5,
                    activation: Activation::Relu,
                    statistics: None,
                };
                Ok(batch_norm_conv2d(&t[0], &norm, &t[3], None, &same(96))?.0)
            },
            Some(|t| normalised(t)?.relu()?.conv2d(&t[3], 1, 1, 1, 96)),
        ),
        kernel(
            "batch_norm + relu, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64], &[64]],
            |t| Ok(batch_norm(&t[0], &t[1], &t[2], 1e-5, Activation::Relu)?.0),
            Some(|t| normalised(t)?.relu()),
        ),
        kernel(
            "batch_norm + residual + relu, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64], &[64], &[16, 64, 28, 28]],
            |t| {
                let end = Epilogue {
                    residual: Some(&t[3]),
                    activation: Activation::Relu,
                };
                Ok(batch_norm(&t[0], &t[1], &t[2], 1e-5, end)?.0)
            },
            Some(|t| (normalised(t)? + &t[3])?.relu()),
        ),
        kernel(
            "batch_norm_with, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64], &[64]],
            |t| {
                let (zeros, ones) = (t[1].detach().zeros_like()?, t[1].detach().ones_like()?);
                let none = Activation::Identity;
                batch_norm_with(&t[0], &t[1], &t[2], &zeros, &ones, 1e-5, none)
            },
            None,
        ),
        kernel(
            "instance_norm, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64], &[64]],
            |t| instance_norm(&t[0], Some(&t[1]), Some(&t[2]), 1e-5),
            Some(|t| {
                candle_nn::GroupNorm::new(t[1].clone(), t[2].clone(), 64, 64, 1e-5)?.forward(&t[0])
            }),
        ),
        kernel(
            "weight_norm, 512×512×3×3",
            &[&[512, 512, 3, 3], &[512, 1, 1, 1]],
            |t| weight_norm(&t[0], &t[1], Some(0)),
            Some(|t| {
                let length = t[0].sqr()?.sum_keepdim((1, 2, 3))?.sqrt()?;
                t[0].broadcast_mul(&t[1].div(&length)?)
            }),
        ),
        kernel(
            "spectral_norm, 512×4608",
            &[&[512, 4608]],
            |t| spectral_norm(&t[0], &unit(512)?, &unit(4608)?, 0),
            Some(|t| {
                let (u, v) = (unit(512)?.unsqueeze(0)?, unit(4608)?.unsqueeze(1)?);
                t[0].broadcast_div(&u.matmul(&t[0].matmul(&v)?)?)
            }),
        ),
        kernel(
            "residual + rms_norm, 2048×384",
            &[&[2048, 384], &[2048, 384], &[384]],
            |t| add_rms_norm(&t[0], &t[1], Some(&t[2]), 1e-6),
            Some(|t| candle_nn::ops::rms_norm_slow(&(&t[0] + &t[1])?, &t[2], 1e-6)),
        ),
        kernel(
            "linear + relu, 2048×768→768",
            &[&[2048, 768], &[768, 768], &[768]],
            |t| linear_with(&t[0], &t[1], Some(&t[2]), Activation::Relu),
            Some(|t| t[0].matmul(&t[1].t()?)?.broadcast_add(&t[2])?.relu()),
        ),
        kernel(
            "linear + gelu, 2048×384→1536",
            &[&[2048, 384], &[1536, 384], &[1536]],
            |t| linear_gelu(&t[0], &t[1], Some(&t[2])),
            Some(|t| t[0].matmul(&t[1].t()?)?.broadcast_add(&t[2])?.gelu_erf()),
        ),
        kernel(
            "group_norm 8, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64], &[64]],
            |t| group_norm(&t[0], 8, Some(&t[1]), Some(&t[2]), 1e-5),
            Some(candle_group_norm),
        ),
        kernel(
            "residual + layer_norm, 2048×384",
            &[&[2048, 384], &[2048, 384], &[384], &[384]],
            |t| add_layer_norm(&t[0], &t[1], Some(&t[2]), Some(&t[3]), 1e-12),
            Some(|t| {
                let sum = (&t[0] + &t[1])?;
                candle_layer_norm(&[sum, t[2].clone(), t[3].clone()])
            }),
        ),
        kernel(
            "layer_norm, 2048×384",
            &[&[2048, 384], &[384], &[384]],
            |t| layer_norm(&t[0], Some(&t[1]), Some(&t[2]), 1e-12),
            Some(candle_layer_norm),
        ),
        kernel(
            "softmax, 24576×128",
            &[&[24_576, 128]],
            |t| softmax(&t[0], 1),
            Some(|t| candle_nn::ops::softmax(&t[0], 1)),
        ),
        kernel(
            "embedding, 2048 of 30522×384",
            &[&[30_522, 384]],
            |t| embedding(&t[0], &ids()?, None),
            Some(|t| t[0].index_select(&ids()?, 0)),
        ),
        kernel(
            "rms_norm, 2048×384",
            &[&[2048, 384], &[384]],
            |t| rms_norm(&t[0], Some(&t[1]), 1e-6),
            Some(candle_rms_norm),
        ),
        kernel(
            "log_softmax, 512×10000",
            &[&[512, 10_000]],
            |t| log_softmax(&t[0], 1),
            Some(|t| candle_nn::ops::log_softmax(&t[0], 1)),
        ),
    ]
}
