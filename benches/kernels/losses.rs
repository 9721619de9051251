//! Losses.

use candle_core::{Device, Result, Tensor};
use candle_nn::loss;
use dl_autograd::{
    PointwiseLoss, Reduction, binary_cross_entropy_with_logits, cross_entropy, nll_loss,
    pointwise_loss, softmax,
};

use crate::{Kernel, kernel};

fn classes(count: u32) -> Result<Tensor> {
    Tensor::arange(0u32, count, &Device::Cpu)
}

/// Distributions without a graph, made once a call as the ids of the other rows are.
fn distributions(like: &Tensor) -> Result<Tensor> {
    softmax(&like.detach(), 1)
}

fn of_pairs(name: &'static str, ours: crate::Op, candles: Option<crate::Op>) -> Kernel {
    kernel(name, &[&[2000, 2000], &[2000, 2000]], ours, candles)
}

pub fn losses() -> Vec<Kernel> {
    vec![
        kernel(
            "cross_entropy, 512×10000",
            &[&[512, 10_000]],
            |t| cross_entropy(&t[0], &classes(512)?, &Default::default(), Reduction::None),
            Some(|t| candle_nn::loss::cross_entropy(&t[0], &classes(512)?)),
        ),
        kernel(
            "cross_entropy of distributions, 512×10000",
            &[&[512, 10_000], &[512, 10_000]],
            |t| {
                let targets = distributions(&t[1])?;
                cross_entropy(&t[0], &targets, &Default::default(), Reduction::Mean)
            },
            None,
        ),
        kernel(
            "nll_loss, 512×10000",
            &[&[512, 10_000]],
            |t| nll_loss(&t[0], &classes(512)?, &Default::default(), Reduction::Mean),
            Some(|t| loss::nll(&t[0], &classes(512)?)),
        ),
        of_pairs(
            "binary_cross_entropy_with_logits, 4 M",
            |t| {
                binary_cross_entropy_with_logits(&t[0], &t[1], &Default::default(), Reduction::Mean)
            },
            Some(|t| loss::binary_cross_entropy_with_logit(&t[0], &t[1])),
        ),
        of_pairs(
            "mse, 4 M",
            |t| pointwise_loss(&t[0], &t[1], PointwiseLoss::Squared, Reduction::Mean),
            Some(|t| loss::mse(&t[0], &t[1])),
        ),
        of_pairs(
            "huber, 4 M",
            |t| {
                let huber = PointwiseLoss::Huber { delta: 1. };
                pointwise_loss(&t[0], &t[1], huber, Reduction::Mean)
            },
            Some(|t| loss::huber(&t[0], &t[1], 1.)),
        ),
    ]
}
