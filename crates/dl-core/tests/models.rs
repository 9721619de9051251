//! Small members of the zoo against PyTorch (`tools/reference/models.py`): names, values, gradients.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use dl_autograd::{Tape, backward, cat, flatten_from, mul, sum};
use dl_core::Params;
use dl_core::models::{
    Bert, BertConfig, Gpt, GptConfig, IMAGE_MODELS, ImageClassifier, LeNet, LeNetConfig,
    MobileNetV2, MobileNetV2Config, MobileNetV2Stage, ResNet, ResNetBlock, ResNetConfig,
    ResNetStem, Vgg, VggConfig,
};

type Forward = fn(VarBuilder, &Tensor) -> Result<Tensor>;

fn resnet() -> ResNetConfig {
    ResNetConfig {
        layers: vec![2, 1],
        widths: vec![3, 4],
        classes: 5,
        ..ResNetConfig::resnet18()
    }
}

fn bottlenecks() -> ResNetConfig {
    ResNetConfig {
        block: ResNetBlock::Bottleneck,
        layers: vec![1, 2],
        widths: vec![3, 2],
        stem: ResNetStem::Cifar,
        classes: 5,
        gradient_checkpointing: false,
    }
}

fn mobilenet_v2() -> MobileNetV2Config {
    let stage = |(expand, channels, repeats, stride)| MobileNetV2Stage {
        expand,
        channels,
        repeats,
        stride,
    };
    MobileNetV2Config {
        stem: 6,
        stages: [(1, 4, 1, 1), (3, 5, 2, 2)].map(stage).to_vec(),
        features: 8,
        classes: 4,
        dropout: 0.,
    }
}

fn vgg() -> VggConfig {
    VggConfig {
        blocks: vec![vec![2], vec![3, 3]],
        hidden: 4,
        classes: 3,
        dropout: 0.,
    }
}

fn lenet(vb: VarBuilder, x: &Tensor) -> Result<Tensor> {
    let config = LeNetConfig {
        image: [1, 8, 8],
        channels: [2, 3],
        hidden: 5,
        classes: 4,
    };
    LeNet::new(&config, vb)?.forward_t(x, true)
}

fn gpt(vb: VarBuilder, ids: &Tensor) -> Result<Tensor> {
    let config = GptConfig {
        vocab_size: 11,
        block_size: 6,
        layers: 2,
        heads: 2,
        dim: 8,
        dropout: 0.,
        gradient_checkpointing: false,
    };
    Gpt::new(&config, vb)?.forward_t(ids, true)
}

fn bert_config() -> BertConfig {
    BertConfig {
        vocab_size: 13,
        hidden_size: 8,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 12,
        max_position_embeddings: 7,
        hidden_dropout_prob: 0.,
        attention_probs_dropout_prob: 0.,
        ..Default::default()
    }
}

/// As the reference: the last token of the second text is padding and not looked at.
fn bert(vb: VarBuilder, ids: &Tensor) -> Result<Tensor> {
    let dtype = vb.dtype();
    let model = Bert::new(&bert_config(), vb)?;
    let seen = Tensor::new(&[[1u8, 1, 1, 1, 1], [1, 1, 1, 1, 0]], &Device::Cpu)?;
    let types = Tensor::new(&[[0u32, 0, 0, 1, 1]; 2], &Device::Cpu)?;
    let y = model.encode(ids, Some(&types), Some(&seen), true)?;
    let shown = seen
        .to_dtype(dtype)?
        .unsqueeze(2)?
        .broadcast_as(y.shape())?;
    let first = flatten_from(&mul(&y, &shown.contiguous()?)?, 1)?;
    cat(&[&first, &model.pool(&y)?], 1)
}

const CASES: [(&str, Forward); 7] = [
    ("lenet", lenet),
    ("resnet", |vb, x| {
        ResNet::new(&resnet(), vb)?.forward_t(x, true)
    }),
    ("resnet of bottlenecks", |vb, x| {
        ResNet::new(&bottlenecks(), vb)?.forward_t(x, true)
    }),
    ("mobilenet_v2", |vb, x| {
        MobileNetV2::new(&mobilenet_v2(), vb)?.forward_t(x, true)
    }),
    ("vgg", |vb, x| Vgg::new(&vgg(), vb)?.forward_t(x, true)),
    ("gpt", gpt),
    ("bert", bert),
];

fn fixtures() -> HashMap<String, Tensor> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models.safetensors");
    candle_core::safetensors::load(file, &Device::Cpu).unwrap()
}

fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor, tolerance: f64) {
    assert_eq!(ours.dims(), theirs.dims(), "{what}");
    let flat = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let theirs = flat(theirs).unwrap();
    let scale = theirs.iter().fold(1f64, |m, x| m.max(x.abs()));
    for (a, b) in flat(ours).unwrap().iter().zip(&theirs) {
        let near = (a - b).abs() <= tolerance * scale;
        assert!(near, "{what}: {a}, PyTorch has {b}");
    }
}

