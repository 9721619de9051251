//! Uniform values.

use candle_core::{Device, Result, Shape, Tensor, bail};
use dl_autograd::Rng;

use super::with;
use crate::Params;

/// Uniform in `[low, high)`.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, init};
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().get(100, "w")?;
/// init::uniform(&params, "w", 2., 3.)?;
/// let w = params.get("w").unwrap().to_vec1::<f32>()?;
/// assert!(w.iter().all(|w| (2. ..=3.).contains(w)));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn uniform(params: &Params, pattern: &str, low: f64, high: f64) -> Result<usize> {
    if !(low <= high && (high - low).is_finite()) {
        bail!("uniform needs finite bounds with low ≤ high, got {low} and {high}")
    }
    with(params, pattern, |shape, rng| {
        uniform_tensor(shape, rng, low, high)
    })
}

pub(super) fn uniform_tensor(shape: &Shape, rng: &Rng, low: f64, high: f64) -> Result<Tensor> {
    let values = uniform_values(rng, shape.elem_count(), low, high);
    Tensor::from_vec(values, shape, &Device::Cpu)
}

pub(crate) fn uniform_values(rng: &Rng, count: usize, low: f64, high: f64) -> Vec<f32> {
    let mut values = vec![0f32; count];
    rng.fill_uniform(0, &mut values);
    for x in &mut values {
        *x = (low + (high - low) * f64::from(*x)) as f32;
    }
    values
}
