//! Averaged weights in evaluations.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use dl_autograd::{Purpose, Rng};
use dl_core::Params;
use dl_core::data::{DataLoader, StackTensors, TensorDataset};
use dl_core::layers::{Sequential, batch_norm, linear, sequential};
use dl_core::train::{
    Callback, CheckpointOptions, Epoch, Evaluator, Every, Flow, Resume, Step, SwaOptions,
    TrainError, Trainer, TrainerConfig, update_batch_norm,
};
use dl_optim::{Optimizer, Sgd, Swa};

type Loader = DataLoader<TensorDataset, StackTensors>;

fn points(count: usize, stream: u64) -> TensorDataset {
    let mut x = vec![0f32; count * 3];
    Rng::new(4, Purpose::Other(0), stream).fill_normal(&mut x);
    let y: Vec<u32> = x.chunks(3).map(|x| u32::from(x[0] > x[1])).collect();
    let x = Tensor::from_vec(x, (count, 3), &Device::Cpu).unwrap();
    let y = Tensor::from_vec(y, count, &Device::Cpu).unwrap();
    TensorDataset::new(x, y).unwrap()
}

fn loader(stream: u64) -> Loader {
    DataLoader::new(points(22, stream), StackTensors).batch_size(8)
}

/// With running statistics, which are those of the weights they were collected with.
fn model(vb: VarBuilder) -> Result<Sequential> {
    let layers = sequential(vb)
        .add(|vb| linear(3, 8, vb))?
        .add(|vb| batch_norm(8, Default::default(), vb))?;
    Ok(layers.add(|vb| linear(8, 2, vb))?.build())
}

fn optimizer(params: &Params) -> Optimizer {
    let rule = Sgd {
        lr: 0.3,
        ..Sgd::default()
    };
    Optimizer::new(params.trainable(), rule).unwrap()
}

fn all(params: &Params) -> Vec<f32> {
    let all = params.all().into_iter();
    let flat = all.map(|(_, v)| v.as_tensor().flatten_all().unwrap());
    flat.flat_map(|t| t.to_vec1::<f32>().unwrap()).collect()
}

/// Ends the run after a step, as a crash would.
struct CrashAfter(usize);

impl Callback for CrashAfter {
    fn on_step_end(&mut self, step: &Step) -> std::result::Result<Flow, TrainError> {
        match step.step == self.0 {
            true => Err(TrainError::NoParams),
            false => Ok(Flow::Continue),
        }
    }
}

/// History, weights and averaged weights.
type Averaged = (Vec<Epoch>, Vec<f32>, Vec<f32>);

/// Four epochs, the weights averaged from the second one on.
fn averaged(folder: &Path, crash_after: usize) -> std::result::Result<Averaged, TrainError> {
    let params = Params::new(7, &Device::Cpu);
    let model = model(params.vb()).unwrap();
    let config = TrainerConfig {
        epochs: 4,
        ..Default::default()
    };
    let swa = Swa::new(params.trainable()).unwrap();
    let options = SwaOptions {
        first_epoch: 2,
        ..Default::default()
    };
    let checkpoints = CheckpointOptions {
        every: Every::Steps(1),
        resume: Resume::IfAny,
        ..CheckpointOptions::new(folder)
    };
    let mut trainer = Trainer::new(&model, optimizer(&params), config)
        .swa(swa, &params, options)
        .callback(CrashAfter(crash_after))
        .checkpoints(&params, checkpoints);
    let history = trainer.fit(&loader(1).shuffle(true), &loader(2))?;
    let own = all(&params);
    assert!(trainer.into_step().write_averages()?);
    Ok((history, own, all(&params)))
}

#[test]
fn evaluations_run_with_the_mean_of_the_epochs_ends_and_statistics_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let (history, own, written) = averaged(folder.path(), usize::MAX).unwrap();
    // The same by hand: three epochs' weights, their mean, a pass over the training batches.
    let (by_hand, hand) = (Params::new(7, &Device::Cpu), tempfile::tempdir().unwrap());
    let plain = model(by_hand.vb()).unwrap();
    let mut swa = Swa::new(by_hand.trainable()).unwrap();
    for epochs in 1..=4 {
        let config = TrainerConfig {
            epochs,
            ..Default::default()
        };
        let options = CheckpointOptions {
            resume: Resume::IfAny,
            ..CheckpointOptions::new(hand.path())
        };
        let mut trainer = Trainer::new(&plain, optimizer(&by_hand), config);
        trainer = trainer.checkpoints(&by_hand, options);
        trainer.fit(&loader(1).shuffle(true), &loader(2)).unwrap();
        if epochs >= 2 {
            swa.update().unwrap();
        }
    }
    assert_eq!(all(&by_hand), own);
    swa.write_averages().unwrap();
    let batches = loader(1).shuffle(true).epoch(3).unwrap();
    let batches = batches.map(|batch| Ok(batch.unwrap().0));
    update_batch_norm(&plain, &by_hand, 0.1, batches).unwrap();
    assert_eq!(all(&by_hand), written);
    let found = Evaluator::new(&plain).evaluate(&loader(2)).unwrap();
    let metric = |name| history[3].metric(name).unwrap();
    assert_eq!(found.accuracy, metric("eval_accuracy"));
    // A mean of the batches' means against the mean of all, both in f64.
    assert!((found.loss - metric("eval_loss")).abs() < 1e-12);
    assert_ne!(own, written);
}

#[test]
fn averages_and_their_statistics_are_gone_on_from_bit_for_bit() {
    let whole = tempfile::tempdir().unwrap();
    let (history, own, written) = averaged(whole.path(), usize::MAX).unwrap();
    let losses = |history: &[Epoch]| -> Vec<f64> {
        let loss = |epoch: &Epoch| epoch.metric("eval_loss").unwrap();
        history.iter().map(loss).collect()
    };
    for crash_after in 1..=12 {
        let folder = tempfile::tempdir().unwrap();
        assert!(averaged(folder.path(), crash_after).is_err());
        let (again, same, averages) = averaged(folder.path(), usize::MAX).unwrap();
        assert_eq!(same, own, "after {crash_after}");
        assert_eq!(averages, written, "after {crash_after}");
        assert_eq!(losses(&again), losses(&history), "after {crash_after}");
    }
}
