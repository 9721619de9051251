//! Tensors side by side.

use candle_core::{Result, Tensor};

use crate::host::if_tracked;
use crate::many_inputs::CustomOpN;
use crate::tape::{apply_n, differentiable};
use crate::view::narrow;

/// The tensors one after the other along a dimension, as `torch.cat`.
///
/// The gradient of each is a view into that of the whole.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
/// assert_eq!(dl_autograd::cat(&[&x, &x], 0)?.to_vec1::<f32>()?, [1., 2., 1., 2.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn cat(tensors: &[&Tensor], dim: usize) -> Result<Tensor> {
    let values: Vec<Tensor> = tensors.iter().map(|x| x.detach()).collect();
    let y = apply_n(tensors, Tensor::cat(&values, dim)?, Cat { dim })?;
    Ok(differentiable(y, move |x, _, dy| {
        slices(x, dim, |start, len| narrow(dy, dim, start, len))
    }))
}

/// What `slice(start, len)` gives for every tracked one of `x`.
fn slices(
    x: &[Tensor],
    dim: usize,
    slice: impl Fn(usize, usize) -> Result<Tensor>,
) -> Result<Vec<Option<Tensor>>> {
    let mut start = 0;
    let gradients = x.iter().map(|x| {
        let len = x.dim(dim)?;
        start += len;
        if_tracked(x, || slice(start - len, len))
    });
    gradients.collect()
}

struct Cat {
    dim: usize,
}

impl CustomOpN for Cat {
    fn name(&self) -> &'static str {
        "cat"
    }

    fn bwd(&self, x: &[Tensor], _: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        slices(x, self.dim, |start, len| dy.narrow(self.dim, start, len))
    }
}
