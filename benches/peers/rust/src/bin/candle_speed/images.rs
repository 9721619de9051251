//! Networks for images.

use anyhow::Result;
use candle_nn::{Conv2dConfig, Module, Sequential, VarBuilder, VarMap, conv2d, linear, seq};
use peers::Workload;

use crate::training::{adam, builder, frozen, ids, normal, training};

/// 784-64-64-10.
pub fn mlp() -> Result<Workload> {
    let vars = VarMap::new();
    let vb = builder(&vars);
    let model = seq()
        .add(linear(784, 64, vb.pp("0"))?)
        .add_fn(|x| x.relu())
        .add(linear(64, 64, vb.pp("1"))?)
        .add_fn(|x| x.relu())
        .add(linear(64, 10, vb.pp("2"))?);
    let batch = (normal(&[32, 784])?, ids(&[32], 10)?);
    training(move |x| model.forward(x), batch, adam(&vars)?)
}

/// A 5×5 convolution that keeps the size, ReLU and a 2×2 maximum pool, whose gradient is a quarter of
/// what it should be.
fn lenet_stage(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<impl Module + use<>> {
    let config = Conv2dConfig {
        padding: 2,
        ..Default::default()
    };
    let conv = conv2d(c_in, c_out, 5, config, vb)?;
    Ok(seq().add(conv).add_fn(|x| x.relu()?.max_pool2d(2)))
}

/// Two convolutions and two dense layers.
pub fn lenet() -> Result<Workload> {
    let vars = VarMap::new();
    let vb = builder(&vars);
    let model = seq()
        .add(lenet_stage(1, 32, vb.pp("conv1"))?)
        .add(lenet_stage(32, 64, vb.pp("conv2"))?)
        .add_fn(|x| x.flatten_from(1))
        .add(linear(3136, 128, vb.pp("fc1"))?)
        .add_fn(|x| x.relu())
        .add(linear(128, 10, vb.pp("fc2"))?);
    let batch = (normal(&[64, 1, 28, 28])?, ids(&[64], 10)?);
    training(move |x| model.forward(x), batch, adam(&vars)?)
}

/// The convolutions of VGG-16.
fn vgg_features(vb: VarBuilder) -> Result<Sequential> {
    let (mut model, mut c, mut layers) = (seq(), 3, 0);
    let config = Conv2dConfig {
        padding: 1,
        ..Default::default()
    };
    for (width, count) in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)] {
        for _ in 0..count {
            let conv = conv2d(c, width, 3, config, vb.pp(layers))?;
            model = model.add(conv).add_fn(|x| x.relu());
            (c, layers) = (width, layers + 1);
        }
        model = model.add_fn(|x| x.max_pool2d(2));
    }
    Ok(model)
}

/// In inference, on constants; the "loss" is the mean of what comes out.
pub fn vgg16() -> Result<Workload> {
    let vars = VarMap::new();
    vgg_features(builder(&vars))?;
    let model = vgg_features(frozen(&vars)?)?;
    let x = normal(&[8, 3, 224, 224])?;
    Ok(Workload {
        samples: 8,
        step: Box::new(move || Ok(model.forward(&x)?.mean_all()?.to_scalar()?)),
    })
}