fn compare(case: &str, forward: Forward, dtype: DType, tolerance: f64) {
    let fixtures = fixtures();
    let one = |key: &str| fixtures[&format!("{case}/{key}")].clone();
    let float = |key: &str| one(key).to_dtype(dtype).unwrap();
    let x = match one("input").dtype() {
        DType::I64 => one("input").to_dtype(DType::U32).unwrap(),
        _ => float("input"),
    };
    let params = Params::new(0, &Device::Cpu);
    let vb = || params.vb().set_dtype(dtype);
    forward(vb(), &x).unwrap();
    let prefix = format!("{case}/param/");
    let keys = fixtures.keys().filter_map(|key| key.strip_prefix(&prefix));
    let mut names: Vec<_> = keys.map(String::from).collect();
    names.sort();
    let trainable = params.trainable().into_iter().map(|(name, _)| name);
    assert_eq!(trainable.collect::<Vec<_>>(), names, "{case}");
    for name in &names {
        params.set(name, &float(&format!("param/{name}"))).unwrap();
    }
    let tape = Tape::new();
    let y = forward(vb(), &x).unwrap();
    assert_close(&format!("{case}: output"), &y, &float("output"), tolerance);
    let loss = sum(&mul(&y, &float("cotangent")).unwrap()).unwrap();
    for (how, grads) in [("candle", loss.backward()), ("tape", backward(&loss))] {
        let grads = grads.unwrap();
        for name in &names {
            let what = format!("{case}: gradient of {name} by {how}");
            let grad = grads.get(&params.get(name).unwrap());
            let grad = grad.unwrap_or_else(|| panic!("{what} is lost"));
            assert_close(&what, grad, &float(&format!("grad/{name}")), tolerance);
        }
    }
    drop(tape);
}

/// A few layers of f64 lose two or three digits of sixteen; batch norms of a few values a few more.
#[test]
fn models_in_f64_are_pytorchs() {
    for (case, forward) in CASES {
        compare(case, forward, DType::F64, 1e-9);
    }
}

/// f32 has seven digits, of which batch norms over four values lose three.
#[test]
fn models_in_f32_are_pytorchs() {
    for (case, forward) in CASES {
        compare(case, forward, DType::F32, 2e-3);
    }
}

fn classifiers() -> Vec<(Box<dyn ImageClassifier>, Params)> {
    let with = |build: fn(VarBuilder) -> Box<dyn ImageClassifier>| {
        let params = Params::new(0, &Device::Cpu);
        (build(params.vb()), params)
    };
    vec![
        with(|vb| Box::new(ResNet::new(&resnet(), vb).unwrap())),
        with(|vb| Box::new(ResNet::new(&bottlenecks(), vb).unwrap())),
        with(|vb| Box::new(MobileNetV2::new(&mobilenet_v2(), vb).unwrap())),
        with(|vb| Box::new(Vgg::new(&vgg(), vb).unwrap())),
    ]
}

#[test]
fn depth_patterns_name_every_weight_once() {
    for (model, params) in classifiers() {
        let patterns = model.depth_patterns();
        for name in params.names() {
            let matched = |p: &&String| name.starts_with(p.trim_end_matches('*'));
            assert_eq!(patterns.iter().filter(matched).count(), 1, "{name}");
        }
    }
}

#[test]
fn the_head_of_the_features_is_the_model() {
    for (model, _) in classifiers() {
        let x = Tensor::ones((2, 3, 32, 32), DType::F32, &Device::Cpu).unwrap();
        let features = model.forward_features(&x, false).unwrap();
        let y = model.forward_head(&features, false).unwrap();
        let whole = model.forward_t(&x, false).unwrap();
        let both = [y, whole].map(|y| y.to_vec2::<f32>().unwrap());
        assert_eq!(both[0], both[1]);
    }
}

#[test]
fn what_a_model_cannot_take_is_named() {
    let params = || Params::new(0, &Device::Cpu);
    let error = |result: Result<Tensor>| result.unwrap_err().to_string();
    let ids = Tensor::zeros((1, 8), DType::U32, &Device::Cpu).unwrap();
    let message = error(gpt(params().vb(), &ids));
    assert!(
        message.contains("up to 6 tokens, got ids [1, 8]"),
        "{message}"
    );
    let model = Bert::new(&bert_config(), params().vb()).unwrap();
    let message = error(model.forward_t(&ids, false));
    assert!(
        message.contains("up to 7 tokens, got ids [1, 8]"),
        "{message}"
    );
    let config = ResNetConfig {
        widths: vec![3],
        ..resnet()
    };
    let message = ResNet::new(&config, params().vb()).unwrap_err().to_string();
    assert!(
        message.contains("layers [2, 1] and widths [3]"),
        "{message}"
    );
}

#[test]
fn every_model_of_the_zoo_builds_by_its_name() {
    for model in IMAGE_MODELS {
        let params = Params::new(0, &Device::Cpu);
        model.build(3, params.vb()).unwrap();
        let weight = params.get(&format!("{}.weight", model.classifier));
        assert_eq!(weight.unwrap().dims()[0], 3, "{}", model.name);
    }
}
