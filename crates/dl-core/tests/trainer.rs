//! What the training loop promises.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::{Cell, RefCell};
use std::path::Path;

use candle_core::{Device, Result, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder};
use dl_autograd::{Purpose, Rng};
use dl_core::Params;
use dl_core::data::{DataLoader, Position, StackTensors, TensorDataset};
use dl_core::layers::{Linear, linear};
use dl_core::losses::{MultiTaskLoss, Reduction, cross_entropy};
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{
    BatchSizeEnd, BatchSizeFinder, Callback, CheckpointOptions, Epoch, Evaluated, Every, Flow,
    Freezing, Gradients, MetricsLog, Plan, Resume, Step, TrainError, Trainer, TrainerConfig,
};
use dl_optim::{Adam, Error as OptimError, LossScaler, NonFinite, Optimizer, Sgd};

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

/// Two epochs over 22 samples, a step on 12 and one on the 10 that are left: as batches of 12 and 10,
/// of 4, 4, 4 and 4, 4, 2, and of 3 to a step of 4 and 3, 3, 3, 1.
#[test]
fn accumulated_batches_step_as_one_big_batch_does() {
    let run = |batch_size, gradient_accumulation_steps, loss_scaler| {
        let (params, model) = mlp(0.);
        let rule = Sgd {
            lr: 0.1,
            ..Sgd::default()
        };
        let config = TrainerConfig {
            epochs: 2,
            gradient_accumulation_steps,
            loss_scaler,
            ..Default::default()
        };
        let optimizer = Optimizer::new(params.trainable(), rule).unwrap();
        let mut trainer = Trainer::new(&model, optimizer, config);
        let history = trainer.fit(&loader(batch_size), &loader(22)).unwrap();
        assert_eq!(history[1].step, 4);
        weights(&params)
    };
    let scaled = Some(LossScaler::default());
    for (batch, window, scaler) in [(4, 3, None), (3, 4, None), (4, 3, scaled), (12, 1, scaled)] {
        // Sums of 12 terms in another order: a few units in the last place of values near 1.
        for (big, small) in run(12, 1, None).iter().zip(run(batch, window, scaler)) {
            assert!((big - small).abs() < 1e-6, "{big} and {small}");
        }
    }
}

/// Trains with this policy and a loss of the second batch that is NaN; the weights, whether each
/// step was skipped, and how it ended.
fn with_a_nan(non_finite: NonFinite) -> (Vec<f32>, Vec<bool>, std::result::Result<(), String>) {
    let (params, model) = mlp(0.);
    let (skipped, batches) = (RefCell::new(vec![]), Cell::new(0));
    let optimizer = Optimizer::new(params.trainable(), Sgd::default()).unwrap();
    let config = TrainerConfig {
        epochs: 1,
        non_finite,
        sanity_eval_batches: 0,
        ..Default::default()
    };
    let mut trainer = Trainer::new(&model, optimizer, config)
        .loss(|z, y| {
            batches.set(batches.get() + 1);
            let bad = if batches.get() == 2 { f64::NAN } else { 1. };
            let plain = dl_autograd::Reduction::None;
            dl_autograd::cross_entropy(z, y, &Default::default(), plain)? * bad
        })
        .callback(Hear(|step: &Step| skipped.borrow_mut().push(step.skipped)));
    let ended = trainer.fit(&loader(8), &loader(22));
    drop(trainer);
    let ended = ended.map(|history| {
        let trained = history[0].metric("train_loss").unwrap();
        assert!(trained.is_finite() != (non_finite == NonFinite::Allow));
        assert_eq!(
            history[0].skipped_steps,
            skipped.borrow().iter().filter(|s| **s).count()
        );
    });
    let ended = ended.map_err(|error| error.to_string());
    (weights(&params), skipped.into_inner(), ended)
}

/// Calls a closure after each step.
struct Hear<F>(F);

impl<F: FnMut(&Step)> Callback for Hear<F> {
    fn on_step_end(&mut self, step: &Step) -> std::result::Result<Flow, TrainError> {
        self.0(step);
        Ok(Flow::Continue)
    }
}

