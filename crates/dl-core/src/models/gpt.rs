//! GPT-2, the decoder of texts.

use candle_core::{Result, Tensor, bail};
use candle_nn::{Init, Module, ModuleT, VarBuilder};
use dl_autograd::{
    AttentionOptions, Causal, Purpose, add, embedding, gelu_tanh, next_rng,
    scaled_dot_product_attention, split,
};
use serde::{Deserialize, Serialize};

use super::heads::{merge_heads, split_heads};
use super::segment::Segment;
use crate::layers::{Dropout, LayerNorm, Linear, layer_norm, linear};

/// The sizes of a decoder; [`gpt2`](Self::gpt2) is the default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GptConfig {
    /// Number of tokens. Default `50257`.
    pub vocab_size: usize,
    /// The longest text. Default `1024`.
    pub block_size: usize,
    /// Default `12`.
    pub layers: usize,
    /// Default `12`.
    pub heads: usize,
    /// Features of a token, a multiple of the heads. Default `768`.
    pub dim: usize,
    /// Probability of all dropouts, in `[0, 1]`. Default `0.1`.
    pub dropout: f64,
    /// Whether blocks keep their inputs alone for the backward, which runs them again
    /// ([`checkpointed`](crate::layers::checkpointed())): less memory for a forward more, and the same
    /// bits. Default `false`.
    pub gradient_checkpointing: bool,
}

impl Default for GptConfig {
    fn default() -> Self {
        Self::gpt2()
    }
}

impl GptConfig {
    /// 124 M parameters.
    pub fn gpt2() -> Self {
        Self {
            vocab_size: 50_257,
            block_size: 1024,
            layers: 12,
            heads: 12,
            dim: 768,
            dropout: 0.1,
            gradient_checkpointing: false,
        }
    }
}

/// Normal with the given deviation and zero biases.
fn dense(inputs: usize, outputs: usize, stdev: f64, vb: VarBuilder) -> Result<Linear> {
    let normal = Init::Randn { mean: 0., stdev };
    vb.get_with_hints((outputs, inputs), "weight", normal)?;
    vb.get_with_hints(outputs, "bias", Init::Const(0.))?;
    linear(inputs, outputs, vb)
}

const STDEV: f64 = 0.02;

#[derive(Clone, Debug)]
struct Block {
    ln_1: LayerNorm,
    c_attn: Linear,
    attn_proj: Linear,
    ln_2: LayerNorm,
    c_fc: Linear,
    mlp_proj: Linear,
    heads: usize,
    p: f64,
}

impl Block {
    fn new(config: &GptConfig, vb: VarBuilder) -> Result<Self> {
        let dim = config.dim;
        // The branches that are added up start smaller, the more there are.
        let residual = STDEV / (2. * config.layers as f64).sqrt();
        let (attn, mlp) = (vb.pp("attn"), vb.pp("mlp"));
        Ok(Self {
            ln_1: layer_norm(dim, 1e-5, vb.pp("ln_1"))?,
            c_attn: dense(dim, 3 * dim, STDEV, attn.pp("c_attn"))?,
            attn_proj: dense(dim, dim, residual, attn.pp("c_proj"))?,
            ln_2: layer_norm(dim, 1e-5, vb.pp("ln_2"))?,
            c_fc: dense(dim, 4 * dim, STDEV, mlp.pp("c_fc"))?,
            mlp_proj: dense(4 * dim, dim, residual, mlp.pp("c_proj"))?,
            heads: config.heads,
            p: config.dropout,
        })
    }

