//! What the training loop promises.
#![allow(clippy::unwrap_used, clippy::panic)]

use candle_core::{Device, Result, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder};
use dl_autograd::{Purpose, Rng};
use dl_core::Params;
use dl_core::data::{DataLoader, Position, StackTensors, TensorDataset};
use dl_core::layers::{Linear, linear};
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{Callback, Epoch, Flow, MetricsLog, Step, TrainError, Trainer, TrainerConfig};
use dl_optim::{Adam, Error as OptimError, Optimizer, Sgd};

type Loader = DataLoader<TensorDataset, StackTensors>;

/// 22 points of two classes: no multiple of any batch size below, so that windows are ragged.
fn loader(batch_size: usize) -> Loader {
    let mut x = vec![0f32; 22 * 3];
    Rng::new(4, Purpose::Other(0), 0).fill_normal(&mut x);
    let y: Vec<u32> = x.chunks(3).map(|x| u32::from(x[0] * x[1] > 0.)).collect();
    let x = Tensor::from_vec(x, (22, 3), &Device::Cpu).unwrap();
    let y = Tensor::from_vec(y, 22, &Device::Cpu).unwrap();
    DataLoader::new(TensorDataset::new(x, y).unwrap(), StackTensors).batch_size(batch_size)
}

fn mlp(dropout: f64) -> (Params, Mlp) {
    let params = Params::new(7, &Device::Cpu);
    let config = MlpConfig {
        inputs: 3,
        hidden: vec![16, 16],
        classes: 2,
        dropout,
    };
    let model = Mlp::new(&config, params.vb()).unwrap();
    (params, model)
}

fn weights(params: &Params) -> Vec<f32> {
    let flat = |(_, v): (String, candle_core::Var)| {
        let v = v.as_tensor().flatten_all().unwrap();
        v.to_vec1::<f32>().unwrap()
    };
    params.all().into_iter().flat_map(flat).collect()
}

fn fit(model: &dyn ModuleT, params: &Params, config: TrainerConfig, train: &Loader) -> Vec<Epoch> {
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let mut trainer = Trainer::new(model, optimizer, config);
    trainer.fit(train, &loader(22)).unwrap()
}

