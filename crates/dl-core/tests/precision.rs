//! Training with products in half precision.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use dl_autograd::{Purpose, Rng};
use dl_core::Params;
use dl_core::data::{DataLoader, StackTensors, TensorDataset};
use dl_core::layers::{linear, sequential};
use dl_core::models::{LeNet, LeNetConfig};
use dl_core::train::{
    CheckpointOptions, Epoch, Evaluator, Every, MixedPrecision, Resume, Trainer, TrainerConfig,
};
use dl_optim::{Adam, LossScaler, NonFinite, Optimizer};

type Loader = DataLoader<TensorDataset, StackTensors>;

/// Images of two classes: a bright left or right half under noise.
fn images(count: usize) -> Loader {
    let mut x = vec![0f32; count * 28 * 28];
    Rng::new(4, Purpose::Other(0), 0).fill_normal(&mut x);
    for (i, pixel) in x.iter_mut().enumerate() {
        let (class, right) = (i / 784 % 2, i % 28 / 14);
        *pixel += if class == right { 0.7 } else { 0. };
    }
    let y: Vec<u32> = (0..count as u32).map(|i| i % 2).collect();
    let x = Tensor::from_vec(x, (count, 1, 28, 28), &Device::Cpu).unwrap();
    let y = Tensor::from_vec(y, count, &Device::Cpu).unwrap();
    DataLoader::new(TensorDataset::new(x, y).unwrap(), StackTensors).batch_size(16)
}

fn config(mixed_precision: MixedPrecision) -> TrainerConfig {
    TrainerConfig {
        epochs: 3,
        mixed_precision,
        ..Default::default()
    }
}

fn trained(config: TrainerConfig) -> (Params, Vec<Epoch>) {
    let params = Params::new(7, &Device::Cpu);
    let model = LeNet::new(&LeNetConfig::default(), params.vb()).unwrap();
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let mut trainer = Trainer::new(&model, optimizer, config);
    let history = trainer.fit(&images(128), &images(48)).unwrap();
    (params, history)
}

fn weights(params: &Params) -> Vec<f32> {
    let all = params.all().into_iter();
    let flat = all.map(|(_, v)| v.as_tensor().flatten_all().unwrap());
    flat.flat_map(|t| t.to_vec1::<f32>().unwrap()).collect()
}

/// A product's operands keep 8 or 11 bits. Errors of single terms have either sign and average out in
/// sums, so losses, means over 128 samples, differ by less than ε/2 = 2⁻⁸ of bf16 in the first epoch;
/// later the weights have gone other ways, by a few times that.
#[test]
fn a_training_in_mixed_precision_keeps_f32_weights_and_the_losses_of_f32() {
    let (_, plain) = trained(config(MixedPrecision::No));
    for precision in [MixedPrecision::Bf16, MixedPrecision::Fp16] {
        // PyTorch's first scale overflows a few times, which costs steps.
        let scaler = LossScaler::new(256., 2., 0.5, 2000).unwrap();
        let (params, mixed) = trained(TrainerConfig {
            loss_scaler: (precision == MixedPrecision::Fp16).then_some(scaler),
            ..config(precision)
        });
        let all = params.all();
        assert!(all.iter().all(|(_, var)| var.dtype() == DType::F32));
        assert!(mixed.iter().all(|epoch| epoch.skipped_steps == 0));
        for (metric, epoch, times) in [
            ("train_loss", 0, 1.),
            ("train_loss", 2, 8.),
            ("eval_loss", 2, 8.),
        ] {
            let [a, b] = [&plain, &mixed].map(|history| history[epoch].metric(metric).unwrap());
            let close = a != b && (a - b).abs() < times * 2f64.powi(-8);
            assert!(close, "{metric} of {precision:?}: {a} and {b}");
        }
        assert!(mixed[2].metric("eval_accuracy").unwrap() > 0.9);
    }
}

