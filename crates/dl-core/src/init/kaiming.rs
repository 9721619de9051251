//! Kaiming's initialisations, for layers with a rectifier behind them.

use candle_core::Result;

use super::normal::normal_tensor;
use super::uniform::uniform_tensor;
use super::{Fan, Nonlinearity, with};
use crate::Params;

/// Uniform with variance gain²/fan.
///
/// ```text
/// θ ~ U(−b, b)          b = gain·√(3/fan)
/// ```
///
/// PyTorch's `Linear` and `Conv2d` use it with `Fan::In` and `LeakyRelu(√5)`. A parameter with fewer
/// than two dimensions is an error.
///
/// Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, init, init::{Fan, Nonlinearity}};
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().pp("fc").get((4, 6), "weight")?;
/// assert_eq!(init::kaiming_uniform(&params, "*.weight", Fan::In, Nonlinearity::Relu)?, 1);
/// let w = params.get("fc.weight").unwrap().flatten_all()?.to_vec1::<f32>()?;
/// assert!(w.iter().all(|w| w.abs() <= 1.)); // √2·√(3/6)
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn kaiming_uniform(
    params: &Params,
    pattern: &str,
    fan: Fan,
    nonlinearity: Nonlinearity,
) -> Result<usize> {
    with(params, pattern, |shape, rng| {
        let bound = nonlinearity.gain() * (3. / fan.of(shape)?).sqrt();
        uniform_tensor(shape, rng, -bound, bound)
    })
}

/// Normal with variance gain²/fan. A parameter with fewer than two dimensions is an error.
///
/// torchvision's residual networks use it with `Fan::Out` and `Relu`.
///
/// Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, init, init::{Fan, Nonlinearity}};
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().get((64, 200), "weight")?;
/// init::kaiming_normal(&params, "weight", Fan::In, Nonlinearity::Relu)?;
/// let variance = params.get("weight").unwrap().sqr()?.mean_all()?.to_scalar::<f32>()?;
/// assert!((variance - 0.01).abs() < 0.0005);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn kaiming_normal(
    params: &Params,
    pattern: &str,
    fan: Fan,
    nonlinearity: Nonlinearity,
) -> Result<usize> {
    with(params, pattern, |shape, rng| {
        let std = nonlinearity.gain() / fan.of(shape)?.sqrt();
        normal_tensor(shape, rng, 0., std)
    })
}
