//! Attention of several heads with its projections.

use candle_core::{Result, Tensor, bail};
use candle_nn::{Init, Module, ModuleT, VarBuilder};
use dl_autograd::{
    AttentionOptions, Causal, Purpose, narrow, next_rng, reshape, scaled_dot_product_attention,
    transpose,
};

use super::attention_mask::AttentionMask;
use super::kv_cache::KvCache;
use super::linear::{Linear, linear, linear_no_bias};
use super::positions::RotaryEmbedding;
use crate::summary;

/// What [`multihead_attention`] is besides its width: PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MultiheadAttentionConfig {
    /// Probability in `[0, 1]` with which a weight is dropped in training. Default `0`.
    pub dropout: f64,
    /// Whether the projections add a bias. Default `true`.
    pub bias: bool,
    /// Heads of keys and values, a divisor of the query heads, which share them. Default as many as
    /// query heads.
    pub kv_heads: Option<usize>,
}

impl Default for MultiheadAttentionConfig {
    fn default() -> Self {
        Self {
            dropout: 0.,
            bias: true,
            kv_heads: None,
        }
    }
}

/// Attention between projected queries, keys and values, as `torch.nn.MultiheadAttention` with
/// `batch_first=True`.
///
/// query `(b, t, dim)`, key and value `(b, s, dim)` → `(b, t, dim)`
///
/// ```text
/// head_h = attention(Q·W_qₕᵀ, K·W_kₕᵀ, V·W_vₕᵀ)          y = concat(head₁, …)·W_oᵀ
/// ```
///
/// Weights `in_proj_weight (dim + 2·kv_heads·dim/heads, dim)` (queries, keys, values), `in_proj_bias`,
/// `out_proj.weight (dim, dim)`, `out_proj.bias`; initialised as there, by Xavier's uniform over the
/// three together and zero biases. There is no `need_weights`: the weights are never stored. Key and
/// value widths that differ from `dim`, `add_bias_kv` and `add_zero_attn` are left out.
///
/// Source: Vaswani et al., "Attention is all you need", 2017.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::{Params, layers::multihead_attention};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = multihead_attention(8, 2, Default::default(), params.vb())?;
/// let y = layer.forward_t(&Tensor::zeros((3, 5, 8), DType::F32, &Device::Cpu)?, true)?;
/// assert_eq!(y.dims(), [3, 5, 8]);
/// assert_eq!(params.get("in_proj_weight").unwrap().dims(), [24, 8]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MultiheadAttention {
    name: String,
    in_proj_weight: Tensor,
    in_proj_bias: Option<Tensor>,
    out_proj: Linear,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    dropout: f64,
    rotary: Option<RotaryEmbedding>,
}

/// Attention of `heads` heads over `dim` features; an error if the counts do not divide.
pub fn multihead_attention(
    dim: usize,
    heads: usize,
    config: MultiheadAttentionConfig,
    vb: VarBuilder,
) -> Result<MultiheadAttention> {
    let kv_heads = config.kv_heads.unwrap_or(heads);
    if heads == 0 || !dim.is_multiple_of(heads) {
        bail!("multihead_attention takes a number of heads that divides {dim}, got {heads}")
    }
    if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        bail!(
            "multihead_attention of {heads} heads takes kv_heads that divide them, got {kv_heads}"
        )
    }
    let head_dim = dim / heads;
    let rows = dim + 2 * kv_heads * head_dim;
    let up = (6. / (rows + dim) as f64).sqrt();
    let xavier = Init::Uniform { lo: -up, up };
    let bias = |name, len| vb.get_with_hints(len, name, Init::Const(0.));
    let out = vb.pp("out_proj");
    let (in_proj_bias, out_proj) = match config.bias {
        true => {
            // Created before the layer asks for it, since its own default is not zero.
            out.get_with_hints(dim, "bias", Init::Const(0.))?;
            (Some(bias("in_proj_bias", rows)?), linear(dim, dim, out)?)
        }
        false => (None, linear_no_bias(dim, dim, out)?),
    };
    Ok(MultiheadAttention {
        name: vb.prefix(),
        in_proj_weight: vb.get_with_hints((rows, dim), "in_proj_weight", xavier)?,
        in_proj_bias,
        out_proj,
        heads,
        kv_heads,
        head_dim,
        dropout: config.dropout,
        rotary: None,
    })
}