    fn attention(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let dim = x.dim(2)?;
        let qkv = split(&self.c_attn.forward(x)?, &[dim; 3], 2)?;
        let heads = |i: usize| split_heads(&qkv[i], self.heads);
        let drops = train && self.p > 0.;
        let options = AttentionOptions {
            causal: Causal::TopLeft,
            dropout: drops.then(|| (self.p, next_rng(Purpose::Dropout))),
            ..Default::default()
        };
        let y = scaled_dot_product_attention(&heads(0)?, &heads(1)?, &heads(2)?, &options)?;
        self.attn_proj.forward(&merge_heads(&y)?)
    }
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let dropout = Dropout::new(self.p);
        let y = self.attention(&self.ln_1.forward(x)?, train)?;
        let x = add(&dropout.forward_t(&y, train)?, x)?;
        let y = gelu_tanh(&self.c_fc.forward(&self.ln_2.forward(&x)?)?)?;
        let y = self.mlp_proj.forward(&y)?;
        add(&dropout.forward_t(&y, train)?, &x)
    }
}

/// A causal language model: token ids `(b, t)` → logits of the next token `(b, t, vocab)`.
///
/// Weights `transformer.wte.weight`, `transformer.wpe.weight`, `transformer.h.0.attn.c_attn.weight`,
/// …, `transformer.ln_f.weight`, with dense weights `(out, in)` as in nanoGPT. The table of the tokens
/// is the last layer too, so there is no `lm_head.weight`.
///
/// Source: Radford, Wu, Child, Luan, Amodei, Sutskever, "Language models are unsupervised multitask
/// learners", 2019.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::{Params, models::{Gpt, GptConfig}};
/// let params = Params::new(0, &Device::Cpu);
/// let config = GptConfig { vocab_size: 65, block_size: 64, layers: 4, heads: 4, dim: 128, ..GptConfig::gpt2() };
/// let model = Gpt::new(&config, params.vb())?;
/// assert_eq!(params.parameter_count(), 809_856);
/// let y = model.forward_t(&Tensor::new(&[[1u32, 2, 3]], &Device::Cpu)?, false)?;
/// assert_eq!(y.dims(), [1, 3, 65]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gpt {
    tokens: Tensor,
    positions: Tensor,
    blocks: Vec<Segment<Block>>,
    norm: LayerNorm,
    dropout: Dropout,
}

impl Gpt {
    /// Builds the decoder on `vb`.
    pub fn new(config: &GptConfig, vb: VarBuilder) -> Result<Self> {
        let (dim, heads) = (config.dim, config.heads);
        if heads == 0 || !dim.is_multiple_of(heads) {
            bail!("GPT needs a dim that is a multiple of the heads, got {dim} and {heads}")
        }
        let (vb, normal) = (
            vb.pp("transformer"),
            Init::Randn {
                mean: 0.,
                stdev: STDEV,
            },
        );
        let table = |name, rows| vb.pp(name).get_with_hints((rows, dim), "weight", normal);
        let block = |i: usize| {
            let build = |vb| Block::new(config, vb);
            Segment::new(config.gradient_checkpointing, vb.pp("h").pp(i), build)
        };
        Ok(Self {
            tokens: table("wte", config.vocab_size)?,
            positions: table("wpe", config.block_size)?,
            blocks: (0..config.layers).map(block).collect::<Result<_>>()?,
            norm: layer_norm(dim, 1e-5, vb.pp("ln_f"))?,
            dropout: Dropout::new(config.dropout),
        })
    }
}

impl ModuleT for Gpt {
    fn forward_t(&self, ids: &Tensor, train: bool) -> Result<Tensor> {
        let (b, t) = ids.dims2()?;
        let longest = self.positions.dim(0)?;
        if t > longest {
            bail!(
                "GPT takes texts of up to {longest} tokens, got ids {:?}",
                ids.shape()
            )
        }
        let places = Tensor::arange(0, t as u32, ids.device())?.broadcast_as((b, t))?;
        let positions = embedding(&self.positions, &places.contiguous()?, None)?;
        let tokens = embedding(&self.tokens, ids, None)?;
        let mut x = self.dropout.forward_t(&add(&tokens, &positions)?, train)?;
        for block in &self.blocks {
            x = block.forward(&x, train, move |block, x| block.forward_t(x, train))?;
        }
        dl_autograd::linear(&self.norm.forward(&x)?, &self.tokens, None)
    }
}
