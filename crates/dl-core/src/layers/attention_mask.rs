//! What a layer of attention may see.

use candle_core::{DType, Result, Tensor, bail};
use dl_autograd::Causal;

/// What the queries of a layer may see; by default everything.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::layers::AttentionMask;
/// let lengths = AttentionMask {
///     key_padding: Some(Tensor::new(&[[0u8, 0, 1]], &Device::Cpu)?),
///     ..Default::default()
/// };
/// assert!(lengths.mask.is_none());
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AttentionMask {
    /// Which keys are padding and not seen, `(b, s)` of u8, nonzero where they are: PyTorch's
    /// `key_padding_mask`. Default none.
    pub key_padding: Option<Tensor>,
    /// As the mask of [`scaled_dot_product_attention`](dl_autograd::scaled_dot_product_attention):
    /// of u8, where 0 hides, or floats that are added. It broadcasts to `(b, heads, t, s)`. PyTorch's
    /// layers take booleans the other way round. Default none.
    pub mask: Option<Tensor>,
    /// Default [`Causal::No`].
    pub causal: Causal,
}

impl AttentionMask {
    /// A position sees itself and what comes before.
    pub fn causal() -> Self {
        Self {
            causal: Causal::TopLeft,
            ..Default::default()
        }
    }

    /// Both masks as one.
    pub(super) fn merged(&self) -> Result<Option<Tensor>> {
        let Some(padding) = &self.key_padding else {
            return Ok(self.mask.clone());
        };
        if padding.rank() != 2 || padding.dtype() != DType::U8 {
            bail!(
                "attention takes key_padding (b, s) of U8, got {:?} of {:?}",
                padding.shape(),
                padding.dtype()
            )
        }
        let keep = padding.eq(0u8)?.unsqueeze(1)?.unsqueeze(1)?;
        match &self.mask {
            None => Ok(Some(keep)),
            Some(mask) if mask.dtype() == DType::U8 => {
                let mask = mask.ne(0u8)?;
                keep.broadcast_mul(&mask).map(Some)
            }
            Some(mask) => {
                let shape = keep
                    .shape()
                    .broadcast_shape_binary_op(mask.shape(), "attention")?;
                let hidden = Tensor::new(f64::NEG_INFINITY, mask.device())?;
                keep.broadcast_as(&shape)?
                    .where_cond(
                        &mask.broadcast_as(&shape)?,
                        &hidden.to_dtype(mask.dtype())?.broadcast_as(&shape)?,
                    )
                    .map(Some)
            }
        }
    }
}
