//! The update alone.

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use peers::Workload;

/// 25 million parameters in 50 tensors; the "loss" is one of them.
pub fn adamw_25m() -> Result<Workload> {
    let vars = (0..50).map(|_| Var::ones(500_000, DType::F32, &Device::Cpu));
    let vars: Vec<Var> = vars.collect::<candle_core::Result<_>>()?;
    let mut grads = GradStore::default();
    for var in &vars {
        grads.insert(var, (var.ones_like()? * 0.25)?);
    }
    let watched = vars[0].clone();
    let mut optimizer = AdamW::new(vars, ParamsAdamW::default())?;
    Ok(Workload {
        samples: 25_000_000,
        step: Box::new(move || {
            optimizer.step(&grads)?;
            Ok(watched.get(0)?.to_scalar()?)
        }),
    })
}