#[test]
fn what_is_not_finite_ends_the_run_is_left_out_or_let_through() {
    let (weights, skipped, ended) = with_a_nan(NonFinite::Error);
    assert!(weights.iter().all(|w| w.is_finite()) && skipped == [false]);
    assert!(ended.unwrap_err().starts_with("loss is NaN at step 2"));
    let (weights, skipped, ended) = with_a_nan(NonFinite::Skip);
    assert!(weights.iter().all(|w| w.is_finite()) && ended.is_ok());
    assert_eq!(skipped, [false, true, false]);
    let (weights, skipped, ended) = with_a_nan(NonFinite::Allow);
    assert!(weights.iter().any(|w| w.is_nan()) && ended.is_ok());
    assert_eq!(skipped, [false; 3]);
}

/// The loss is finite, its gradient is not: the square root at 0.
#[test]
fn a_gradient_that_is_not_finite_is_named_before_the_weights_are_touched() {
    let (params, model) = mlp(0.);
    let before = weights(&params);
    let optimizer = Optimizer::new(params.trainable(), Sgd::default()).unwrap();
    let mut trainer = Trainer::new(&model, optimizer, TrainerConfig::default())
        .loss(|z, _| ((z - z.detach())?.sqrt()? + z)?.sum(1));
    let error = trainer.fit(&loader(8), &loader(8)).unwrap_err().to_string();
    drop(trainer);
    assert!(
        error.starts_with("the gradient is not finite for "),
        "{error}"
    );
    assert_eq!(weights(&params), before);
}

/// 2¹⁴⁰ times a gradient is beyond f32: the scale is halved until it fits, and then the steps are
/// those of a run without a scale, as powers of two change no digit.
#[test]
fn a_loss_scale_that_is_too_large_is_lowered_and_then_changes_no_bit() {
    let run = |loss_scaler: Option<LossScaler>, max_steps| {
        let (params, model) = mlp(0.);
        let skipped = Cell::new(0);
        let config = TrainerConfig {
            epochs: 90,
            max_steps: Some(max_steps),
            loss_scaler,
            ..Default::default()
        };
        let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
        let count = |step: &Step| skipped.set(skipped.get() + usize::from(step.skipped));
        let mut trainer = Trainer::new(&model, optimizer, config).callback(Hear(count));
        trainer.fit(&loader(22), &loader(22)).unwrap();
        drop(trainer);
        (weights(&params), skipped.get())
    };
    let scaler = LossScaler::new(2f64.powi(140), 2., 0.5, 1000).unwrap();
    let (scaled, skipped) = run(Some(scaler), 40);
    // 2¹⁴⁰ / 22, the factor of the summed losses, has to come below 2¹²⁸, and the gradients too.
    assert!((8..30).contains(&skipped), "{skipped}");
    assert_eq!(scaled, run(None, 40 - skipped).0);
}

/// Gradients that a callback wanted.
struct Keep<'a>(&'a RefCell<Vec<Gradients>>);

impl Callback for Keep<'_> {
    fn wants_gradients(&self, step: usize) -> bool {
        step == 2
    }

    fn on_gradients(&mut self, found: &Gradients) -> std::result::Result<(), TrainError> {
        self.0.borrow_mut().push(found.clone());
        Ok(())
    }
}

/// Plain SGD moves each weight by −η g, whatever the windows and the loss scale.
#[test]
fn gradients_come_to_those_who_want_them_as_the_optimizer_took_them() {
    for (window, loss_scaler) in [(1, None), (3, None), (2, Some(LossScaler::default()))] {
        let (params, model) = mlp(0.);
        let (kept, seen) = (RefCell::new(vec![]), RefCell::new(vec![]));
        let rule = Sgd {
            lr: 1.,
            ..Sgd::default()
        };
        let config = TrainerConfig {
            gradient_accumulation_steps: window,
            loss_scaler,
            ..Default::default()
        };
        let optimizer = Optimizer::new(params.trainable(), rule).unwrap();
        let mut trainer = Trainer::new(&model, optimizer, config)
            .callback(Keep(&kept))
            .callback(Hear(|_: &Step| seen.borrow_mut().push(weights(&params))));
        trainer.fit(&loader(4), &loader(22)).unwrap();
        drop(trainer);
        let (kept, seen) = (kept.into_inner(), seen.into_inner());
        assert_eq!((kept.len(), kept[0].step), (1, 2));
        let flat = kept[0].by_name.values().map(|g| g.flatten_all().unwrap());
        let flat: Vec<f32> = flat.flat_map(|g| g.to_vec1::<f32>().unwrap()).collect();
        for ((before, after), g) in seen[0].iter().zip(&seen[1]).zip(flat) {
            // One rounding of a difference of values below 2.
            assert!((before - g - after).abs() < 3e-7, "{before} {after} {g}");
        }
    }
}

