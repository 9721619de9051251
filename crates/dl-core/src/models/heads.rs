//! The heads of attention beside each other and one behind the other.

use candle_core::{Result, Tensor};
use dl_autograd::{reshape, transpose};

/// `(b, t, dim)` → `(b, heads, t, dim/heads)`, a view.
pub(super) fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, t, dim) = x.dims3()?;
    transpose(&reshape(x, (b, t, heads, dim / heads))?, 1, 2)
}

/// `(b, heads, t, d)` → `(b, t, heads·d)`.
pub(super) fn merge_heads(x: &Tensor) -> Result<Tensor> {
    let (b, heads, t, d) = x.dims4()?;
    reshape(&transpose(x, 1, 2)?, (b, t, heads * d))
}
