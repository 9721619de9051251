//! Normal values.

use candle_core::{Device, Result, Shape, Tensor, bail};
use dl_autograd::Rng;

use super::with;
use crate::Params;

/// Normal with this mean and standard deviation, `std ≥ 0`.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, init};
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().get((50, 50), "w")?;
/// init::normal(&params, "w", 1., 0.02)?;
/// let mean = params.get("w").unwrap().mean_all()?.to_scalar::<f32>()?;
/// assert!((mean - 1.).abs() < 0.002);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn normal(params: &Params, pattern: &str, mean: f64, std: f64) -> Result<usize> {
    if !(mean.is_finite() && std >= 0. && std.is_finite()) {
        bail!("normal needs a finite mean and a finite std ≥ 0, got {mean} and {std}")
    }
    with(params, pattern, |shape, rng| {
        normal_tensor(shape, rng, mean, std)
    })
}

pub(super) fn normal_tensor(shape: &Shape, rng: &Rng, mean: f64, std: f64) -> Result<Tensor> {
    let values = normal_values(rng, shape.elem_count(), mean, std);
    Tensor::from_vec(values, shape, &Device::Cpu)
}

pub(crate) fn normal_values(rng: &Rng, count: usize, mean: f64, std: f64) -> Vec<f32> {
    let mut values = vec![0f32; count];
    rng.fill_normal(&mut values);
    for x in &mut values {
        *x = (mean + std * f64::from(*x)) as f32;
    }
    values
}
