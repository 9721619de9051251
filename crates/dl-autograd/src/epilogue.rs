//! What happens to a result before it is written.

use candle_core::{Result, Tensor};

use crate::activation::Activation;
use crate::host::{same_shape, same_type};
use crate::sum::add;

/// What an op does to its result on the way out, in the same pass over memory.
///
/// ```text
/// y = act(result + residual)
/// ```
///
/// An [`Activation`] alone converts into it.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{Activation, Epilogue, batch_norm};
/// let at = |v: f64| Tensor::new(&[v], &Device::Cpu);
/// let x = Tensor::new(&[[1f64], [3.]], &Device::Cpu)?;
/// let residual = Tensor::new(&[[-2f64], [5.]], &Device::Cpu)?;
/// let end = Epilogue { residual: Some(&residual), activation: Activation::Relu };
/// // −1 − 2 and 1 + 5.
/// let (y, _) = batch_norm(&x, &at(1.)?, &at(0.)?, 0., end)?;
/// assert_eq!(y.to_vec2::<f64>()?, [[0.], [6.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Added before the activation, in the shape of the result. Default none.
    pub residual: Option<&'a Tensor>,
    /// Applied last. Default none.
    pub activation: Activation,
}

impl From<Activation> for Epilogue<'_> {
    fn from(activation: Activation) -> Self {
        Self {
            residual: None,
            activation,
        }
    }
}

impl Epilogue<'_> {
    /// An error unless the residual has the shape and type of the result, which are those of `x`.
    pub(crate) fn check(&self, op: &str, x: &Tensor) -> Result<()> {
        let Some(residual) = self.residual else {
            return Ok(());
        };
        same_shape(op, ("x", x), ("residual", residual))?;
        same_type(op, ("x", x), &[("residual", residual)])
    }

    /// The same as ops of their own.
    pub(crate) fn composed(&self, y: &Tensor) -> Result<Tensor> {
        match self.residual {
            Some(residual) => self.activation.forward(&add(y, residual)?),
            None => self.activation.forward(y),
        }
    }
}
