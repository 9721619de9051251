//! Gated linear units: one half of a tensor lets the other through.

use candle_core::{Result, Tensor, bail};

use crate::activation::relu;
use crate::host::float;
use crate::mul::mul;
use crate::pointwise::{gelu, sigmoid, silu};
use crate::split::split;

/// `a·sigmoid(b)` of the halves `a` and `b` of a dimension, as `torch.nn.functional.glu`:
/// `(…, 2n, …)` → `(…, n, …)`. An error if the dimension is odd.
///
/// Source: Dauphin, Fan, Auli, Grangier, "Language modeling with gated convolutional networks", 2017.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::glu(&Tensor::new(&[[4f32, 0.]], &Device::Cpu)?, 1)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[2.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn glu(x: &Tensor, dim: usize) -> Result<Tensor> {
    let [a, b] = halves("glu", x, dim)?;
    mul(&a, &sigmoid(&b)?)
}

/// `silu(a)·b` of the halves of a dimension, as LLaMA's feed-forward has it; the gate comes first.
///
/// Source of this and the next two: Shazeer, "GLU variants improve transformer", 2020.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::swiglu(&Tensor::new(&[[1f64, 2.]], &Device::Cpu)?, 1)?.to_vec2::<f64>()?;
/// assert!((y[0][0] - 1.4621171572600098).abs() < 1e-14);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn swiglu(x: &Tensor, dim: usize) -> Result<Tensor> {
    let [a, b] = halves("swiglu", x, dim)?;
    mul(&silu(&a)?, &b)
}

/// `gelu(a)·b` of the halves of a dimension.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::geglu(&Tensor::new(&[[1f64, 2.]], &Device::Cpu)?, 1)?.to_vec2::<f64>()?;
/// assert!((y[0][0] - 1.6826894921370859).abs() < 1e-14);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn geglu(x: &Tensor, dim: usize) -> Result<Tensor> {
    let [a, b] = halves("geglu", x, dim)?;
    mul(&gelu(&a)?, &b)
}

/// `relu(a)·b` of the halves of a dimension.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::reglu(&Tensor::new(&[[3f32, 2.]], &Device::Cpu)?, 1)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[6.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn reglu(x: &Tensor, dim: usize) -> Result<Tensor> {
    let [a, b] = halves("reglu", x, dim)?;
    mul(&relu(&a)?, &b)
}

fn halves(op: &str, x: &Tensor, dim: usize) -> Result<[Tensor; 2]> {
    float(op, ("x", x))?;
    match x.dims().get(dim) {
        Some(n) if n % 2 == 0 => {
            let mut parts = split(x, &[n / 2, n / 2], dim)?.into_iter();
            match (parts.next(), parts.next()) {
                (Some(a), Some(b)) => Ok([a, b]),
                _ => bail!("{op}: x {:?} did not come apart in two halves", x.shape()),
            }
        }
        Some(n) => bail!("{op}: dimension {dim} of x must be even, got {n}"),
        None => bail!("{op}: x must have a dimension {dim}, got {:?}", x.shape()),
    }
}
