//! What the trainer adds to the step of a loop written by hand.

use std::time::Instant;

use anyhow::Result;
use candle_core::{Device, Tensor};
use candle_nn::ModuleT;
use dl_autograd::{Purpose, Rng, Tape, backward};
use dl_core::Params;
use dl_core::data::{DataLoader, StackTensors, TensorDataset};
use dl_core::losses::{Reduction, cross_entropy};
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{Every, Trainer, TrainerConfig};
use dl_optim::{Adam, Optimizer};
use serde_json::{Value, json};

type Loader = DataLoader<TensorDataset, StackTensors>;

/// Steps of a round.
const STEPS: usize = 1000;

/// 784-64-64-10 on batches of 32, as in the workload `mlp`, in rounds by turns: the medians a step. Both
/// read from the same loader; the trainer counts right answers besides.
pub fn measured(seconds: f64) -> Result<Value> {
    let (loader, begun) = (loader()?, Instant::now());
    let (mut bare, mut trainer) = (vec![], vec![]);
    while bare.len() < 3 || begun.elapsed().as_secs_f64() < seconds {
        bare.push(timed(|| by_hand(&loader))?);
        trainer.push(timed(|| by_trainer(&loader))?);
    }
    // Of neighbours in time: the speed of a shared machine drifts.
    let ratios = trainer
        .iter()
        .zip(&bare)
        .map(|(trainer, bare)| trainer / bare);
    let ratio = median(ratios.collect());
    let [bare, trainer] = [bare, trainer].map(median);
    Ok(json!({
        "workload": "mlp",
        "bare_ms_per_step": bare,
        "trainer_ms_per_step": trainer,
        "ratio": ratio,
    }))
}

fn loader() -> Result<Loader> {
    let mut x = vec![0f32; 32 * 784];
    Rng::new(1, Purpose::Other(0), 0).fill_normal(&mut x);
    let x = Tensor::from_vec(x.repeat(STEPS), (STEPS, 32 * 784), &Device::Cpu)?;
    let y: Vec<u32> = (0..32 * STEPS as u32).map(|i| i % 10).collect();
    let y = Tensor::from_vec(y, 32 * STEPS, &Device::Cpu)?;
    let data = TensorDataset::new(x.reshape((32 * STEPS, 784))?, y)?;
    Ok(DataLoader::new(data, StackTensors).batch_size(32))
}

fn model() -> Result<(Mlp, Optimizer)> {
    let params = Params::new(0, &Device::Cpu);
    let model = Mlp::new(&MlpConfig::default(), params.vb())?;
    let optimizer = Optimizer::new(params.trainable(), Adam::default())?;
    Ok((model, optimizer))
}

fn by_hand(loader: &Loader) -> Result<()> {
    let (model, mut optimizer) = model()?;
    for batch in loader.epoch(0)? {
        let (x, y) = batch?;
        let _tape = Tape::new();
        let logits = model.forward_t(&x, true)?;
        let loss = cross_entropy(&logits, &y, &Default::default(), Reduction::Mean)?;
        optimizer.step(&backward(&loss)?)?;
        loss.to_scalar::<f32>()?;
    }
    Ok(())
}

fn by_trainer(loader: &Loader) -> Result<()> {
    let (model, optimizer) = model()?;
    let config = TrainerConfig {
        epochs: 1,
        eval_every: Every::Epochs(1),
        limit_eval_batches: Some(1),
        ..Default::default()
    };
    Trainer::new(&model, optimizer, config).fit(loader, loader)?;
    Ok(())
}

/// Milliseconds a step.
fn timed(round: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    round()?;
    Ok(begun.elapsed().as_secs_f64() * 1e3 / STEPS as f64)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
