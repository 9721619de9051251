//! What is timed: a model, an optimizer and a batch.

use anyhow::{Result, bail};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Module, ModuleT, VarBuilder};
use dl_autograd::{Purpose, Rng, Tape, backward, no_grad, reshape};
use dl_core::Params;
use dl_core::layers::{Embedding, Linear, Lstm, RecurrentConfig, embedding, linear, lstm};
use dl_core::losses::{Reduction, cross_entropy};
use dl_core::models::{
    Bert, BertConfig, Gpt, GptConfig, LeNet, Mlp, MobileNetV2, MobileNetV2Config, ResNet,
    ResNetConfig, VggConfig, VggFeatures,
};
use dl_core::summary::Summary;
use dl_optim::{Adam, AdamW, Optimizer, Sgd};

use crate::limit::Bound;

/// One step again and again.
pub struct Workload {
    /// Samples of a step.
    pub samples: usize,
    /// What limits it.
    pub bound: Bound,
    /// Multiplications and additions of a step, or bytes read and written.
    pub work: usize,
    /// Takes a step and returns its loss.
    pub step: Box<dyn FnMut() -> Result<f32>>,
}

/// What differs from the workload as it is named.
#[derive(Clone, Copy, Default)]
pub struct Size {
    /// Samples of a step.
    pub batch: Option<usize>,
    /// Tokens of a sample, where there are some.
    pub sequence: Option<usize>,
}

impl Size {
    fn batch(self, usual: usize) -> usize {
        self.batch.unwrap_or(usual)
    }

    fn sequence(self, usual: usize) -> usize {
        self.sequence.unwrap_or(usual)
    }
}

type Build = fn(Size) -> Result<Workload>;

/// By name.
pub const WORKLOADS: [(&str, Build); 11] = [
    ("mlp", mlp),
    ("lenet", lenet),
    ("resnet20", resnet20),
    ("resnet18", resnet18),
    ("mobilenet_v2", mobilenet_v2),
    ("vgg16", vgg16),
    ("minilm", minilm),
    ("minilm_frozen", minilm_frozen),
    ("gpt", gpt),
    ("lstm", char_lstm),
    ("adamw_25m", adamw_25m),
];

impl Workload {
    /// Builds the workload of this name.
    pub fn named(name: &str, size: Size) -> Result<Self> {
        match WORKLOADS.iter().find(|(known, _)| *known == name) {
            Some((_, build)) => build(size),
            None => {
                let known = WORKLOADS.map(|(name, _)| name).join(", ");
                bail!("no workload `{name}`; there are {known}")
            }
        }
    }

    /// Forward, backward and update of what trains in `params`.
    fn training(
        params: &Params,
        model: impl ModuleT + 'static,
        (inputs, targets): (Tensor, Tensor),
        mut optimizer: Optimizer,
    ) -> Result<Self> {
        let summary = Summary::of(params, || model.forward_t(&inputs, false))?;
        let forward = summary.multiply_adds();
        let mut layers = summary.rows.iter().map(|row| row.multiply_adds);
        let first = layers.find(|products| *products > 0).unwrap_or(0);
        let products = match summary.trainable() == summary.parameters() {
            // A backward is two more products of each size, for the input and for the weight; inputs
            // that are no embeddings have no gradient.
            true if inputs.dtype().is_float() => 3 * forward - first,
            true => 3 * forward,
            false => forward,
        };
        let samples = inputs.dim(0)?;
        let step = move || -> Result<f32> {
            let _tape = Tape::new();
            let logits = model.forward_t(&inputs, true)?;
            let loss = cross_entropy(&logits, &targets, &Default::default(), Reduction::Mean)?;
            optimizer.step(&backward(&loss)?)?;
            Ok(loss.to_scalar()?)
        };
        Ok(Self {
            samples,
            bound: Bound::Arithmetic,
            work: 2 * products,
            step: Box::new(step),
        })
    }
}

fn params() -> Params {
    Params::new(0, &Device::Cpu)
}

