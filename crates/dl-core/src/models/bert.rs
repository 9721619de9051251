//! BERT, the encoder of texts.

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::{Init, Module, ModuleT, VarBuilder};
use dl_autograd::{
    AttentionOptions, Purpose, add, narrow, next_rng, reshape, scaled_dot_product_attention, tanh,
};
use serde::{Deserialize, Serialize};

use super::heads::{merge_heads, split_heads};
use super::segment::Segment;
use crate::layers::{Dropout, Embedding, LayerNorm, Linear, embedding, layer_norm, linear};

/// The sizes of an encoder, under the names of Hugging Face's `config.json`; other fields of such a
/// file are passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BertConfig {
    /// Number of tokens. Default `30522`.
    pub vocab_size: usize,
    /// Features of a token, a multiple of the heads. Default `768`.
    pub hidden_size: usize,
    /// Default `12`.
    pub num_hidden_layers: usize,
    /// Default `12`.
    pub num_attention_heads: usize,
    /// Features between the two dense layers of a block. Default `3072`.
    pub intermediate_size: usize,
    /// The longest text. Default `512`.
    pub max_position_embeddings: usize,
    /// Kinds of segments. Default `2`.
    pub type_vocab_size: usize,
    /// Added to the variance, `≥ 0`. Default `1e-12`.
    pub layer_norm_eps: f64,
    /// Dropout of embeddings and residual branches, in `[0, 1]`. Default `0.1`.
    pub hidden_dropout_prob: f64,
    /// Dropout of the weights of attention, in `[0, 1]`. Default `0.1`.
    pub attention_probs_dropout_prob: f64,
    /// Whether blocks keep their inputs alone for the backward, which runs them again
    /// ([`checkpointed`](crate::layers::checkpointed())): less memory for a forward more, and the same
    /// bits. Default `false`.
    pub gradient_checkpointing: bool,
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            gradient_checkpointing: false,
        }
    }
}

impl BertConfig {
    /// MiniLM-L6-H384: 22.7 M parameters with the pooler.
    pub fn minilm_l6() -> Self {
        Self {
            hidden_size: 384,
            num_hidden_layers: 6,
            intermediate_size: 1536,
            ..Self::default()
        }
    }

    fn norm(&self, vb: VarBuilder) -> Result<LayerNorm> {
        layer_norm(self.hidden_size, self.layer_norm_eps, vb.pp("LayerNorm"))
    }
}

/// Normal with deviation 0.02 and zero biases, as the authors have it.
fn dense(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Linear> {
    vb.get_with_hints((outputs, inputs), "weight", NORMAL)?;
    vb.get_with_hints(outputs, "bias", Init::Const(0.))?;
    linear(inputs, outputs, vb)
}

fn table(rows: usize, dim: usize, vb: VarBuilder) -> Result<Embedding> {
    vb.get_with_hints((rows, dim), "weight", NORMAL)?;
    embedding(rows, dim, vb)
}

const NORMAL: Init = Init::Randn {
    mean: 0.,
    stdev: 0.02,
};

#[derive(Clone, Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    heads: usize,
    attention_dropout: f64,
    dropout: Dropout,
}

impl Layer {
    fn new(config: &BertConfig, vb: VarBuilder) -> Result<Self> {
        let (dim, wide) = (config.hidden_size, config.intermediate_size);
        let attention = vb.pp("attention");
        let one = |name| dense(dim, dim, attention.pp("self").pp(name));
        Ok(Self {
            query: one("query")?,
            key: one("key")?,
            value: one("value")?,
            attention_output: dense(dim, dim, attention.pp("output").pp("dense"))?,
            attention_norm: config.norm(attention.pp("output"))?,
            intermediate: dense(dim, wide, vb.pp("intermediate").pp("dense"))?,
            output: dense(wide, dim, vb.pp("output").pp("dense"))?,
            output_norm: config.norm(vb.pp("output"))?,
            heads: config.num_attention_heads,
            attention_dropout: config.attention_probs_dropout_prob,
            dropout: Dropout::new(config.hidden_dropout_prob),
        })
    }

    fn attention(&self, x: &Tensor, mask: Option<&Tensor>, train: bool) -> Result<Tensor> {
        let project = |layer: &Linear| split_heads(&layer.forward(x)?, self.heads);
        let (q, k, v) = (
            project(&self.query)?,
            project(&self.key)?,
            project(&self.value)?,
        );
        let drops = train && self.attention_dropout > 0.;
        let options = AttentionOptions {
            mask: mask.cloned(),
            dropout: drops.then(|| (self.attention_dropout, next_rng(Purpose::Dropout))),
            ..Default::default()
        };
        let y = scaled_dot_product_attention(&q, &k, &v, &options)?;
        self.attention_output.forward(&merge_heads(&y)?)
    }

    fn forward(&self, x: &Tensor, mask: Option<&Tensor>, train: bool) -> Result<Tensor> {
        let y = self.attention(x, mask, train)?;
        let y = self.dropout.forward_t(&y, train)?;
        let x = self.attention_norm.forward_add(&y, x)?;
        drop(y);
        let y = self.dropout.forward_t(&self.feed_forward(&x)?, train)?;
        self.output_norm.forward_add(&y, &x)
    }