/// 2²⁴ times a gradient is beyond f16 at first.
#[test]
fn the_scale_of_an_f16_loss_falls_until_the_gradients_fit() {
    let config = TrainerConfig {
        loss_scaler: Some(LossScaler::new(2f64.powi(24), 2., 0.5, 1000).unwrap()),
        ..config(MixedPrecision::Fp16)
    };
    let (params, history) = trained(config);
    assert!(
        (1..12).contains(&history[0].skipped_steps),
        "{}",
        history[0].skipped_steps
    );
    assert_eq!(history[2].skipped_steps, 0);
    assert!(weights(&params).iter().all(|w| w.is_finite()));
    assert!(history[2].metric("eval_accuracy").unwrap() > 0.9);
}

/// Without an explicit scaler f16 has PyTorch's, and its state is gone on from.
#[test]
fn a_run_in_f16_that_is_resumed_is_the_uninterrupted_one_bit_for_bit() {
    let run = |folder: &std::path::Path, max_steps, every| {
        let params = Params::new(7, &Device::Cpu);
        let model = LeNet::new(&LeNetConfig::default(), params.vb()).unwrap();
        let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
        let config = TrainerConfig {
            max_steps,
            ..config(MixedPrecision::Fp16)
        };
        let options = CheckpointOptions {
            every: Every::Steps(every),
            resume: Resume::IfAny,
            ..CheckpointOptions::new(folder)
        };
        let mut trainer = Trainer::new(&model, optimizer, config).checkpoints(&params, options);
        trainer.fit(&images(64), &images(16)).unwrap();
        let text = std::fs::read_to_string(folder.join("step-00000012/state.json"));
        (weights(&params), text.unwrap_or_default())
    };
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (expected, state) = run(whole.path(), None, 100);
    assert!(state.contains("\"growth_interval\": 2000"), "{state}");
    assert!(state.contains("\"mixed_precision\": \"fp16\""), "{state}");
    run(cut.path(), Some(8), 4);
    assert_eq!(run(cut.path(), None, 4).0, expected);
}

/// The overflow of an activation is named by the layer as it ran: 300 · 300 is beyond f16.
#[test]
fn a_layer_that_overflows_in_f16_alone_is_named() {
    let run = |mixed_precision| {
        let params = Params::new(7, &Device::Cpu);
        let model = sequential(params.vb()).add(|vb| linear(1, 2, vb));
        let model = model.unwrap().build();
        let large = Tensor::full(300f32, (2, 1), &Device::Cpu).unwrap();
        params.set("0.weight", &large).unwrap();
        let x = Tensor::full(300f32, (4, 1), &Device::Cpu).unwrap();
        let y = Tensor::zeros(4, DType::U32, &Device::Cpu).unwrap();
        let data = || {
            DataLoader::new(
                TensorDataset::new(x.clone(), y.clone()).unwrap(),
                StackTensors,
            )
        };
        let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
        let mut trainer = Trainer::new(&model, optimizer, config(mixed_precision));
        trainer
            .fit(&data(), &data())
            .map_err(|error| error.to_string())
    };
    assert!(run(MixedPrecision::No).is_ok());
    let error = run(MixedPrecision::Fp16).unwrap_err();
    assert!(error.contains("that of Linear 0"), "{error}");
}

#[test]
fn an_evaluator_in_mixed_precision_finds_what_the_trainer_finds() {
    let params = Params::new(7, &Device::Cpu);
    let model = LeNet::new(&LeNetConfig::default(), params.vb()).unwrap();
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let config = TrainerConfig {
        non_finite: NonFinite::Skip,
        ..config(MixedPrecision::Bf16)
    };
    let history = Trainer::new(&model, optimizer, config)
        .fit(&images(32), &images(16))
        .unwrap();
    let found = |precision| {
        let evaluator = Evaluator::new(&model).mixed_precision(precision);
        evaluator.evaluate(&images(16)).unwrap().loss
    };
    let loss = history[2].metric("eval_loss").unwrap();
    // A mean of the batches' means against the mean of all, both in f64.
    assert!((found(MixedPrecision::Bf16) - loss).abs() < 1e-12);
    assert!((found(MixedPrecision::No) - loss).abs() > 1e-9);
}
