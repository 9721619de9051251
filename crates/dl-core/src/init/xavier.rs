//! Xavier's initialisations, which balance activations and gradients.

use candle_core::Result;

use super::fan::fans;
use super::normal::normal_tensor;
use super::uniform::uniform_tensor;
use super::with;
use crate::Params;

/// Uniform with variance 2·gain²/(fan_in + fan_out); PyTorch's `gain` is 1.
///
/// ```text
/// θ ~ U(−b, b)          b = gain·√(6/(fan_in + fan_out))
/// ```
///
/// A parameter with fewer than two dimensions is an error.
///
/// Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural
/// networks", 2010.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, init};
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().pp("encoder").get((4, 2), "weight")?;
/// init::xavier_uniform(&params, "encoder.*", 1.)?;
/// let w = params.get("encoder.weight").unwrap().flatten_all()?.to_vec1::<f32>()?;
/// assert!(w.iter().all(|w| w.abs() <= 1.)); // √(6/6)
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn xavier_uniform(params: &Params, pattern: &str, gain: f64) -> Result<usize> {
    with(params, pattern, |shape, rng| {
        let (fan_in, fan_out) = fans(shape)?;
        let bound = gain * (6. / (fan_in + fan_out)).sqrt();
        uniform_tensor(shape, rng, -bound, bound)
    })
}

/// Normal with variance 2·gain²/(fan_in + fan_out); PyTorch's `gain` is 1.
///
/// A parameter with fewer than two dimensions is an error.
///
/// Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural
/// networks", 2010.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, init};
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().get((150, 50), "weight")?;
/// init::xavier_normal(&params, "weight", 1.)?;
/// let variance = params.get("weight").unwrap().sqr()?.mean_all()?.to_scalar::<f32>()?;
/// assert!((variance - 0.01).abs() < 0.0008);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn xavier_normal(params: &Params, pattern: &str, gain: f64) -> Result<usize> {
    with(params, pattern, |shape, rng| {
        let (fan_in, fan_out) = fans(shape)?;
        normal_tensor(shape, rng, 0., gain * (2. / (fan_in + fan_out)).sqrt())
    })
}
