//! A model, an optimizer and a batch as steps.

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use candle_nn::loss::cross_entropy;
use candle_nn::{AdamW, Optimizer, ParamsAdamW, SGD, VarBuilder, VarMap};
use peers::Workload;

/// `vars` in `f32` on the CPU.
pub fn builder(vars: &VarMap) -> VarBuilder<'static> {
    VarBuilder::from_varmap(vars, DType::F32, &Device::Cpu)
}

/// The values of `vars` as constants, for which no gradient is computed.
pub fn frozen(vars: &VarMap) -> Result<VarBuilder<'static>> {
    let Ok(data) = vars.data().lock() else {
        bail!("a thread has failed with these variables");
    };
    let values = data.iter();
    let values = values.map(|(name, var)| (name.clone(), var.as_detached_tensor()));
    let (values, cpu) = (values.collect(), &Device::Cpu);
    Ok(VarBuilder::from_tensors(values, DType::F32, cpu))
}

/// The made-up numbers in this shape.
pub fn normal(shape: &[usize]) -> Result<Tensor> {
    let values = peers::normal(shape.iter().product());
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// The made-up labels or tokens in this shape.
pub fn ids(shape: &[usize], bound: u32) -> Result<Tensor> {
    let values = peers::ids(shape.iter().product(), bound);
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// candle has no Adam; without decay its AdamW is one.
pub fn adam(vars: &VarMap) -> Result<AdamW> {
    let params = ParamsAdamW {
        weight_decay: 0.,
        ..Default::default()
    };
    Ok(AdamW::new(vars.all_vars(), params)?)
}

/// With PyTorch's defaults, which are candle's.
pub fn adamw(vars: &VarMap) -> Result<AdamW> {
    Ok(AdamW::new(vars.all_vars(), ParamsAdamW::default())?)
}

/// candle's has no momentum, so it does less than the others.
pub fn sgd(vars: &VarMap) -> Result<SGD> {
    Ok(SGD::new(vars.all_vars(), 0.01)?)
}

/// Forward, backward and update.
pub fn training(
    logits: impl Fn(&Tensor) -> candle_core::Result<Tensor> + 'static,
    (inputs, targets): (Tensor, Tensor),
    mut optimizer: impl Optimizer + 'static,
) -> Result<Workload> {
    Ok(Workload {
        samples: inputs.dim(0)?,
        step: Box::new(move || {
            let loss = cross_entropy(&logits(&inputs)?, &targets)?;
            optimizer.backward_step(&loss)?;
            Ok(loss.to_scalar()?)
        }),
    })
}