fn normal(shape: &[usize]) -> Result<Tensor> {
    let mut values = vec![0f32; shape.iter().product()];
    Rng::new(1, Purpose::Other(0), 0).fill_normal(&mut values);
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Numbers below `bound` that repeat late.
fn ids(shape: &[usize], bound: u32) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let ids: Vec<u32> = (0..count as u32).map(|i| i * 7919 % bound).collect();
    Ok(Tensor::from_vec(ids, shape, &Device::Cpu)?)
}

fn adam(params: &Params) -> Result<Optimizer> {
    Ok(Optimizer::new(params.trainable(), Adam::default())?)
}

fn adamw(params: &Params) -> Result<Optimizer> {
    Ok(Optimizer::new(params.trainable(), AdamW::default())?)
}

fn sgd(params: &Params) -> Result<Optimizer> {
    let rule = Sgd {
        lr: 0.01,
        momentum: 0.9,
        ..Default::default()
    };
    Ok(Optimizer::new(params.trainable(), rule)?)
}

fn mlp(size: Size) -> Result<Workload> {
    let params = params();
    let model = Mlp::new(&Default::default(), params.vb())?;
    let n = size.batch(32);
    let batch = (normal(&[n, 784])?, ids(&[n], 10)?);
    Workload::training(&params, model, batch, adam(&params)?)
}

fn lenet(size: Size) -> Result<Workload> {
    let params = params();
    let model = LeNet::new(&Default::default(), params.vb())?;
    let n = size.batch(64);
    let batch = (normal(&[n, 1, 28, 28])?, ids(&[n], 10)?);
    Workload::training(&params, model, batch, adam(&params)?)
}

fn resnet20(size: Size) -> Result<Workload> {
    let params = params();
    let model = ResNet::new(&ResNetConfig::resnet20(), params.vb())?;
    let n = size.batch(64);
    let batch = (normal(&[n, 3, 32, 32])?, ids(&[n], 10)?);
    Workload::training(&params, model, batch, sgd(&params)?)
}

fn resnet18(size: Size) -> Result<Workload> {
    let params = params();
    let model = ResNet::new(&ResNetConfig::resnet18(), params.vb())?;
    let n = size.batch(8);
    let batch = (normal(&[n, 3, 224, 224])?, ids(&[n], 1000)?);
    Workload::training(&params, model, batch, sgd(&params)?)
}

fn mobilenet_v2(size: Size) -> Result<Workload> {
    let params = params();
    let config = MobileNetV2Config {
        dropout: 0.,
        ..Default::default()
    };
    let model = MobileNetV2::new(&config, params.vb())?;
    let n = size.batch(8);
    let batch = (normal(&[n, 3, 224, 224])?, ids(&[n], 1000)?);
    Workload::training(&params, model, batch, sgd(&params)?)
}

/// The convolutions in inference; the "loss" is the mean of what comes out.
fn vgg16(size: Size) -> Result<Workload> {
    let params = params();
    let model = VggFeatures::new(&VggConfig::vgg16(), params.vb())?;
    let samples = size.batch(8);
    let x = normal(&[samples, 3, 224, 224])?;
    let summary = Summary::of(&params, || model.forward(&x))?;
    Ok(Workload {
        samples,
        bound: Bound::Arithmetic,
        work: 2 * summary.multiply_adds(),
        step: Box::new(move || Ok(no_grad(|| model.forward(&x))?.mean_all()?.to_scalar()?)),
    })
}

/// An encoder, its pooler and a classifier of texts.
struct TextClassifier {
    bert: Bert,
    classifier: Linear,
}

impl TextClassifier {
    fn minilm(vb: VarBuilder) -> Result<Self> {
        let config = BertConfig {
            hidden_dropout_prob: 0.,
            attention_probs_dropout_prob: 0.,
            ..BertConfig::minilm_l6()
        };
        Ok(Self {
            bert: Bert::new(&config, vb.pp("bert"))?,
            classifier: linear(config.hidden_size, 2, vb.pp("classifier"))?,
        })
    }
}

