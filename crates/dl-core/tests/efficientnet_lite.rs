//! EfficientNet-Lite0 with its pretrained weights against PyTorch, forward and backward.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use candle_nn::ModuleT;
use dl_core::Params;
use dl_core::losses::{CrossEntropyOptions, Reduction, cross_entropy};
use dl_core::models::{EfficientNetLite, EfficientNetLiteConfig, ImageClassifier};
use serde::Deserialize;

/// Written by `tools/reference/efficientnet_lite.py`.
#[derive(Deserialize)]
struct Fixture {
    eval_logits: Vec<Vec<f64>>,
    eval_argmax: Vec<u32>,
    train_loss: f64,
    gradient_norms: BTreeMap<String, f64>,
    running_mean_norms: BTreeMap<String, f64>,
}

fn fixture() -> Fixture {
    let path = root().join("crates/dl-core/tests/fixtures/efficientnet_lite0.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn pretrained(dtype: DType) -> (Params, EfficientNetLite) {
    let params = Params::new(0, &Device::Cpu);
    let config = EfficientNetLiteConfig {
        dropout: 0.,
        ..EfficientNetLiteConfig::lite0()
    };
    let model = EfficientNetLite::new(&config, params.vb().set_dtype(dtype)).unwrap();
    let file = root().join("assets/efficientnet_lite0/model.safetensors");
    let weights = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    for name in params.names() {
        params.set(&name, &weights[&name]).unwrap();
    }
    (params, model)
}

/// The reference's pattern.
fn images(n: usize, size: usize, dtype: DType) -> Tensor {
    let values: Vec<f64> = (0..n * 3 * size * size)
        .map(|i| (i as f64 * 0.0137).sin())
        .collect();
    let images = Tensor::from_vec(values, (n, 3, size, size), &Device::Cpu).unwrap();
    images.to_dtype(dtype).unwrap()
}

fn assert_eval_agrees(dtype: DType, tolerance: f64) {
    let fixture = fixture();
    let (_, model) = pretrained(dtype);
    let logits = model.forward_t(&images(2, 64, dtype), false).unwrap();
    let best = logits.argmax(1).unwrap().to_vec1::<u32>().unwrap();
    assert_eq!(best, fixture.eval_argmax);
    let logits = logits.to_dtype(DType::F64).unwrap();
    for (ours, theirs) in logits
        .to_vec2::<f64>()
        .unwrap()
        .iter()
        .zip(&fixture.eval_logits)
    {
        for (ours, theirs) in ours.iter().step_by(50).zip(theirs) {
            assert!(
                (ours - theirs).abs() < tolerance,
                "{ours}, PyTorch {theirs}"
            );
        }
    }
}

/// 50 layers of f64 rounding.
#[test]
fn logits_agree_with_pytorch_in_f64() {
    assert_eval_agrees(DType::F64, 1e-10);
}

/// 50 layers of f32 rounding on logits near 5.
#[test]
fn logits_agree_with_pytorch_in_f32() {
    assert_eval_agrees(DType::F32, 1e-4);
}

#[test]
fn a_training_step_has_the_loss_gradients_and_running_statistics_of_pytorch() {
    let fixture = fixture();
    let (params, model) = pretrained(DType::F64);
    let logits = model.forward_t(&images(4, 96, DType::F64), true).unwrap();
    let targets = Tensor::new(&[1u32, 10, 100, 999], &Device::Cpu).unwrap();
    let options = CrossEntropyOptions {
        label_smoothing: 0.1,
        ..Default::default()
    };
    let loss = cross_entropy(&logits, &targets, &options, Reduction::Mean).unwrap();
    let value = loss.to_scalar::<f64>().unwrap();
    // Batch statistics of 36 values amplify rounding by the square root of 1/variance.
    assert!((value - fixture.train_loss).abs() < 1e-9, "{value}");
    let grads = loss.backward().unwrap();
    assert_eq!(params.trainable().len(), fixture.gradient_norms.len());
    for (name, var) in params.trainable() {
        let ours = norm(grads.get(&var).unwrap());
        let theirs = fixture.gradient_norms[&name];
        assert!(
            (ours - theirs).abs() < 1e-7 * theirs.max(1e-3),
            "{name}: {ours}, PyTorch {theirs}"
        );
    }
    for (name, theirs) in &fixture.running_mean_norms {
        let ours = norm(&params.get(name).unwrap());
        assert!(
            (ours - theirs).abs() < 1e-9 * theirs.max(1.),
            "{name}: {ours}, PyTorch {theirs}"
        );
    }
}

fn norm(t: &Tensor) -> f64 {
    t.sqr()
        .unwrap()
        .sum_all()
        .unwrap()
        .to_scalar::<f64>()
        .unwrap()
        .sqrt()
}

#[test]
fn only_the_classifier_gets_gradients_when_the_rest_is_frozen() {
    let (params, _) = pretrained(DType::F32);
    params.freeze("*").unwrap();
    params.unfreeze("_fc.*").unwrap();
    let model = EfficientNetLite::new(&EfficientNetLiteConfig::lite0(), params.vb()).unwrap();
    let before = params.get("_bn0.running_mean").unwrap().copy().unwrap();
    let features = model
        .forward_features(&images(2, 32, DType::F32), true)
        .unwrap();
    assert!(!features.track_op());
    let loss = model
        .forward_head(&features, true)
        .unwrap()
        .sum_all()
        .unwrap();
    let grads = loss.backward().unwrap();
    let names: Vec<String> = params.trainable().into_iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["_fc.bias", "_fc.weight"]);
    assert!(
        params
            .trainable()
            .iter()
            .all(|(_, v)| grads.get(v).is_some())
    );
    assert!(
        params
            .all()
            .iter()
            .filter(|(_, v)| grads.get(v).is_some())
            .count()
            == 2
    );
    let after = params.get("_bn0.running_mean").unwrap();
    assert_eq!(
        before.to_vec1::<f32>().unwrap(),
        after.to_vec1::<f32>().unwrap()
    );
}