/// One step of SGD over all 22 samples: in one batch, and in batches of 8, 8 and 6.
#[test]
fn accumulated_batches_step_as_one_big_batch_does() {
    let run = |batch_size, gradient_accumulation_steps| {
        let (params, model) = mlp(0.);
        let rule = Sgd {
            lr: 0.5,
            ..Sgd::default()
        };
        let config = TrainerConfig {
            epochs: 1,
            gradient_accumulation_steps,
            ..Default::default()
        };
        let optimizer = Optimizer::new(params.trainable(), rule).unwrap();
        let mut trainer = Trainer::new(&model, optimizer, config);
        let history = trainer.fit(&loader(batch_size), &loader(22)).unwrap();
        assert_eq!(history[0].step, 1);
        weights(&params)
    };
    // Sums of 22 terms in another order: a few units in the last place of values near 1.
    for (big, small) in run(22, 1).iter().zip(run(8, 3)) {
        assert!((big - small).abs() < 1e-6, "{big} and {small}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_for_any_number_of_threads_with_dropout() {
    let run = |threads, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let (params, model) = mlp(0.3);
            let config = TrainerConfig {
                epochs: 3,
                seed,
                ..Default::default()
            };
            fit(&model, &params, config, &loader(4).shuffle(true));
            weights(&params)
        })
    };
    assert_eq!(run(1, 1), run(2, 1));
    assert_eq!(run(1, 1), run(4, 1));
    assert_ne!(run(1, 1), run(1, 2));
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_before_the_weights_are_touched() {
    let (params, model) = mlp(0.);
    let before = weights(&params);
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let mut trainer = Trainer::new(&model, optimizer, TrainerConfig::default())
        .loss(|z, _| z.sum(1)?.affine(f64::NAN, 0.));
    let error = trainer.fit(&loader(8), &loader(8)).unwrap_err();
    assert!(
        matches!(
            error,
            TrainError::NonFiniteLoss {
                epoch: 1,
                batch: 0,
                step: 1,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(weights(&params), before);
}

/// 22 points, one of which is NaN; the items are named wherever the shuffle puts it.
#[test]
fn a_loss_that_is_not_finite_names_the_items_of_its_batch() {
    for (epoch, overfit) in [(1, None), (3, None), (3, Some(6))] {
        let bad = 13usize;
        let mut x = vec![0f32; 22];
        x[bad] = f32::NAN;
        let x = Tensor::from_vec(x, (22, 1), &Device::Cpu).unwrap();
        let x = x.broadcast_as((22, 3)).unwrap().contiguous().unwrap();
        let y = Tensor::zeros(22, candle_core::DType::U32, &Device::Cpu).unwrap();
        let data = TensorDataset::new(x, y).unwrap();
        let train = DataLoader::new(data, StackTensors)
            .batch_size(4)
            .shuffle(true);
        let (params, model) = mlp(0.);
        let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
        let config = TrainerConfig {
            first_epoch: epoch - 1,
            overfit_batches: overfit,
            ..Default::default()
        };
        let error = Trainer::new(&model, optimizer, config)
            .fit(&train, &loader(22))
            .unwrap_err();
        let TrainError::NonFiniteLoss {
            batch, ref items, ..
        } = error
        else {
            panic!("{error}")
        };
        // With `overfit_batches` every epoch has the items of the first one.
        let data_epoch = if overfit.is_some() {
            0
        } else {
            epoch as u64 - 1
        };
        let at = Position {
            epoch: data_epoch,
            batch: batch as u64,
        };
        assert!(items.contains(&bad) && *items == train.indices(at).unwrap());
        assert!(
            error.to_string().contains(&format!("(items {items:?})")),
            "{error}"
        );
    }
}

/// A model that never uses one of its layers.
struct Forgetful(Linear);

impl Forgetful {
    fn new(vb: VarBuilder) -> Result<Self> {
        linear(3, 3, vb.pp("forgotten"))?;
        Ok(Self(linear(3, 2, vb.pp("used"))?))
    }
}

impl ModuleT for Forgetful {
    fn forward_t(&self, x: &Tensor, _: bool) -> Result<Tensor> {
        self.0.forward(x)
    }
}

#[test]
fn parameters_that_get_no_gradient_are_named_at_the_first_step() {
    let params = Params::new(0, &Device::Cpu);
    let model = Forgetful::new(params.vb()).unwrap();
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let mut trainer = Trainer::new(&model, optimizer, TrainerConfig::default());
    let error = trainer.fit(&loader(8), &loader(8)).unwrap_err();
    assert!(matches!(
        error,
        TrainError::Optimizer(OptimError::MissingGradients { .. })
    ));
    let message = error.to_string();
    assert!(
        message.contains("forgotten.weight") && !message.contains("used"),
        "{message}"
    );
}

/// A weight of the second layer is infinite: the batch is named, and the layer.
#[test]
fn a_loss_that_is_not_finite_names_the_batch_and_where_it_began() {
    let (params, model) = mlp(0.);
    let origin = |trainer: &mut Trainer| {
        let error = trainer.fit(&loader(8), &loader(8)).unwrap_err();
        let TrainError::NonFiniteLoss { batch, origin, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(batch, 0);
        origin
    };
    let trainer = |vars: Vec<(String, candle_core::Var)>| {
        let optimizer = Optimizer::new(vars, Adam::default()).unwrap();
        Trainer::new(&model, optimizer, TrainerConfig::default())
    };
    let mut loss = trainer(params.trainable()).loss(|z, _| z.sqr()?.sum(1)?.neg()?.log());
    assert!(origin(&mut loss).starts_with("the model's outputs are finite"));
    let name = params.names().into_iter().find(|n| n.ends_with("1.weight"));
    let name = name.unwrap();
    let broken = (params.get(&name).unwrap().as_tensor() + f64::INFINITY).unwrap();
    params.set(&name, &broken).unwrap();
    let found = origin(&mut trainer(params.trainable()));
    assert_eq!(found, format!("the parameter `{name}` is not finite"));
    let mut others = params.trainable();
    others.retain(|(n, _)| *n != name);
    let found = origin(&mut trainer(others));
    let layer = name.strip_suffix(".weight").unwrap();
    assert!(
        found.ends_with(&format!("that of Linear {layer}")),
        "{found}"
    );
}

struct StopAfter(usize);

impl Callback for StopAfter {
    fn on_step_end(&mut self, step: &Step) -> std::result::Result<Flow, TrainError> {
        let stop = step.step >= self.0;
        Ok(if stop { Flow::Stop } else { Flow::Continue })
    }
}

#[test]
fn a_callback_ends_the_run_in_mid_epoch_and_the_epoch_is_still_evaluated() {
    let (params, model) = mlp(0.);
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let mut trainer =
        Trainer::new(&model, optimizer, TrainerConfig::default()).callback(StopAfter(4));
    let history = trainer.fit(&loader(8), &loader(8)).unwrap();
    // Three steps an epoch: the fourth is the first of the second epoch.
    assert_eq!((history.len(), history[1].step), (2, 4));
    assert!(history[1].metric("eval_loss").unwrap().is_finite());
}

#[test]
fn max_steps_ends_the_run() {
    let (params, model) = mlp(0.);
    let config = TrainerConfig {
        max_steps: Some(5),
        ..Default::default()
    };
    assert_eq!(
        fit(&model, &params, config, &loader(8))
            .last()
            .unwrap()
            .step,
        5
    );
}

#[test]
fn zero_epochs_and_no_data_are_errors_that_say_so() {
    let (params, model) = mlp(0.);
    let run = |config, train: &Loader| {
        let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
        let mut trainer = Trainer::new(&model, optimizer, config);
        trainer.fit(train, &loader(8)).unwrap_err().to_string()
    };
    let none = TrainerConfig {
        epochs: 0,
        ..Default::default()
    };
    assert_eq!(run(none, &loader(8)), "`epochs` must be 1 or more, got 0");
    let short = loader(30).drop_last(true);
    assert_eq!(
        run(TrainerConfig::default(), &short),
        "the training data gives no batch"
    );
}

#[test]
fn the_log_has_one_json_object_an_epoch_with_the_metrics_of_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let (params, model) = mlp(0.);
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let log = MetricsLog::append(&path).unwrap().with("run", "a");
    let mut trainer = Trainer::new(&model, optimizer, TrainerConfig::default()).callback(log);
    let history = trainer.fit(&loader(8), &loader(8)).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), history.len());
    for (line, epoch) in lines.iter().zip(&history) {
        assert_eq!(line["run"], "a");
        assert_eq!(line["eval_loss"], epoch.metric("eval_loss").unwrap());
        assert_eq!(line["epoch"], epoch.epoch);
    }
}

#[test]
fn evaluation_is_the_mean_over_samples_whatever_the_batches() {
    let (_, model) = mlp(0.);
    let loss = |z: &Tensor, y: &Tensor| {
        dl_autograd::cross_entropy(z, y, &Default::default(), dl_autograd::Reduction::None)
    };
    let found = |batch| {
        let batches = loader(batch).epoch(0).unwrap();
        dl_core::train::evaluate(&model, batches, &loss, &Device::Cpu).unwrap()
    };
    let (one, ragged) = (found(22), found(5));
    assert_eq!((one.samples, ragged.samples), (22, 22));
    assert_eq!(one.accuracy, ragged.accuracy);
    // f32 losses, summed in f64.
    assert!((one.loss - ragged.loss).abs() < 1e-7);
}