/// The place of a projection in `in_proj_weight`.
#[derive(Clone, Copy)]
enum Projection {
    Query,
    Key,
    Value,
}

impl MultiheadAttention {
    /// Rotates queries and keys by their positions.
    pub fn with_rotary(self, rotary: RotaryEmbedding) -> Self {
        Self {
            rotary: Some(rotary),
            ..self
        }
    }

    /// Attention of `query (b, t, dim)` over `key` and `value (b, s, dim)`, under a mask.
    pub fn attend(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: &AttentionMask,
        train: bool,
    ) -> Result<Tensor> {
        let q = self.rotated(self.project(query, Projection::Query)?, 0)?;
        let k = self.rotated(self.project(key, Projection::Key)?, 0)?;
        let v = self.project(value, Projection::Value)?;
        let drops = train && self.dropout > 0.;
        let options = AttentionOptions {
            mask: mask.merged()?,
            causal: mask.causal,
            dropout: drops.then(|| (self.dropout, next_rng(Purpose::Dropout))),
            scale: None,
        };
        self.merge(
            &scaled_dot_product_attention(&q, &k, &v, &options)?,
            key.dim(1)?,
            k.dim(2)?,
        )
    }

    /// Causal self-attention of the next positions `(b, t, dim)` over all of a sequence, the earlier
    /// of which are in the cache: in inference, one call per new token instead of all tokens again.
    pub fn decode(&self, x: &Tensor, cache: &mut KvCache) -> Result<Tensor> {
        let first = cache.len();
        let q = self.rotated(self.project(x, Projection::Query)?, first)?;
        let k = self.rotated(self.project(x, Projection::Key)?, first)?;
        let (k, v) = cache.append(&k, &self.project(x, Projection::Value)?)?;
        let options = AttentionOptions {
            causal: Causal::BottomRight,
            ..Default::default()
        };
        self.merge(
            &scaled_dot_product_attention(&q, &k, &v, &options)?,
            x.dim(1)?,
            k.dim(2)?,
        )
    }

    /// `(b, n, dim)` → `(b, heads, n, head_dim)`, a view.
    fn project(&self, x: &Tensor, which: Projection) -> Result<Tensor> {
        let (b, n, dim) = x.dims3()?;
        let kv = self.kv_heads * self.head_dim;
        let (start, rows) = match which {
            Projection::Query => (0, dim),
            Projection::Key => (dim, kv),
            Projection::Value => (dim + kv, kv),
        };
        if dim != self.heads * self.head_dim {
            bail!(
                "attention over {} features got {:?}",
                self.heads * self.head_dim,
                x.shape()
            )
        }
        let weight = narrow(&self.in_proj_weight, 0, start, rows)?;
        let bias = self.in_proj_bias.as_ref();
        let bias = bias.map(|bias| narrow(bias, 0, start, rows)).transpose()?;
        let y = dl_autograd::linear(x, &weight, bias.as_ref())?;
        transpose(
            &reshape(&y, (b, n, rows / self.head_dim, self.head_dim))?,
            1,
            2,
        )
    }

    fn rotated(&self, x: Tensor, first: usize) -> Result<Tensor> {
        match &self.rotary {
            Some(rotary) => rotary.rotate(&x, first),
            None => Ok(x),
        }
    }

    /// `(b, heads, t, head_dim)` → `(b, t, dim)`, from `projected` keys of the `seen` ones.
    fn merge(&self, y: &Tensor, projected: usize, seen: usize) -> Result<Tensor> {
        let (b, h, t, d) = y.dims4()?;
        let y = reshape(&transpose(y, 1, 2)?, (b, t, h * d))?;
        summary::record(Some(&self.name), "MultiheadAttention", &y, || {
            let projections = t * h * d + 2 * projected * self.kv_heads * d;
            // Queries with keys, weights with values.
            b * h * d * (projections + 2 * t * seen)
        });
        self.out_proj.forward(&y)
    }
}

impl ModuleT for MultiheadAttention {
    /// Self-attention that sees everything.
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.attend(x, x, x, &AttentionMask::default(), train)
    }
}