    fn feed_forward(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = self.intermediate.forward_gelu(x)?;
        self.output.forward(&hidden)
    }
}

/// The encoder: token ids `(b, t)` → features `(b, t, dim)`, with the weights' names of Hugging Face:
/// `embeddings.word_embeddings.weight`, `encoder.layer.0.attention.self.query.weight`, …,
/// `pooler.dense.weight`.
///
/// Source: Devlin, Chang, Lee, Toutanova, "BERT", 2018.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::{Params, models::{Bert, BertConfig}};
/// let params = Params::new(0, &Device::Cpu);
/// let model = Bert::new(&BertConfig::minilm_l6(), params.vb())?;
/// assert_eq!(params.parameter_count(), 22_713_216);
/// let ids = Tensor::new(&[[101u32, 7592, 102], [101, 102, 0]], &Device::Cpu)?;
/// let seen = Tensor::new(&[[1u8, 1, 1], [1, 1, 0]], &Device::Cpu)?;
/// let y = model.encode(&ids, None, Some(&seen), false)?;
/// assert_eq!(model.pool(&y)?.dims(), [2, 384]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Bert {
    words: Embedding,
    positions: Embedding,
    longest: usize,
    types: Embedding,
    norm: LayerNorm,
    layers: Vec<Segment<Layer>>,
    pooler: Linear,
    dropout: Dropout,
}

impl Bert {
    /// Builds the encoder on `vb`.
    pub fn new(config: &BertConfig, vb: VarBuilder) -> Result<Self> {
        let (dim, heads) = (config.hidden_size, config.num_attention_heads);
        if heads == 0 || !dim.is_multiple_of(heads) {
            bail!("BERT needs a hidden_size that is a multiple of the heads, got {dim} and {heads}")
        }
        let embeddings = vb.pp("embeddings");
        let layers = vb.pp("encoder").pp("layer");
        let layer = |i: usize| {
            let build = |vb| Layer::new(config, vb);
            Segment::new(config.gradient_checkpointing, layers.pp(i), build)
        };
        Ok(Self {
            words: table(config.vocab_size, dim, embeddings.pp("word_embeddings"))?,
            positions: table(
                config.max_position_embeddings,
                dim,
                embeddings.pp("position_embeddings"),
            )?,
            longest: config.max_position_embeddings,
            types: table(
                config.type_vocab_size,
                dim,
                embeddings.pp("token_type_embeddings"),
            )?,
            norm: config.norm(embeddings)?,
            layers: (0..config.num_hidden_layers)
                .map(layer)
                .collect::<Result<_>>()?,
            pooler: dense(dim, dim, vb.pp("pooler").pp("dense"))?,
            dropout: Dropout::new(config.hidden_dropout_prob),
        })
    }

    /// Features of every token. `types` of the segments, `(b, t)`, zeros by default; `seen (b, t)` of
    /// u8, 0 for padding, all by default.
    pub fn encode(
        &self,
        ids: &Tensor,
        types: Option<&Tensor>,
        seen: Option<&Tensor>,
        train: bool,
    ) -> Result<Tensor> {
        let mask = seen.map(|seen| {
            let (b, t) = seen.dims2()?;
            seen.to_dtype(DType::U8)?.reshape((b, 1, 1, t))
        });
        let mask = mask.transpose()?;
        let mut x = self.embed(ids, types)?;
        x = self.dropout.forward_t(&x, train)?;
        for layer in &self.layers {
            let mask = mask.clone();
            x = layer.forward(&x, train, move |layer, x| {
                layer.forward(x, mask.as_ref(), train)
            })?;
        }
        Ok(x)
    }

    fn embed(&self, ids: &Tensor, types: Option<&Tensor>) -> Result<Tensor> {
        let (b, t) = ids.dims2()?;
        if t > self.longest {
            bail!(
                "BERT takes texts of up to {} tokens, got ids {:?}",
                self.longest,
                ids.shape()
            )
        }
        let types = match types {
            Some(types) => types.clone(),
            None => ids.zeros_like()?,
        };
        let places = Tensor::arange(0, t as u32, ids.device())?.broadcast_as((b, t))?;
        let positions = self.positions.forward(&places.contiguous()?)?;
        let x = add(&self.words.forward(ids)?, &self.types.forward(&types)?)?;
        self.norm.forward_add(&positions, &x)
    }

    /// `tanh(W·x + b)` of the first token: `(b, t, dim)` → `(b, dim)`.
    pub fn pool(&self, features: &Tensor) -> Result<Tensor> {
        let (b, _, dim) = features.dims3()?;
        let first = reshape(&narrow(features, 1, 0, 1)?, (b, dim))?;
        tanh(&self.pooler.forward(&first)?)
    }
}

impl ModuleT for Bert {
    /// Features of every token of texts without padding.
    fn forward_t(&self, ids: &Tensor, train: bool) -> Result<Tensor> {
        self.encode(ids, None, None, train)
    }
}
