//! Networks for images.

use anyhow::Result;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::prelude::*;
use burn::tensor::activation::relu;
use peers::Workload;

use crate::training::{adam, device, ids, normal, training};

/// 784-64-64-10.
#[derive(Module, Debug)]
struct Mlp {
    layers: [Linear; 3],
}

impl Mlp {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let [a, b, c] = &self.layers;
        c.forward(relu(b.forward(relu(a.forward(x)))))
    }
}

pub fn mlp() -> Result<Workload> {
    let sizes = [(784, 64), (64, 64), (64, 10)];
    let model = Mlp {
        layers: sizes.map(|(i, o)| LinearConfig::new(i, o).init(&device())),
    };
    let batch = (normal([32, 784], &device()), ids([32], 10));
    training(32, model, Mlp::forward, batch, adam())
}

/// Two convolutions and two dense layers.
#[derive(Module, Debug)]
struct LeNet {
    convolutions: [Conv2d; 2],
    pool: MaxPool2d,
    dense: [Linear; 2],
}

impl LeNet {
    fn new(device: &Device) -> Self {
        let conv = |channels| {
            let config = Conv2dConfig::new(channels, [5, 5]);
            config.with_padding(PaddingConfig2d::Same).init(device)
        };
        Self {
            convolutions: [[1, 32], [32, 64]].map(conv),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            dense: [(3136, 128), (128, 10)].map(|(i, o)| LinearConfig::new(i, o).init(device)),
        }
    }

    fn forward(&self, mut x: Tensor<4>) -> Tensor<2> {
        for conv in &self.convolutions {
            x = self.pool.forward(relu(conv.forward(x)));
        }
        let [hidden, classifier] = &self.dense;
        classifier.forward(relu(hidden.forward(x.flatten(1, 3))))
    }
}

pub fn lenet() -> Result<Workload> {
    let batch = (normal([64, 1, 28, 28], &device()), ids([64], 10));
    training(64, LeNet::new(&device()), LeNet::forward, batch, adam())
}

/// The convolutions of VGG-16.
#[derive(Module, Debug)]
struct VggFeatures {
    stages: Vec<Vec<Conv2d>>,
    pool: MaxPool2d,
}

impl VggFeatures {
    fn new(device: &Device) -> Self {
        let conv = |c_in, c_out| {
            let config = Conv2dConfig::new([c_in, c_out], [3, 3]);
            config.with_padding(PaddingConfig2d::Same).init(device)
        };
        let stage = |(c_in, c_out, count)| -> Vec<Conv2d> {
            let first = std::iter::once(conv(c_in, c_out));
            first
                .chain((1..count).map(|_| conv(c_out, c_out)))
                .collect()
        };
        let plan = [
            (3, 64, 2),
            (64, 128, 2),
            (128, 256, 3),
            (256, 512, 3),
            (512, 512, 3),
        ];
        Self {
            stages: plan.map(stage).to_vec(),
            pool: MaxPool2dConfig::new([2, 2]).init(),
        }
    }

    fn forward(&self, mut x: Tensor<4>) -> Tensor<4> {
        for stage in &self.stages {
            for conv in stage {
                x = relu(conv.forward(x));
            }
            x = self.pool.forward(x);
        }
        x
    }
}

/// In inference, without automatic differentiation; the "loss" is the mean of what comes out.
pub fn vgg16() -> Result<Workload> {
    let device = Device::flex();
    let model = VggFeatures::new(&device);
    let x = normal([8, 3, 224, 224], &device);
    Ok(Workload {
        samples: 8,
        step: Box::new(move || Ok(model.forward(x.clone()).mean().into_scalar())),
    })
}
