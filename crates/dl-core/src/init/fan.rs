//! How many values a unit takes in and gives out.

use candle_core::{Result, Shape, bail};

/// Which count the variance is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fan {
    /// Inputs of a unit: keeps the variance of the activations.
    #[default]
    In,
    /// Outputs of a unit: keeps the variance of the gradients.
    Out,
}

impl Fan {
    pub(super) fn of(self, shape: &Shape) -> Result<f64> {
        let (fan_in, fan_out) = fans(shape)?;
        Ok(match self {
            Self::In => fan_in,
            Self::Out => fan_out,
        })
    }
}

/// (in, out) of a weight `(out, in, taps…)`, each at least 1.
pub(super) fn fans(shape: &Shape) -> Result<(f64, f64)> {
    let [rows, columns, taps @ ..] = shape.dims() else {
        bail!("fan in and fan out need two dimensions or more, got shape {shape:?}")
    };
    let taps: usize = taps.iter().product();
    let fan = |units: usize| (units * taps).max(1) as f64;
    Ok((fan(*columns), fan(*rows)))
}
