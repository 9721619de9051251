//! The switch `gradient_checkpointing` of the zoo's configurations: the same bits in less memory.
#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Result, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use dl_autograd::{Purpose, Rng, RngScope, Tape, backward, flatten_from, mul, sum};
use dl_core::Params;
use dl_core::models::{Bert, BertConfig, Gpt, GptConfig, ResNet, ResNetConfig, ResNetStem};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The heap is one for all tests.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bert_config(gradient_checkpointing: bool) -> BertConfig {
    BertConfig {
        vocab_size: 11,
        hidden_size: 32,
        num_hidden_layers: 8,
        num_attention_heads: 4,
        intermediate_size: 128,
        hidden_dropout_prob: 0.2,
        attention_probs_dropout_prob: 0.1,
        gradient_checkpointing,
        ..Default::default()
    }
}

/// The encoder and its pooler, with padding at the end of every text.
struct Pooled(Bert);

impl ModuleT for Pooled {
    fn forward_t(&self, ids: &Tensor, train: bool) -> Result<Tensor> {
        let (b, t) = ids.dims2()?;
        let seen = Tensor::arange(0, t as u32, ids.device())?.lt(t as u32 - 3)?;
        let seen = seen.broadcast_as((b, t))?.contiguous()?;
        self.0.pool(&self.0.encode(ids, None, Some(&seen), train)?)
    }
}

fn bert(again: bool, vb: VarBuilder) -> Result<Box<dyn ModuleT>> {
    Ok(Box::new(Pooled(Bert::new(&bert_config(again), vb)?)))
}

fn gpt_config(gradient_checkpointing: bool) -> GptConfig {
    GptConfig {
        vocab_size: 11,
        block_size: 64,
        layers: 8,
        heads: 4,
        dim: 32,
        dropout: 0.2,
        gradient_checkpointing,
    }
}

fn gpt(again: bool, vb: VarBuilder) -> Result<Box<dyn ModuleT>> {
    Ok(Box::new(Gpt::new(&gpt_config(again), vb)?))
}

/// More blocks than the texts' models have, since each keeps little.
fn resnet_config(gradient_checkpointing: bool) -> ResNetConfig {
    ResNetConfig {
        layers: vec![16, 2],
        widths: vec![8, 12],
        stem: ResNetStem::Cifar,
        classes: 3,
        gradient_checkpointing,
        ..Default::default()
    }
}

fn resnet(again: bool, vb: VarBuilder) -> Result<Box<dyn ModuleT>> {
    Ok(Box::new(ResNet::new(&resnet_config(again), vb)?))
}

fn texts(n: usize) -> Tensor {
    let ids = (0..n * 24).map(|i| (i * 7 % 11) as u32);
    let ids = Tensor::from_iter(ids, &Device::Cpu).unwrap();
    ids.reshape((n, 24)).unwrap()
}

fn images(n: usize) -> Tensor {
    let mut pixels = vec![0f32; n * 3 * 16 * 16];
    Rng::new(5, Purpose::Other(0), 0).fill_normal(&mut pixels);
    Tensor::from_vec(pixels, (n, 3, 16, 16), &Device::Cpu).unwrap()
}

type Build = fn(bool, VarBuilder) -> Result<Box<dyn ModuleT>>;
type Inputs = fn(usize) -> Tensor;
const MODELS: [(&str, Build, Inputs); 3] = [
    ("bert", bert, texts),
    ("gpt", gpt, texts),
    ("resnet", resnet, images),
];

/// Forward and backward as in a training step: the loss, the gradients and the buffers by name, and
/// the most bytes that it took.
fn step(build: Build, again: bool, x: &Tensor) -> (f32, Vec<(String, Vec<f32>)>, usize) {
    let params = Params::new(3, &Device::Cpu);
    let model = build(again, params.vb()).unwrap();
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let _streams = RngScope::new(9, 0);
    let _tape = Tape::new();
    let y = flatten_from(&model.forward_t(x, true).unwrap(), 0).unwrap();
    let loss = sum(&mul(&y, &y).unwrap()).unwrap();
    let grads = backward(&loss).unwrap();
    let peak = HEAP.peak_usage() - before;
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let found = params.all().into_iter().map(|(name, var)| {
        let grad = match Params::is_buffer(&name) {
            true => flat(&var),
            false => flat(grads.get(&var).unwrap()),
        };
        (name, grad)
    });
    (loss.to_scalar().unwrap(), found.collect(), peak)
}

