//! One value everywhere.

use candle_core::{Device, Result, Tensor};

use super::with;
use crate::Params;

/// `value` everywhere.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, init};
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().get(2, "gate.bias")?;
/// assert_eq!(init::constant(&params, "gate.*", -1.)?, 1);
/// assert_eq!(params.get("gate.bias").unwrap().to_vec1::<f32>()?, [-1., -1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn constant(params: &Params, pattern: &str, value: f64) -> Result<usize> {
    with(params, pattern, |shape, _| {
        Tensor::full(value, shape.clone(), &Device::Cpu)
    })
}

/// 0 everywhere.
pub fn zeros(params: &Params, pattern: &str) -> Result<usize> {
    constant(params, pattern, 0.)
}

/// 1 everywhere.
pub fn ones(params: &Params, pattern: &str) -> Result<usize> {
    constant(params, pattern, 1.)
}
