//! The check that operands are alike.

use candle_core::{Result, Tensor, bail};

/// An error unless both have one shape and one type.
pub(super) fn same_shape(
    loss: &str,
    (name, x): (&str, &Tensor),
    (other, y): (&str, &Tensor),
) -> Result<()> {
    if x.shape() != y.shape() || x.dtype() != y.dtype() {
        bail!(
            "{loss} of {name} {:?} in {:?} takes {other} alike, got {:?} in {:?}",
            x.shape(),
            x.dtype(),
            y.shape(),
            y.dtype()
        )
    }
    Ok(())
}