#[test]
fn losses_gradients_and_statistics_have_the_same_bits_in_less_memory() {
    let _alone = alone();
    for (name, build, inputs) in MODELS {
        let x = inputs(32);
        // Once before, so that scratch buffers are there.
        step(build, false, &x);
        let (loss, grads, peak) = step(build, false, &x);
        let (loss_again, grads_again, peak_again) = step(build, true, &x);
        assert_eq!(loss, loss_again, "{name}");
        assert_eq!(grads, grads_again, "{name}");
        println!("{name}: {peak} bytes, {peak_again} computed again");
        // Of all blocks one at a time is there at once: of every block its input stays, in place of four
        // tensors of images or a dozen of texts.
        assert!(
            (peak_again as f64) < 0.5 * peak as f64,
            "{name}: {peak} bytes, {peak_again} computed again"
        );
    }
}

#[test]
fn an_evaluation_is_the_same_and_names_of_weights_stay() {
    let _alone = alone();
    for (name, build, inputs) in MODELS {
        let [plain, again] = [false, true].map(|again| {
            let params = Params::new(3, &Device::Cpu);
            let model = build(again, params.vb()).unwrap();
            let y = model.forward_t(&inputs(2), false).unwrap();
            let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (params.names(), y)
        });
        assert_eq!(plain, again, "{name}");
    }
}

/// Masks are drawn, so that equal bits say that they were drawn again.
#[test]
fn the_dropout_of_the_test_models_is_on() {
    let _alone = alone();
    for (name, build, inputs) in &MODELS[..2] {
        let params = Params::new(3, &Device::Cpu);
        let model = build(true, params.vb()).unwrap();
        let [train, eval] = [true, false].map(|train| {
            let _streams = RngScope::new(9, 0);
            let y = model.forward_t(&inputs(2), train).unwrap();
            y.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        });
        assert_ne!(train, eval, "{name}");
    }
}

#[test]
fn frozen_blocks_get_no_gradient_and_those_before_them_do() {
    let _alone = alone();
    let params = Params::new(3, &Device::Cpu);
    let build = || Bert::new(&bert_config(true), params.vb()).unwrap();
    build();
    params.freeze("encoder.layer.3.*").unwrap();
    let model = build();
    let y = model.forward_t(&texts(2), true).unwrap();
    let grads = backward(&sum(&model.pool(&y).unwrap()).unwrap()).unwrap();
    for (name, var) in params.all() {
        let frozen = name.starts_with("encoder.layer.3.");
        assert_eq!(grads.get(&var).is_none(), frozen, "{name}");
    }
}

#[test]
fn configurations_are_read_with_and_without_the_switch() {
    // As Hugging Face has it in `bert-base-uncased`, with fields that are passed over.
    let file = r#"{"architectures": ["BertForMaskedLM"], "gradient_checkpointing": false,
        "hidden_size": 768, "model_type": "bert", "vocab_size": 30522}"#;
    let config: BertConfig = serde_json::from_str(file).unwrap();
    assert_eq!(config, BertConfig::default());
    let on = file.replace("false", "true");
    let config: BertConfig = serde_json::from_str(&on).unwrap();
    assert!(config.gradient_checkpointing);
    let bert: BertConfig = serde_json::from_str(r#"{"hidden_size": 768}"#).unwrap();
    let gpt: GptConfig = serde_json::from_str(r#"{"dim": 768}"#).unwrap();
    let resnet: ResNetConfig = serde_json::from_str(r#"{"classes": 1000}"#).unwrap();
    assert_eq!(bert, BertConfig::default());
    assert_eq!(gpt, GptConfig::default());
    assert_eq!(resnet, ResNetConfig::default());
    let text = serde_json::to_string(&resnet_config(true)).unwrap();
    assert_eq!(resnet_config(true), serde_json::from_str(&text).unwrap());
}