#[test]
fn what_is_frozen_at_an_epoch_stays_and_gets_no_gradient() {
    let (params, model) = mlp(0.);
    let first = params.names()[0].rsplit_once('.').unwrap().0.to_string();
    let (seen, kept) = (RefCell::new(vec![]), RefCell::new(vec![]));
    let network = MlpConfig {
        inputs: 3,
        hidden: vec![16, 16],
        classes: 2,
        dropout: 0.,
    };
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let freezing = Freezing::new(&params)
        .freeze(format!("{first}.*"), 1)
        .unfreeze("*", 2);
    let weight = format!("{first}.weight");
    let look = |step: &Step| {
        let tensor = params.get(&weight).unwrap().flatten_all().unwrap();
        seen.borrow_mut()
            .push((step.epoch, tensor.to_vec1::<f32>().unwrap()));
    };
    let mut trainer = Trainer::new(&model, optimizer, TrainerConfig::default())
        .rebuild(&params, |vb| Mlp::new(&network, vb))
        .callback(freezing)
        .callback(Keep(&kept))
        .callback(Hear(look));
    trainer.fit(&loader(8), &loader(8)).unwrap();
    drop(trainer);
    let seen = seen.into_inner();
    assert!(seen[0].1 == seen[2].1 && seen[2].1 != seen[3].1);
    assert!(!kept.into_inner()[0].by_name.contains_key(&weight));
}

#[test]
fn a_model_that_cannot_be_built_again_or_optimized_is_an_error_that_says_so() {
    let (params, model) = mlp(0.);
    let first = params.names()[0].rsplit_once('.').unwrap().0.to_string();
    let trainer = |vars, freezing| {
        let optimizer = Optimizer::new(vars, Adam::default()).unwrap();
        Trainer::new(&model, optimizer, TrainerConfig::default()).callback(freezing)
    };
    let freezing = |pattern: &str| Freezing::new(&params).freeze(pattern, 1);
    let fails = |mut trainer: Trainer| trainer.fit(&loader(8), &loader(8)).unwrap_err().to_string();
    let unbuilt = fails(trainer(params.trainable(), freezing(&format!("{first}.*"))));
    assert!(unbuilt.contains("`Trainer::rebuild`"), "{unbuilt}");
    let typo = fails(trainer(params.trainable(), freezing("backbon.*")));
    assert_eq!(typo, "`backbon.*` matches none of the 6 parameters");
    // Given only what trained when it was made.
    params.freeze(&format!("{first}.*")).unwrap();
    let head = trainer(params.trainable(), Freezing::new(&params).unfreeze("*", 2));
    let missing = fails(head.rebuild(&params, |vb| {
        let network = MlpConfig {
            inputs: 3,
            hidden: vec![16, 16],
            classes: 2,
            dropout: 0.,
        };
        Mlp::new(&network, vb)
    }));
    assert!(
        missing.starts_with(&format!(
            "the optimizer was not given {first}.bias, {first}.weight"
        )),
        "{missing}"
    );
}

