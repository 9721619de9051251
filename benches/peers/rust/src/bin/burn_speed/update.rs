//! The update alone.

use anyhow::{Context, Result};
use burn::module::Param;
use burn::optim::GradientsParams;
use burn::prelude::*;
use peers::Workload;

use crate::training::{adamw, device};

#[derive(Module, Debug)]
struct Many {
    all: Vec<Param<Tensor<1>>>,
}

/// 25 million parameters in 50 tensors; the "loss" is one of them.
pub fn adamw_25m() -> Result<Workload> {
    let one = || Param::from_tensor(Tensor::ones([500_000], &device()));
    let many = Many {
        all: (0..50).map(|_| one()).collect(),
    };
    let grad = |_| Tensor::<1>::full([500_000], 0.25, &Device::flex());
    let known: Vec<_> = (0..50).map(grad).collect();
    let (mut optimizer, rate) = adamw();
    let mut model = Some(many);
    let step = move || {
        let now = model.take().context("a step before has failed")?;
        let mut grads = GradientsParams::new();
        for (param, grad) in now.all.iter().zip(&known) {
            grads.register(param.id, grad.clone());
        }
        let now = model.insert(optimizer.step(rate, now, grads));
        Ok(now.all[0].val().slice(s![0..1]).into_scalar())
    };
    Ok(Workload {
        samples: 25_000_000,
        step: Box::new(step),
    })
}
