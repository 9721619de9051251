//! What the layers of a transformer's encoder and decoder share.

use candle_core::{Result, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder};
use dl_autograd::add;

use super::dropout::Dropout;
use super::layer_norm::LayerNorm;
use super::linear::{Linear, linear};
use super::multihead_attention::{
    MultiheadAttention, MultiheadAttentionConfig, multihead_attention,
};

/// The activation between the two dense layers of a transformer's block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeedForwardActivation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `x·Φ(x)`, the exact form.
    Gelu,
}

impl FeedForwardActivation {
    fn of(self, dense: &Linear, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Relu => dl_autograd::relu(&dense.forward(x)?),
            Self::Gelu => dense.forward_gelu(x),
        }
    }
}

/// What a layer of a transformer is besides its width and heads: PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransformerConfig {
    /// Features between the two dense layers. Default `2048`.
    pub feedforward: usize,
    /// Probability in `[0, 1]` of all dropouts in training. Default `0.1`.
    pub dropout: f64,
    /// Between the two dense layers. Default ReLU.
    pub activation: FeedForwardActivation,
    /// Whether the input of a block is normalised instead of its residual sum. Default `false`.
    pub norm_first: bool,
    /// Added to the variance, `≥ 0`. Default `1e-5`.
    pub layer_norm_eps: f64,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            feedforward: 2048,
            dropout: 0.1,
            activation: FeedForwardActivation::Relu,
            norm_first: false,
            layer_norm_eps: 1e-5,
        }
    }
}

impl TransformerConfig {
    pub(super) fn attention(
        &self,
        dim: usize,
        heads: usize,
        vb: VarBuilder,
    ) -> Result<MultiheadAttention> {
        let config = MultiheadAttentionConfig {
            dropout: self.dropout,
            ..Default::default()
        };
        multihead_attention(dim, heads, config, vb)
    }

    /// `x + f(norm(x))` or `norm(x + f(x))`, with dropout behind `f`.
    pub(super) fn residual(
        &self,
        x: &Tensor,
        norm: &LayerNorm,
        train: bool,
        f: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let dropped = |y: Tensor| Dropout::new(self.dropout).forward_t(&y, train);
        match self.norm_first {
            true => add(x, &dropped(f(&norm.forward(x)?)?)?),
            false => norm.forward_add(x, &dropped(f(x)?)?),
        }
    }
}

/// `W₂·dropout(activation(W₁·x + b₁)) + b₂`.
#[derive(Clone, Debug)]
pub(super) struct FeedForward {
    linear1: Linear,
    linear2: Linear,
    activation: FeedForwardActivation,
    dropout: Dropout,
}

impl FeedForward {
    pub(super) fn new(dim: usize, config: &TransformerConfig, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            linear1: linear(dim, config.feedforward, vb.pp("linear1"))?,
            linear2: linear(config.feedforward, dim, vb.pp("linear2"))?,
            activation: config.activation,
            dropout: Dropout::new(config.dropout),
        })
    }

    pub(super) fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let hidden = self.activation.of(&self.linear1, x)?;
        self.linear2
            .forward(&self.dropout.forward_t(&hidden, train)?)
    }
}
