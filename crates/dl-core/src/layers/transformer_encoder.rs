//! The encoder of a transformer.

use candle_core::{Result, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder};

use super::attention_mask::AttentionMask;
use super::layer_norm::{LayerNorm, layer_norm};
use super::multihead_attention::MultiheadAttention;
use super::transformer::{FeedForward, TransformerConfig};

/// Self-attention and two dense layers, each with a residual sum and a layer norm, as
/// `torch.nn.TransformerEncoderLayer` with `batch_first=True`.
///
/// `(b, t, dim)` → `(b, t, dim)`. Weights `self_attn.*`, `linear1.*`, `linear2.*`, `norm1.*`, `norm2.*`.
///
/// ```text
/// x ← norm₁(x + attention(x))          x ← norm₂(x + W₂·φ(W₁·x))
/// x ← x + attention(norm₁(x))          x ← x + W₂·φ(W₁·norm₂(x))          with norm_first
/// ```
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::{Params, layers::transformer_encoder_layer};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = transformer_encoder_layer(8, 2, Default::default(), params.vb())?;
/// let y = layer.forward_t(&Tensor::zeros((3, 5, 8), DType::F32, &Device::Cpu)?, true)?;
/// assert_eq!(y.dims(), [3, 5, 8]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TransformerEncoderLayer {
    self_attn: MultiheadAttention,
    feed_forward: FeedForward,
    norm1: LayerNorm,
    norm2: LayerNorm,
    config: TransformerConfig,
}

/// One layer over `dim` features.
pub fn transformer_encoder_layer(
    dim: usize,
    heads: usize,
    config: TransformerConfig,
    vb: VarBuilder,
) -> Result<TransformerEncoderLayer> {
    let norm = |name| layer_norm(dim, config.layer_norm_eps, vb.pp(name));
    Ok(TransformerEncoderLayer {
        self_attn: config.attention(dim, heads, vb.pp("self_attn"))?,
        feed_forward: FeedForward::new(dim, &config, &vb)?,
        norm1: norm("norm1")?,
        norm2: norm("norm2")?,
        config,
    })
}

impl TransformerEncoderLayer {
    /// The layer under a mask.
    pub fn encode(&self, x: &Tensor, mask: &AttentionMask, train: bool) -> Result<Tensor> {
        let config = &self.config;
        let x = config.residual(x, &self.norm1, train, |x| {
            self.self_attn.attend(x, x, x, mask, train)
        })?;
        config.residual(&x, &self.norm2, train, |x| {
            self.feed_forward.forward_t(x, train)
        })
    }
}

impl ModuleT for TransformerEncoderLayer {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.encode(x, &AttentionMask::default(), train)
    }
}

/// Layers one after the other, as `torch.nn.TransformerEncoder`.
///
/// `(b, t, dim)` → `(b, t, dim)`. Weights `layers.0.*`, …, and `norm.*` where there is a last norm.
/// Every layer is initialised on its own; PyTorch starts all of them as copies of one.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::{Params, layers::transformer_encoder};
/// let params = Params::new(0, &Device::Cpu);
/// let encoder = transformer_encoder(2, 8, 2, Default::default(), true, params.vb())?;
/// let y = encoder.forward_t(&Tensor::zeros((3, 5, 8), DType::F32, &Device::Cpu)?, true)?;
/// assert_eq!(y.dims(), [3, 5, 8]);
/// assert!(params.get("layers.1.self_attn.out_proj.bias").is_some());
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TransformerEncoder {
    layers: Vec<TransformerEncoderLayer>,
    norm: Option<LayerNorm>,
}

/// `layers` layers; `last_norm` adds the norm that pre-norm transformers end with.
pub fn transformer_encoder(
    layers: usize,
    dim: usize,
    heads: usize,
    config: TransformerConfig,
    last_norm: bool,
    vb: VarBuilder,
) -> Result<TransformerEncoder> {
    let layer = |i| transformer_encoder_layer(dim, heads, config, vb.pp("layers").pp(i));
    let norm = || layer_norm(dim, config.layer_norm_eps, vb.pp("norm"));
    Ok(TransformerEncoder {
        layers: (0..layers).map(layer).collect::<Result<_>>()?,
        norm: last_norm.then(norm).transpose()?,
    })
}

impl TransformerEncoder {
    /// All layers under one mask.
    pub fn encode(&self, x: &Tensor, mask: &AttentionMask, train: bool) -> Result<Tensor> {
        let mut x = x.clone();
        for layer in &self.layers {
            x = layer.encode(&x, mask, train)?;
        }
        match &self.norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }
}

impl ModuleT for TransformerEncoder {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.encode(x, &AttentionMask::default(), train)
    }
}
