//! Networks for tokens.

use anyhow::Result;
use candle_core::{D, Result as CandleResult, Tensor};
use candle_nn::ops::{layer_norm_slow, softmax};
use candle_nn::rnn::{LSTM, LSTMConfig, RNN, lstm as lstm_layer};
use candle_nn::{Embedding, Init, Linear, Module, VarBuilder, VarMap, embedding, linear};
use peers::Workload;

use crate::training::{adamw, builder, frozen, ids, training};

fn table(count: usize, dim: usize, vb: VarBuilder) -> CandleResult<Embedding> {
    let small = Init::Randn {
        mean: 0.,
        stdev: 0.02,
    };
    Ok(Embedding::new(
        vb.get_with_hints((count, dim), "weight", small)?,
        dim,
    ))
}

/// Layer norm composed of operations: the fast path of candle's layer has no gradient.
struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl Norm {
    fn new(dim: usize, epsilon: f32, vb: VarBuilder) -> CandleResult<Self> {
        Ok(Self {
            weight: vb.get_with_hints(dim, "weight", Init::Const(1.))?,
            bias: vb.get_with_hints(dim, "bias", Init::Const(0.))?,
            epsilon,
        })
    }
}

impl Module for Norm {
    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        layer_norm_slow(x, &self.weight, &self.bias, self.epsilon)
    }
}

/// Attention of every token to every one, or to what comes before.
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
}

impl Attention {
    fn new(dim: usize, heads: usize, vb: VarBuilder) -> CandleResult<Self> {
        Ok(Self {
            query: linear(dim, dim, vb.pp("query"))?,
            key: linear(dim, dim, vb.pp("key"))?,
            value: linear(dim, dim, vb.pp("value"))?,
            output: linear(dim, dim, vb.pp("output"))?,
            heads,
        })
    }

    /// `(b, t, d)`; `mask` is added to the scores.
    fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> CandleResult<Tensor> {
        let (b, t, d) = x.dims3()?;
        let split = |layer: &Linear| {
            let y = layer
                .forward(x)?
                .reshape((b, t, self.heads, d / self.heads))?;
            y.transpose(1, 2)?.contiguous() // (b, h, t, d)
        };
        let (q, k, v) = (split(&self.query)?, split(&self.key)?, split(&self.value)?);
        let scale = 1. / ((d / self.heads) as f64).sqrt();
        let mut scores = (q.matmul(&k.t()?)? * scale)?;
        if let Some(mask) = mask {
            scores = scores.broadcast_add(mask)?;
        }
        // `softmax_last_dim` has no gradient.
        let y = softmax(&scores, D::Minus1)?.matmul(&v)?;
        self.output.forward(&y.transpose(1, 2)?.reshape((b, t, d))?)
    }
}

/// Attention and two dense layers.
struct Block {
    attention: Attention,
    wide: Linear,
    narrow: Linear,
    norms: [Norm; 2],
}

impl Block {
    fn new(dim: usize, heads: usize, epsilon: f32, vb: VarBuilder) -> CandleResult<Self> {
        Ok(Self {
            attention: Attention::new(dim, heads, vb.pp("attention"))?,
            wide: linear(dim, 4 * dim, vb.pp("wide"))?,
            narrow: linear(4 * dim, dim, vb.pp("narrow"))?,
            norms: [
                Norm::new(dim, epsilon, vb.pp("norm1"))?,
                Norm::new(dim, epsilon, vb.pp("norm2"))?,
            ],
        })
    }

    /// GPT-2's order.
    fn norms_first(&self, x: &Tensor, mask: &Tensor) -> CandleResult<Tensor> {
        let [first, second] = &self.norms;
        let x = (x + self.attention.forward(&first.forward(x)?, Some(mask))?)?;
        let wide = self.wide.forward(&second.forward(&x)?)?;
        x + self.narrow.forward(&wide.gelu()?)?
    }

    /// BERT's order.
    fn norms_last(&self, x: &Tensor) -> CandleResult<Tensor> {
        let [first, second] = &self.norms;
        let x = first.forward(&(x + self.attention.forward(x, None)?)?)?;
        let wide = self.wide.forward(&x)?.gelu_erf()?;
        second.forward(&(&x + self.narrow.forward(&wide)?)?)
    }
}

/// Where each token stands, `(t)`.
fn positions(ids: &Tensor) -> CandleResult<Tensor> {
    Tensor::arange(0, ids.dim(1)? as u32, ids.device())
}

/// GPT-2's plan, with the table of tokens as the last layer.
struct Gpt {
    tokens: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm: Norm,
    mask: Tensor,
}