impl ModuleT for TextClassifier {
    fn forward_t(&self, ids: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let features = self.bert.forward_t(ids, train)?;
        self.classifier.forward(&self.bert.pool(&features)?)
    }
}

fn texts(size: Size) -> Result<(Tensor, Tensor)> {
    let (n, tokens) = (size.batch(16), size.sequence(128));
    Ok((ids(&[n, tokens], 30_522)?, ids(&[n], 2)?))
}

fn minilm(size: Size) -> Result<Workload> {
    let params = params();
    let model = TextClassifier::minilm(params.vb())?;
    Workload::training(&params, model, texts(size)?, adamw(&params)?)
}

/// Everything but the classifier is frozen.
fn minilm_frozen(size: Size) -> Result<Workload> {
    let params = params();
    TextClassifier::minilm(params.vb())?;
    params.freeze("bert.*")?;
    let model = TextClassifier::minilm(params.vb())?;
    Workload::training(&params, model, texts(size)?, adamw(&params)?)
}

/// Logits of every token as rows.
struct Flat<M>(M);

impl<M: ModuleT> ModuleT for Flat<M> {
    fn forward_t(&self, ids: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let logits = self.0.forward_t(ids, train)?;
        let (b, t, classes) = logits.dims3()?;
        reshape(&logits, (b * t, classes))
    }
}

fn gpt(size: Size) -> Result<Workload> {
    let params = params();
    let (n, tokens) = (size.batch(12), size.sequence(64));
    let config = GptConfig {
        vocab_size: 65,
        block_size: tokens,
        layers: 4,
        heads: 4,
        dim: 128,
        dropout: 0.,
        gradient_checkpointing: false,
    };
    let model = Flat(Gpt::new(&config, params.vb())?);
    let batch = (ids(&[n, tokens], 65)?, ids(&[n * tokens], 65)?);
    Workload::training(&params, model, batch, adamw(&params)?)
}

/// A language model of characters.
struct CharLstm {
    characters: Embedding,
    lstm: Lstm,
    head: Linear,
}

impl ModuleT for CharLstm {
    fn forward_t(&self, ids: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let x = self.characters.forward(ids)?;
        self.head.forward(&self.lstm.forward_t(&x, train)?)
    }
}

fn char_lstm(size: Size) -> Result<Workload> {
    let params = params();
    let two = RecurrentConfig {
        layers: 2,
        ..Default::default()
    };
    let model = Flat(CharLstm {
        characters: embedding(65, 256, params.vb().pp("characters"))?,
        lstm: lstm(256, 256, two, params.vb().pp("lstm"))?,
        head: linear(256, 65, params.vb().pp("head"))?,
    });
    let (n, tokens) = (size.batch(32), size.sequence(64));
    let batch = (ids(&[n, tokens], 65)?, ids(&[n * tokens], 65)?);
    Workload::training(&params, model, batch, adamw(&params)?)
}

/// The update alone, of 25 million parameters in 50 tensors; the "loss" is one of them.
fn adamw_25m(_: Size) -> Result<Workload> {
    let vars = (0..50).map(|_| Var::ones(500_000, DType::F32, &Device::Cpu));
    let vars: Vec<Var> = vars.collect::<candle_core::Result<_>>()?;
    let mut grads = GradStore::default();
    for var in &vars {
        grads.insert(var, (var.ones_like()? * 0.25)?.copy()?);
    }
    let named = vars.iter().enumerate();
    let named = named.map(|(i, var)| (format!("{i:02}"), var.clone()));
    let mut optimizer = Optimizer::new(named, AdamW::default())?;
    let watched = vars[0].clone();
    Ok(Workload {
        samples: 25_000_000,
        bound: Bound::Memory,
        // The weight and both moments are read and written, the gradient is read.
        work: 25_000_000 * 7 * size_of::<f32>(),
        step: Box::new(move || {
            optimizer.step(&grads)?;
            Ok(watched.get(0)?.to_scalar()?)
        }),
    })
}
