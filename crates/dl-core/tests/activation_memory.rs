//! Activations that are computed again instead of kept.
#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{ModuleT, VarBuilder, func};
use dl_autograd::{Purpose, Rng, Tape, backward, sum};
use dl_core::Params;
use dl_core::data::{DataLoader, StackTensors, TensorDataset};
use dl_core::layers::{
    BatchNormConfig, Dropout, Residual, Sequential, batch_norm, checkpointed, layer_norm, linear,
    sequential,
};
use dl_core::train::{MixedPrecision, Trainer, TrainerConfig};
use dl_optim::{Adam, Optimizer};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The heap is one for all tests.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn weights(params: &Params) -> Vec<f32> {
    let all = params.all().into_iter();
    let flat = all.map(|(_, v)| v.as_tensor().flatten_all().unwrap());
    flat.flat_map(|t| t.to_vec1::<f32>().unwrap()).collect()
}

/// Six residual blocks, four times as wide inside, of dense layers, both norms, GELU and dropout.
fn blocks(params: &Params, again: bool) -> Result<Sequential> {
    const WIDTH: usize = 64;
    let block = |vb: VarBuilder| -> Result<_> {
        let inner = sequential(vb)
            .add(|vb| layer_norm(WIDTH, 1e-5, vb))?
            .add(|vb| linear(WIDTH, 4 * WIDTH, vb))?
            .add(|vb| batch_norm(4 * WIDTH, BatchNormConfig::default(), vb))?
            .push(func(dl_autograd::gelu))
            .push(Dropout::new(0.2))
            .add(|vb| linear(4 * WIDTH, WIDTH, vb))?;
        Ok(Residual::new(inner.build()))
    };
    let mut model = sequential(params.vb());
    for _ in 0..6 {
        model = match again {
            true => model.add(|vb| checkpointed(vb, block))?,
            false => model.add(block)?,
        };
    }
    Ok(model.build())
}

fn features() -> DataLoader<TensorDataset, StackTensors> {
    let mut x = vec![0f32; 256 * 64];
    Rng::new(4, Purpose::Other(0), 0).fill_normal(&mut x);
    let y: Vec<u32> = x.chunks(64).map(|x| u32::from(x[0] > 0.)).collect();
    let x = Tensor::from_vec(x, (256, 64), &Device::Cpu).unwrap();
    let y = Tensor::from_vec(y, 256, &Device::Cpu).unwrap();
    DataLoader::new(TensorDataset::new(x, y).unwrap(), StackTensors).batch_size(64)
}

#[test]
fn layers_computed_again_give_the_same_bits_buffers_included() {
    let _alone = alone();
    for precision in [MixedPrecision::No, MixedPrecision::Bf16] {
        let run = |again, threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let params = Params::new(7, &Device::Cpu);
                let model = blocks(&params, again).unwrap();
                let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
                let config = TrainerConfig {
                    mixed_precision: precision,
                    ..Default::default()
                };
                let mut trainer = Trainer::new(&model, optimizer, config);
                let history = trainer.fit(&features(), &features()).unwrap();
                let losses = history
                    .iter()
                    .map(|epoch| epoch.metric("train_loss").unwrap());
                (params.names(), weights(&params), losses.collect::<Vec<_>>())
            })
        };
        let plain = run(false, 1);
        assert_eq!(plain, run(true, 1), "{precision:?}");
        assert_eq!(plain, run(true, 3), "{precision:?}");
    }
}

/// Of six blocks that keep six tensors each, one at a time is there at once.
#[test]
fn layers_computed_again_need_less_memory() {
    let _alone = alone();
    let peak = |again| {
        let params = Params::new(7, &Device::Cpu);
        let model = blocks(&params, again).unwrap();
        let x = Tensor::ones((2048, 64), DType::F32, &Device::Cpu).unwrap();
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let _tape = Tape::new();
        let loss = sum(&model.forward_t(&x, true).unwrap()).unwrap();
        backward(&loss).unwrap();
        HEAP.peak_usage() - before
    };
    let (plain, again) = (peak(false), peak(true));
    println!("{plain} bytes, {again} with layers computed again");
    assert!(
        again * 2 < plain,
        "{plain} bytes, {again} with layers computed again"
    );
}

#[test]
fn a_frozen_layer_computed_again_gets_no_gradient() {
    let _alone = alone();
    let params = Params::new(7, &Device::Cpu);
    blocks(&params, true).unwrap();
    params.freeze("2.*").unwrap();
    let model = blocks(&params, true).unwrap();
    let x = Tensor::ones((8, 64), DType::F32, &Device::Cpu).unwrap();
    let loss = sum(&model.forward_t(&x, true).unwrap()).unwrap();
    let grads = backward(&loss).unwrap();
    for (name, var) in params.all() {
        let trains = params.is_trainable(&name);
        assert_eq!(grads.get(&var).is_some(), trains, "{name}");
    }
}