impl Gpt {
    fn new(vb: VarBuilder) -> CandleResult<Self> {
        let block = |i| Block::new(128, 4, 1e-5, vb.pp("h").pp(i));
        let future: Vec<f32> = (0..64 * 64)
            .map(|i| {
                if i % 64 > i / 64 {
                    f32::NEG_INFINITY
                } else {
                    0.
                }
            })
            .collect();
        Ok(Self {
            tokens: table(65, 128, vb.pp("wte"))?,
            positions: table(64, 128, vb.pp("wpe"))?,
            blocks: (0..4).map(block).collect::<CandleResult<_>>()?,
            norm: Norm::new(128, 1e-5, vb.pp("ln_f"))?,
            mask: Tensor::from_vec(future, (64, 64), vb.device())?,
        })
    }

    fn forward(&self, ids: &Tensor) -> CandleResult<Tensor> {
        let places = self.positions.forward(&positions(ids)?)?;
        let mut x = self.tokens.forward(ids)?.broadcast_add(&places)?;
        for block in &self.blocks {
            x = block.norms_first(&x, &self.mask)?;
        }
        let rows = self.norm.forward(&x)?.flatten(0, 1)?;
        rows.matmul(&self.tokens.embeddings().t()?)
    }
}

pub fn gpt() -> Result<Workload> {
    let vars = VarMap::new();
    let model = Gpt::new(builder(&vars))?;
    let batch = (ids(&[12, 64], 65)?, ids(&[12 * 64], 65)?);
    training(move |x| model.forward(x), batch, adamw(&vars)?)
}

/// MiniLM-L6 and its pooler.
struct Bert {
    tokens: Embedding,
    positions: Embedding,
    kinds: Embedding,
    norm: Norm,
    blocks: Vec<Block>,
    pooler: Linear,
}

impl Bert {
    fn minilm(vb: VarBuilder) -> CandleResult<Self> {
        let block = |i| Block::new(384, 12, 1e-12, vb.pp("layer").pp(i));
        Ok(Self {
            tokens: table(30_522, 384, vb.pp("tokens"))?,
            positions: table(512, 384, vb.pp("positions"))?,
            kinds: table(2, 384, vb.pp("kinds"))?,
            norm: Norm::new(384, 1e-12, vb.pp("norm"))?,
            blocks: (0..6).map(block).collect::<CandleResult<_>>()?,
            pooler: linear(384, 384, vb.pp("pooler"))?,
        })
    }

    fn forward(&self, ids: &Tensor) -> CandleResult<Tensor> {
        let places = self.positions.forward(&positions(ids)?)?;
        let kinds = self.kinds.forward(&ids.zeros_like()?)?;
        let x = (self.tokens.forward(ids)? + kinds)?.broadcast_add(&places)?;
        let mut x = self.norm.forward(&x)?;
        for block in &self.blocks {
            x = block.norms_last(&x)?;
        }
        let first = x.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
        self.pooler.forward(&first)?.tanh()
    }
}

fn text_classifier(bert: Bert, vars: &VarMap) -> Result<Workload> {
    let classifier = linear(384, 2, builder(vars).pp("classifier"))?;
    let batch = (ids(&[16, 128], 30_522)?, ids(&[16], 2)?);
    let logits = move |x: &Tensor| classifier.forward(&bert.forward(x)?);
    training(logits, batch, adamw(vars)?)
}

pub fn minilm() -> Result<Workload> {
    let vars = VarMap::new();
    text_classifier(Bert::minilm(builder(&vars).pp("bert"))?, &vars)
}

/// Everything but the classifier is frozen.
pub fn minilm_frozen() -> Result<Workload> {
    let fixed = VarMap::new();
    Bert::minilm(builder(&fixed))?;
    text_classifier(Bert::minilm(frozen(&fixed)?)?, &VarMap::new())
}

/// A language model of characters.
struct CharLstm {
    characters: Embedding,
    layers: [LSTM; 2],
    head: Linear,
}

impl CharLstm {
    fn new(vb: VarBuilder) -> CandleResult<Self> {
        let layer = |layer_idx| {
            let config = LSTMConfig {
                layer_idx,
                ..Default::default()
            };
            lstm_layer(256, 256, config, vb.pp("lstm"))
        };
        Ok(Self {
            characters: embedding(65, 256, vb.pp("characters"))?,
            layers: [layer(0)?, layer(1)?],
            head: linear(256, 65, vb.pp("head"))?,
        })
    }

    fn forward(&self, ids: &Tensor) -> CandleResult<Tensor> {
        let mut x = self.characters.forward(ids)?;
        for layer in &self.layers {
            x = layer.states_to_tensor(&layer.seq(&x)?)?;
        }
        self.head.forward(&x.flatten(0, 1)?)
    }
}

pub fn lstm() -> Result<Workload> {
    let vars = VarMap::new();
    let model = CharLstm::new(builder(&vars))?;
    let batch = (ids(&[32, 64], 65)?, ids(&[32 * 64], 65)?);
    training(move |x| model.forward(x), batch, adamw(&vars)?)
}