/// Integer inputs are tokens: 22 rows of 5.
#[test]
fn tokens_are_counted_where_the_batches_know_and_times_add_up() {
    let embed = |x: &Tensor| x.to_dtype(candle_core::DType::F32)?.narrow(1, 0, 3);
    struct Narrow<F>(Mlp, F);
    impl<F: Fn(&Tensor) -> Result<Tensor>> ModuleT for Narrow<F> {
        fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
            self.0.forward_t(&self.1(x)?, train)
        }
    }
    let (params, model) = mlp(0.);
    let model = Narrow(model, embed);
    let x = Tensor::arange(0u32, 110, &Device::Cpu)
        .unwrap()
        .reshape((22, 5))
        .unwrap();
    let y = Tensor::zeros(22, candle_core::DType::U32, &Device::Cpu).unwrap();
    let tokens = DataLoader::new(TensorDataset::new(x, y).unwrap(), StackTensors).batch_size(8);
    let steps = RefCell::new(vec![]);
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let mut trainer = Trainer::new(&model, optimizer, TrainerConfig::default())
        .callback(Hear(|step: &Step| steps.borrow_mut().push(*step)));
    let history = trainer.fit(&tokens, &tokens).unwrap();
    drop(trainer);
    let steps = steps.into_inner();
    let counts: Vec<_> = steps.iter().take(3).map(|step| step.tokens).collect();
    assert_eq!(counts, [Some(40), Some(40), Some(30)]);
    for (n, epoch) in history.iter().enumerate() {
        let own = &steps[3 * n..3 * n + 3];
        let seconds: f64 = own.iter().map(|step| step.seconds).sum();
        assert!(own.iter().all(|step| step.data_seconds <= step.seconds));
        assert!(seconds <= epoch.train_seconds && epoch.data_seconds <= epoch.train_seconds);
        assert!(epoch.eval_seconds > 0.);
        let ratio = epoch.train_tokens_per_second.unwrap() / epoch.train_samples_per_second;
        assert!((ratio - 5.).abs() < 1e-9);
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
    let loss = |z: &Tensor, y: &Tensor| cross_entropy(z, y, &Default::default(), Reduction::None);
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

/// Writes down what it hears, and stops at a step.
struct Listener<'a> {
    name: char,
    heard: &'a RefCell<Vec<(String, String)>>,
    gradients_of: usize,
    stop_at: usize,
    fail_at: usize,
}

impl Listener<'_> {
    fn hear(&self, event: String) {
        let mut heard = self.heard.borrow_mut();
        match heard.last_mut() {
            // The next one to hear the same.
            Some((last, names)) if *last == event && !names.contains(self.name) => {
                names.push(self.name);
            }
            _ => heard.push((event, self.name.to_string())),
        }
    }

    fn tell(&self, event: String) -> std::result::Result<Flow, TrainError> {
        self.hear(event);
        Ok(Flow::Continue)
    }
}

impl Callback for Listener<'_> {
    fn on_train_begin(&mut self, plan: &Plan) -> std::result::Result<(), TrainError> {
        self.hear(format!("begin, resumed {:?}", plan.resumed));
        Ok(())
    }

    fn on_epoch_begin(&mut self, epoch: usize) -> std::result::Result<Flow, TrainError> {
        self.tell(format!("epoch {epoch} begins"))
    }

    fn wants_gradients(&self, step: usize) -> bool {
        step == self.gradients_of
    }

    fn on_gradients(&mut self, found: &Gradients) -> std::result::Result<(), TrainError> {
        self.hear(format!("gradients of {}", found.step));
        Ok(())
    }

    fn on_step_end(&mut self, step: &Step) -> std::result::Result<Flow, TrainError> {
        self.hear(format!("step {}", step.step));
        match step.step {
            step if step == self.fail_at => Err(TrainError::NoParams),
            step if step == self.stop_at => Ok(Flow::Stop),
            _ => Ok(Flow::Continue),
        }
    }

    fn on_evaluation(&mut self, found: &Evaluated) -> std::result::Result<Flow, TrainError> {
        self.tell(format!("evaluation at {}", found.step))
    }

    fn on_epoch_end(&mut self, epoch: &Epoch) -> std::result::Result<Flow, TrainError> {
        self.tell(format!("epoch {} ends", epoch.epoch))
    }

    fn on_checkpoint(&mut self, path: &Path) -> std::result::Result<(), TrainError> {
        self.hear(path.file_name().unwrap().to_string_lossy().into_owned());
        Ok(())
    }

    fn on_train_end(&mut self) -> std::result::Result<(), TrainError> {
        self.hear("end".to_string());
        Ok(())
    }
}

