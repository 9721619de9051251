//! Networks for tokens, of Burn's own encoder and LSTM.

use anyhow::Result;
use burn::nn::activation::ActivationConfig;
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig};
use burn::nn::{Linear, LinearConfig, Lstm, LstmConfig};
use burn::prelude::*;
use peers::Workload;

use crate::training::{adamw, device, ids, training};

/// GPT-2's and BERT's weights at the start.
const SMALL: Initializer = Initializer::Normal {
    mean: 0.,
    std: 0.02,
};

fn table(count: usize, dim: usize) -> Embedding {
    let config = EmbeddingConfig::new(count, dim);
    config.with_initializer(SMALL).init(&device())
}

/// Where each token stands, `(1, t)`.
fn positions(ids: &Tensor<2, Int>) -> Tensor<2, Int> {
    let [_, t] = ids.dims();
    Tensor::<1, Int>::arange(0..t as i64, &ids.device()).unsqueeze()
}

/// A row for every token, from `(b, t, d)`.
fn rows(x: Tensor<3>) -> Tensor<2> {
    x.flatten(0, 1)
}

/// GPT-2's plan, with the table of tokens as the last layer.
#[derive(Module, Debug)]
struct Gpt {
    tokens: Embedding,
    positions: Embedding,
    blocks: TransformerEncoder,
    norm: LayerNorm,
}

impl Gpt {
    fn new(device: &Device) -> Self {
        let blocks = TransformerEncoderConfig::new(128, 512, 4, 4)
            .with_initializer(SMALL)
            .with_dropout(0.)
            .with_norm_first(true)
            .with_activation(ActivationConfig::GeluApproximate);
        Self {
            tokens: table(65, 128),
            positions: table(64, 128),
            blocks: blocks.init(device),
            norm: LayerNormConfig::new(128).init(device),
        }
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let [b, t] = ids.dims();
        let mask = generate_autoregressive_mask(b, t, &ids.device());
        let places = self.positions.forward(positions(&ids));
        let x = TransformerEncoderInput::new(self.tokens.forward(ids) + places);
        let y = self.blocks.forward(x.mask_attn(mask));
        rows(self.norm.forward(y)).matmul(self.tokens.weight.val().transpose())
    }
}

pub fn gpt() -> Result<Workload> {
    let batch = (ids([12, 64], 65), ids([12 * 64], 65));
    training(12, Gpt::new(&device()), Gpt::forward, batch, adamw())
}

/// MiniLM-L6 and its pooler.
#[derive(Module, Debug)]
struct Bert {
    tokens: Embedding,
    positions: Embedding,
    kinds: Embedding,
    norm: LayerNorm,
    encoder: TransformerEncoder,
    pooler: Linear,
}

impl Bert {
    fn minilm(device: &Device) -> Self {
        let encoder = TransformerEncoderConfig::new(384, 1536, 12, 6)
            .with_initializer(SMALL)
            .with_dropout(0.)
            .with_layer_norm_eps(1e-12);
        Self {
            tokens: table(30_522, 384),
            positions: table(512, 384),
            kinds: table(2, 384),
            norm: LayerNormConfig::new(384).with_epsilon(1e-12).init(device),
            encoder: encoder.init(device),
            pooler: LinearConfig::new(384, 384).init(device),
        }
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let places = self.positions.forward(positions(&ids));
        let kinds = self.kinds.forward(ids.zeros_like());
        let x = self.norm.forward(self.tokens.forward(ids) + places + kinds);
        let y = self.encoder.forward(TransformerEncoderInput::new(x));
        let first = y.slice(s![.., 0..1, ..]).squeeze_dim::<2>(1);
        self.pooler.forward(first).tanh()
    }
}

#[derive(Module, Debug)]
struct TextClassifier {
    bert: Bert,
    classifier: Linear,
}

impl TextClassifier {
    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        self.classifier.forward(self.bert.forward(ids))
    }
}

fn text_classifier(bert: Bert) -> Result<Workload> {
    let classifier = LinearConfig::new(384, 2).init(&device());
    let model = TextClassifier { bert, classifier };
    let batch = (ids([16, 128], 30_522), ids([16], 2));
    training(16, model, TextClassifier::forward, batch, adamw())
}

pub fn minilm() -> Result<Workload> {
    text_classifier(Bert::minilm(&device()))
}

/// Everything but the classifier is frozen.
pub fn minilm_frozen() -> Result<Workload> {
    text_classifier(Bert::minilm(&device()).freeze())
}

/// A language model of characters.
#[derive(Module, Debug)]
struct CharLstm {
    characters: Embedding,
    layers: [Lstm; 2],
    head: Linear,
}

impl CharLstm {
    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let mut x = self.characters.forward(ids);
        for layer in &self.layers {
            (x, _) = layer.forward(x, None);
        }
        self.head.forward(rows(x))
    }
}

pub fn lstm() -> Result<Workload> {
    let model = CharLstm {
        characters: EmbeddingConfig::new(65, 256).init(&device()),
        layers: [(); 2].map(|()| LstmConfig::new(256, 256, true).init(&device())),
        head: LinearConfig::new(256, 65).init(&device()),
    };
    let batch = (ids([32, 64], 65), ids([32 * 64], 65));
    training(32, model, CharLstm::forward, batch, adamw())
}
