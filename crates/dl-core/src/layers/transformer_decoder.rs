//! The decoder of a transformer.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};

use super::attention_mask::AttentionMask;
use super::layer_norm::{LayerNorm, layer_norm};
use super::multihead_attention::MultiheadAttention;
use super::transformer::{FeedForward, TransformerConfig};

/// Self-attention, attention over an encoder's output and two dense layers, as
/// `torch.nn.TransformerDecoderLayer` with `batch_first=True`.
///
/// target `(b, t, dim)`, memory `(b, s, dim)` → `(b, t, dim)`. Weights `self_attn.*`,
/// `multihead_attn.*`, `linear1.*`, `linear2.*`, `norm1.*`, `norm2.*`, `norm3.*`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_core::{Params, layers::{AttentionMask, transformer_decoder_layer}};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = transformer_decoder_layer(8, 2, Default::default(), params.vb())?;
/// let zeros = |t| Tensor::zeros((3, t, 8), DType::F32, &Device::Cpu);
/// let masks = [AttentionMask::causal(), AttentionMask::default()];
/// let y = layer.decode(&zeros(5)?, &zeros(7)?, &masks, true)?;
/// assert_eq!(y.dims(), [3, 5, 8]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TransformerDecoderLayer {
    self_attn: MultiheadAttention,
    multihead_attn: MultiheadAttention,
    feed_forward: FeedForward,
    norm1: LayerNorm,
    norm2: LayerNorm,
    norm3: LayerNorm,
    config: TransformerConfig,
}

/// One layer over `dim` features.
pub fn transformer_decoder_layer(
    dim: usize,
    heads: usize,
    config: TransformerConfig,
    vb: VarBuilder,
) -> Result<TransformerDecoderLayer> {
    let norm = |name| layer_norm(dim, config.layer_norm_eps, vb.pp(name));
    Ok(TransformerDecoderLayer {
        self_attn: config.attention(dim, heads, vb.pp("self_attn"))?,
        multihead_attn: config.attention(dim, heads, vb.pp("multihead_attn"))?,
        feed_forward: FeedForward::new(dim, &config, &vb)?,
        norm1: norm("norm1")?,
        norm2: norm("norm2")?,
        norm3: norm("norm3")?,
        config,
    })
}

impl TransformerDecoderLayer {
    /// The layer under the masks of the target and of the memory.
    pub fn decode(
        &self,
        target: &Tensor,
        memory: &Tensor,
        [target_mask, memory_mask]: &[AttentionMask; 2],
        train: bool,
    ) -> Result<Tensor> {
        let config = &self.config;
        let x = config.residual(target, &self.norm1, train, |x| {
            self.self_attn.attend(x, x, x, target_mask, train)
        })?;
        let x = config.residual(&x, &self.norm2, train, |x| {
            self.multihead_attn
                .attend(x, memory, memory, memory_mask, train)
        })?;
        config.residual(&x, &self.norm3, train, |x| {
            self.feed_forward.forward_t(x, train)
        })
    }
}

/// Layers one after the other over one memory, as `torch.nn.TransformerDecoder`.
///
/// target `(b, t, dim)`, memory `(b, s, dim)` → `(b, t, dim)`. Weights `layers.0.*`, …, and `norm.*`
/// where there is a last norm. Every layer is initialised on its own; PyTorch starts all of them as
/// copies of one.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_core::{Params, layers::{AttentionMask, transformer_decoder}};
/// let params = Params::new(0, &Device::Cpu);
/// let decoder = transformer_decoder(2, 8, 2, Default::default(), false, params.vb())?;
/// let zeros = |t| Tensor::zeros((3, t, 8), DType::F32, &Device::Cpu);
/// let masks = [AttentionMask::causal(), AttentionMask::default()];
/// let y = decoder.decode(&zeros(5)?, &zeros(7)?, &masks, true)?;
/// assert_eq!(y.dims(), [3, 5, 8]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TransformerDecoder {
    layers: Vec<TransformerDecoderLayer>,
    norm: Option<LayerNorm>,
}

/// `layers` layers; `last_norm` adds the norm that pre-norm transformers end with.
pub fn transformer_decoder(
    layers: usize,
    dim: usize,
    heads: usize,
    config: TransformerConfig,
    last_norm: bool,
    vb: VarBuilder,
) -> Result<TransformerDecoder> {
    let layer = |i| transformer_decoder_layer(dim, heads, config, vb.pp("layers").pp(i));
    let norm = || layer_norm(dim, config.layer_norm_eps, vb.pp("norm"));
    Ok(TransformerDecoder {
        layers: (0..layers).map(layer).collect::<Result<_>>()?,
        norm: last_norm.then(norm).transpose()?,
    })
}

impl TransformerDecoder {
    /// All layers under the masks of the target and of the memory.
    pub fn decode(
        &self,
        target: &Tensor,
        memory: &Tensor,
        masks: &[AttentionMask; 2],
        train: bool,
    ) -> Result<Tensor> {
        let mut x = target.clone();
        for layer in &self.layers {
            x = layer.decode(&x, memory, masks, train)?;
        }
        match &self.norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }
}
