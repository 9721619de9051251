//! Test sets, predictions in files, and averaged weights in evaluations.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use dl_autograd::{Purpose, Rng};
use dl_core::Params;
use dl_core::data::{DataLoader, StackTensors, TensorDataset};
use dl_core::layers::{Sequential, batch_norm, linear, sequential};
use dl_core::losses::{MultiTaskLoss, Reduction, mse_loss};
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

type Row = std::collections::HashMap<String, String>;

fn read(path: &Path) -> Vec<Row> {
    let mut table = csv::Reader::from_path(path).unwrap();
    table.deserialize().map(|row| row.unwrap()).collect()
}

#[test]
fn every_test_set_has_its_metrics_and_a_row_for_each_sample() {
    let folder = tempfile::tempdir().unwrap();
    let params = Params::new(7, &Device::Cpu);
    let model = model(params.vb()).unwrap();
    let evaluator = Evaluator::new(&model).predictions(folder.path().join("predictions"));
    for (name, stream) in [("clean", 1), ("noisy-2", 2)] {
        let found = evaluator
            .evaluate(name, &loader(stream).shuffle(true))
            .unwrap();
        assert_eq!((found.name.as_str(), found.samples), (name, 22));
        let path = found.predictions.unwrap();
        assert!(path.ends_with(format!("{name}.csv")));
        let rows = read(&path);
        let mut items: Vec<usize> = rows
            .iter()
            .map(|row| row["item"].parse().unwrap())
            .collect();
        let (mut right, mut loss) = (0., 0.);
        for (row, &item) in rows.iter().zip(&items) {
            let number = |name: &str| row[name].parse::<f64>().unwrap();
            let (zero, one) = (number("output_0"), number("output_1"));
            let data = points(22, stream);
            let label = dl_core::data::Dataset::get(&data, item).unwrap().1;
            assert_eq!(
                number("target"),
                f64::from(label.to_scalar::<u32>().unwrap())
            );
            assert_eq!(number("prediction"), f64::from(u8::from(one > zero)));
            right += f64::from(u8::from(row["target"] == row["prediction"]));
            let of_target = if number("target") == 0. { zero } else { one };
            loss += (zero.exp() + one.exp()).ln() - of_target;
        }
        items.sort();
        assert_eq!(items, Vec::from_iter(0..22));
        assert_eq!(found.metrics["accuracy"], right / 22.);
        // The f32 losses of the model against f64 ones of its f32 outputs.
        assert!((found.metrics["loss"] - loss / 22.).abs() < 1e-6);
    }
    let error = evaluator.evaluate("../escape", &loader(1)).unwrap_err();
    assert!(error.to_string().contains("`../escape`"), "{error}");
}

#[test]
fn several_numbers_are_columns_and_several_losses_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let params = Params::new(7, &Device::Cpu);
    let model = linear(3, 2, params.vb()).unwrap();
    let x = Tensor::new(&[[1f32, 0.5, -2.], [0.1, 0.2, 0.3]], &Device::Cpu).unwrap();
    let y = Tensor::new(&[[0f32, 1.], [2., 1e-9]], &Device::Cpu).unwrap();
    let data = DataLoader::new(TensorDataset::new(x, y).unwrap(), StackTensors);
    let column = |i| {
        move |z: &Tensor, y: &Tensor| {
            mse_loss(&z.narrow(1, i, 1)?, &y.narrow(1, i, 1)?, Reduction::None)?.squeeze(1)
        }
    };
    let loss = MultiTaskLoss::new().task("first", 1., column(0)).unwrap();
    let evaluator = Evaluator::new(&model)
        .no_metrics()
        .multi_task_loss(loss.task("second", 2., column(1)).unwrap())
        .predictions(folder.path());
    let found = evaluator.evaluate("test", &data).unwrap();
    let names: Vec<_> = found.metrics.keys().map(String::as_str).collect();
    assert_eq!(names, ["loss", "loss_first", "loss_second"]);
    let rows = read(&found.predictions.unwrap());
    assert_eq!(rows[1].len(), 5);
    // Every digit comes back.
    assert_eq!(rows[1]["target_1"].parse::<f32>().unwrap(), 1e-9);
    let error = |row: &Row| {
        let number = |name: &str| row[name].parse::<f64>().unwrap();
        (number("output_0") - number("target_0")).powi(2)
    };
    let first = (error(&rows[0]) + error(&rows[1])) / 2.;
    assert!((found.metrics["loss_first"] - first).abs() < 1e-6);
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
    let found = Evaluator::new(&plain).evaluate("test", &loader(2)).unwrap();
    for name in ["loss", "accuracy"] {
        let metric = history[3].metric(&format!("eval_{name}")).unwrap();
        assert_eq!(found.metrics[name], metric, "{name}");
    }
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
