//! Any function of shape and random stream as an initialisation.

use candle_core::{Result, Shape, Tensor, bail};
use dl_autograd::{Purpose, Rng};

use crate::Params;

/// Sets every parameter that matches `pattern` to `values(shape, stream of its name)`.
///
/// The tensor may be of any float type and on any device, and must have the shape.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::{Params, init};
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().pp("fc").get(3, "bias")?;
/// init::with(&params, "*.bias", |shape, _| Tensor::full(0.5f32, shape.clone(), &Device::Cpu))?;
/// assert_eq!(params.get("fc.bias").unwrap().to_vec1::<f32>()?, [0.5; 3]);
/// assert!(init::zeros(&params, "*.bais").is_err());
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn with(
    params: &Params,
    pattern: &str,
    values: impl Fn(&Shape, &Rng) -> Result<Tensor>,
) -> Result<usize> {
    let mut chosen = params.matching(pattern)?;
    chosen.retain(|name| !Params::is_buffer(name));
    if chosen.is_empty() {
        bail!("no parameter matches `{pattern}`")
    }
    let mut new = Vec::with_capacity(chosen.len());
    for name in &chosen {
        let Some(var) = params.get(name) else {
            continue;
        };
        let rng = Rng::named(params.seed(), Purpose::Init, name);
        let value = values(var.shape(), &rng);
        let value = value.map_err(|error| error.context(format!("initialising `{name}`")))?;
        if value.shape() != var.shape() {
            let (wanted, came) = (var.shape(), value.shape());
            bail!("initialising `{name}`: wanted shape {wanted:?}, got {came:?}")
        }
        new.push((name, value));
    }
    for (name, value) in &new {
        params.set(name, value)?;
    }
    Ok(new.len())
}
