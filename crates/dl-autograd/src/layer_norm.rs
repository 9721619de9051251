//! Layer normalisation, alone and behind a residual sum.

use candle_core::{Result, Tensor, bail};

use crate::row_norm::{Moments, RowNorm, Rows, add_row_norm};

/// Normalises each row to mean 0 and variance 1, then scales and shifts, as
/// `torch.nn.functional.layer_norm`.
///
/// `x (…, d…)`, `weight (d…)`, `bias (d…)` → `(…, d…)`
///
/// ```text
/// y = γ·(x − μ)/√(σ² + ε) + β          μ, σ² over d…, σ² divided by their number
/// ∂x = (g − mean(g) − x̂·mean(g ⊙ x̂))/√(σ² + ε)          g = γ·dy
/// ```
///
/// The dimensions of weight or bias say over how many of the last dimensions of x a row goes;
/// without both it goes over the last. The mean is kept to twice the digits, so that rows far from
/// zero lose none. candle's own layer norm cuts the graph in silence. An error if the shapes do not
/// fit or `eps` is negative.
///
/// Source: Ba, Kiros, Hinton, "Layer normalization", 2016.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f64, 3.]], &Device::Cpu)?;
/// let bias = Tensor::new(&[0.5f64, 0.], &Device::Cpu)?;
/// let y = dl_autograd::layer_norm(&x, None, Some(&bias), 0.)?;
/// assert_eq!(y.to_vec2::<f64>()?, [[-0.5, 1.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn layer_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    norm("layer_norm", x, weight, bias, Moments::Both, eps)?.apply(x, weight, bias)
}

/// [`layer_norm`] of `x + residual`, whose sum is never stored: the end of a post-norm block.
///
/// `x (…, d…)`, `residual (…, d…)`, `weight (d…)`, `bias (d…)` → `(…, d…)`
///
/// ```text
/// y = norm(x + r)          ∂x = ∂r
/// ```
///
/// A pre-norm block needs the sum as well, which one op cannot give besides:
/// [`add`](crate::add), then [`layer_norm`]. An error if the shapes do not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f64, 1.]], &Device::Cpu)?;
/// let residual = Tensor::new(&[[0f64, 2.]], &Device::Cpu)?;
/// let y = dl_autograd::add_layer_norm(&x, &residual, None, None, 0.)?;
/// assert_eq!(y.to_vec2::<f64>()?, [[-1., 1.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn add_layer_norm(
    x: &Tensor,
    residual: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let norm = norm("add_layer_norm", x, weight, bias, Moments::Both, eps)?;
    add_row_norm(norm, x, residual, weight, bias)
}

/// The normalisation of rows over the dimensions of `weight` or `bias`, or over the last one.
pub(crate) fn norm(
    name: &'static str,
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    moments: Moments,
    eps: f64,
) -> Result<RowNorm> {
    let rank = weight.or(bias).map_or(1, Tensor::rank);
    if rank == 0 || rank > x.rank() {
        bail!(
            "{name} takes x (…, d) with the {rank} dimensions of its weight and more, got {:?}",
            x.shape()
        )
    }
    let row = &x.dims()[x.rank() - rank..];
    for (operand, tensor) in [("weight", weight), ("bias", bias)] {
        if let Some(tensor) = tensor.filter(|t| t.dims() != row) {
            bail!(
                "{name} of rows of {row:?} got {operand} {:?}",
                tensor.shape()
            )
        }
    }
    let rows = Rows {
        groups: 1,
        channels: row.iter().product(),
        plane: 1,
    };
    Ok(RowNorm {
        name,
        rows,
        moments,
        eps,
    })
}
