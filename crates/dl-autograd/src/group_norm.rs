//! Group and instance normalisation.

use candle_core::{Result, Tensor, bail};

use crate::row_norm::{Moments, RowNorm, Rows};

/// Normalises groups of channels of each sample to mean 0 and variance 1, then scales and shifts
/// each channel, as `torch.nn.functional.group_norm`.
///
/// `x (n, c, …)`, `weight (c,)`, `bias (c,)` → `(n, c, …)`
///
/// ```text
/// y = γ·(x − μ)/√(σ² + ε) + β          μ, σ² over c/groups channels and all dimensions behind
/// ```
///
/// An error if `groups` does not divide the channels, the shapes do not fit or `eps` is negative.
///
/// Source: Wu, He, "Group normalization", 2018.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1f64], [3.], [5.], [9.]]], &Device::Cpu)?;
/// let y = dl_autograd::group_norm(&x, 2, None, None, 0.)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, [-1., 1., -1., 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    if x.rank() < 2 {
        bail!("group_norm takes x (n, c, …), got {:?}", x.shape())
    }
    let channels = x.dim(1)?;
    if groups == 0 || !channels.is_multiple_of(groups) {
        bail!("group_norm of {channels} channels got {groups} groups, which do not divide them")
    }
    norm("group_norm", x, groups, (weight, bias), eps)?.apply(x, weight, bias)
}

/// Normalises each channel of each sample to mean 0 and variance 1, then scales and shifts it, as
/// `torch.nn.functional.instance_norm` without running statistics.
///
/// `x (n, c, …)`, `weight (c,)`, `bias (c,)` → `(n, c, …)`
///
/// An error if a channel of a sample has one value, which PyTorch refuses too, the shapes do not fit
/// or `eps` is negative.
///
/// Source: Ulyanov, Vedaldi, Lempitsky, "Instance normalization", 2016.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1f64, 3.], [5., 9.]]], &Device::Cpu)?;
/// let y = dl_autograd::instance_norm(&x, None, None, 0.)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, [-1., 1., -1., 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn instance_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    if x.rank() < 3 || x.dims()[2..].iter().product::<usize>() == 1 {
        bail!(
            "instance_norm takes x (n, c, …) with 2 or more values a channel, got {:?}",
            x.shape()
        )
    }
    let groups = x.dim(1)?;
    norm("instance_norm", x, groups, (weight, bias), eps)?.apply(x, weight, bias)
}

fn norm(
    name: &'static str,
    x: &Tensor,
    groups: usize,
    (weight, bias): (Option<&Tensor>, Option<&Tensor>),
    eps: f64,
) -> Result<RowNorm> {
    let channels = x.dim(1)?;
    for (operand, tensor) in [("weight", weight), ("bias", bias)] {
        if let Some(tensor) = tensor.filter(|t| t.dims() != [channels]) {
            bail!(
                "{name} of {channels} channels got {operand} {:?}",
                tensor.shape()
            )
        }
    }
    let rows = Rows {
        groups: groups.max(1),
        channels: channels / groups.max(1),
        plane: x.dims()[2..].iter().product(),
    };
    Ok(RowNorm {
        name,
        rows,
        moments: Moments::Both,
        eps,
    })
}