/// What two listeners, `a` before `b`, hear of two epochs of three steps with an evaluation and a
/// checkpoint at every second step.
fn heard(folder: &Path, stop_at: usize, fail_at: usize) -> Vec<(String, String)> {
    let heard = RefCell::new(vec![]);
    let listener = |name, gradients_of, stop_at, fail_at| Listener {
        name,
        heard: &heard,
        gradients_of,
        stop_at,
        fail_at,
    };
    let (params, model) = mlp(0.);
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let config = TrainerConfig {
        epochs: 2,
        eval_every: Every::Steps(2),
        ..Default::default()
    };
    let options = CheckpointOptions {
        every: Every::Steps(2),
        resume: Resume::IfAny,
        ..CheckpointOptions::new(folder)
    };
    let mut trainer = Trainer::new(&model, optimizer, config)
        .callback(listener('a', 0, stop_at, 0))
        .callback(listener('b', 2, 0, fail_at))
        .checkpoints(&params, options);
    assert_eq!(trainer.fit(&loader(8), &loader(22)).is_err(), fail_at > 0);
    drop(trainer);
    heard.into_inner()
}

fn assert_heard(heard: Vec<(String, String)>, table: &[(&str, &str)]) {
    let heard: Vec<_> = heard
        .iter()
        .map(|(e, n)| (e.as_str(), n.as_str()))
        .collect();
    assert_eq!(heard, table);
}

#[test]
fn callbacks_hear_every_event_in_one_order_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    assert_heard(
        heard(folder.path(), 0, 0),
        &[
            ("begin, resumed None", "ab"),
            ("epoch 1 begins", "ab"),
            ("step 1", "ab"),
            ("gradients of 2", "b"),
            ("step 2", "ab"),
            ("evaluation at 2", "ab"),
            ("step 3", "ab"),
            ("epoch 1 ends", "ab"),
            ("epoch 2 begins", "ab"),
            ("step 4", "ab"),
            ("evaluation at 4", "ab"),
            // Written beside the steps, and told of when the next one begins or the run ends.
            ("step-00000002", "ab"),
            ("step 5", "ab"),
            ("step 6", "ab"),
            ("evaluation at 6", "ab"),
            ("epoch 2 ends", "ab"),
            ("step-00000004", "ab"),
            ("step-00000006", "ab"),
            ("end", "ab"),
        ],
    );
}

#[test]
fn callbacks_hear_the_rest_of_an_epoch_that_is_gone_on_from_in_its_middle() {
    let folder = tempfile::tempdir().unwrap();
    heard(folder.path(), 0, 5);
    assert_heard(
        heard(folder.path(), 0, 0),
        &[
            ("begin, resumed Some(4)", "ab"),
            ("epoch 2 begins", "ab"),
            ("step 5", "ab"),
            ("step 6", "ab"),
            ("evaluation at 6", "ab"),
            ("epoch 2 ends", "ab"),
            ("step-00000006", "ab"),
            ("end", "ab"),
        ],
    );
}

#[test]
fn the_event_at_which_one_callback_stops_the_run_is_heard_by_all() {
    let folder = tempfile::tempdir().unwrap();
    assert_heard(
        heard(folder.path(), 2, 0),
        &[
            ("begin, resumed None", "ab"),
            ("epoch 1 begins", "ab"),
            ("step 1", "ab"),
            ("gradients of 2", "b"),
            ("step 2", "ab"),
            ("evaluation at 2", "ab"),
            ("epoch 1 ends", "ab"),
            ("step-00000002", "ab"),
            ("end", "ab"),
        ],
    );
}

/// Two tasks on one output of two columns.
#[test]
fn the_parts_of_a_multi_task_loss_are_metrics_and_their_weighted_sum_is_the_loss() {
    let column = |i| move |z: &Tensor, _: &Tensor| z.narrow(1, i, 1)?.sqr()?.sum(1);
    let loss = MultiTaskLoss::new().task("left", 1., column(0));
    let loss = loss.and_then(|loss| loss.task("right", 0.25, column(1)));
    let (params, model) = mlp(0.);
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let history = Trainer::new(&model, optimizer, TrainerConfig::default())
        .no_metrics()
        .multi_task_loss(loss.unwrap())
        .fit(&loader(4), &loader(5))
        .unwrap();
    for split in ["train", "eval"] {
        let all = |epoch: &Epoch| {
            let of = |name: &str| epoch.metric(&format!("{split}_loss{name}")).unwrap();
            [of(""), of("_left"), of("_right")]
        };
        let (first, last) = (all(&history[0]), all(&history[2]));
        // Sums of 22 f32 losses.
        assert!((first[0] - first[1] - 0.25 * first[2]).abs() < 1e-6 * first[0]);
        assert!(last[0] < first[0]);
    }
}

#[test]
fn a_batch_size_is_found_and_the_weights_are_put_back() {
    let (params, model) = mlp(0.3);
    let before = weights(&params);
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let mut trainer = Trainer::new(&model, optimizer, TrainerConfig::default()).params(&params);
    let found = trainer.find_batch_size(&BatchSizeFinder::default(), loader);
    let found = found.unwrap();
    assert_eq!((found.batch_size, found.end), (22, BatchSizeEnd::Data));
    let sizes: Vec<_> = found.trials.iter().map(|trial| trial.batch_size).collect();
    assert_eq!(sizes, [2, 4, 8, 16, 22]);
    assert_eq!(weights(&params), before);
    // The optimizer, too, is where it was.
    trainer.fit(&loader(8), &loader(8)).unwrap();
    drop(trainer);
    let (again, model) = mlp(0.3);
    fit(&model, &again, TrainerConfig::default(), &loader(8));
    assert_eq!(weights(&params), weights(&again));
    let optimizer = Optimizer::new(again.trainable(), Adam::default()).unwrap();
    let mut nameless = Trainer::new(&model, optimizer, TrainerConfig::default());
    let error = nameless.find_batch_size(&BatchSizeFinder::default(), loader);
    assert!(error.unwrap_err().to_string().contains("`Trainer::params`"));
}

#[test]
fn a_fast_dev_run_is_one_step_and_one_evaluation_and_overfitting_one_batch_ends_near_zero() {
    let (params, model) = mlp(0.);
    let history = fit(&model, &params, TrainerConfig::fast_dev_run(), &loader(8));
    assert_eq!((history.len(), history[0].step), (1, 1));
    assert!(history[0].metric("eval_loss").unwrap().is_finite());
    let config = TrainerConfig {
        epochs: 300,
        overfit_batches: Some(1),
        eval_every: Every::Epochs(300),
        ..Default::default()
    };
    let rule = Adam {
        lr: 0.02,
        ..Adam::default()
    };
    let optimizer = Optimizer::new(params.trainable(), rule).unwrap();
    let mut trainer = Trainer::new(&model, optimizer, config);
    // Another batch every epoch but for the option.
    let history = trainer.fit(&loader(6).shuffle(true), &loader(22)).unwrap();
    assert_eq!(history[299].step, 300);
    let loss = history[299].metric("train_loss").unwrap();
    assert!(loss < 0.02, "{loss}");
}

/// Evaluation data with a column too many: found before the first of many steps.
#[test]
fn what_is_wrong_with_the_evaluation_shows_before_the_first_step() {
    let (params, model) = mlp(0.);
    let before = weights(&params);
    let x = Tensor::zeros((4, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let y = Tensor::zeros(4, candle_core::DType::U32, &Device::Cpu).unwrap();
    let wrong = DataLoader::new(TensorDataset::new(x, y).unwrap(), StackTensors);
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let steps = Cell::new(0);
    let mut trainer = Trainer::new(&model, optimizer, TrainerConfig::default())
        .callback(Hear(|_: &Step| steps.set(steps.get() + 1)));
    assert!(trainer.fit(&loader(8), &wrong).is_err());
    drop(trainer);
    assert_eq!((steps.get(), weights(&params)), (0, before));
}
