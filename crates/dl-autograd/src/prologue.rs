//! What happens to an operand before it is read.

use candle_core::{Result, Tensor};

use crate::activation::Activation;
use crate::batch_norm::{BatchStatistics, batch_norm, batch_norm_with, check_batch, check_given};

/// A batch normalisation and its activation that an op applies to its operand while it reads it, so that
/// the normalised tensor need not be written down.
///
/// ```text
/// act(γ·(x − μ)/√(σ² + ε) + β)
/// ```
///
/// See [`batch_norm_conv2d`](crate::batch_norm_conv2d()).
#[derive(Clone, Copy, Debug)]
pub struct Prologue<'a> {
    /// `(c,)`.
    pub gamma: &'a Tensor,
    /// `(c,)`.
    pub beta: &'a Tensor,
    /// Added to the variance, `≥ 0`.
    pub eps: f64,
    /// Applied to what was normalised.
    pub activation: Activation,
    /// Mean and biased variance by which is normalised, `(c,)` each, which get no gradient; those of the
    /// batch if there are none.
    pub statistics: Option<(&'a Tensor, &'a Tensor)>,
}

impl Prologue<'_> {
    /// The number of values of a channel; an error unless the tensors fit `x`.
    pub(crate) fn check(&self, op: &str, x: &Tensor) -> Result<usize> {
        match self.statistics {
            Some(given) => check_given(op, x, (self.gamma, self.beta), given),
            None => check_batch(op, x, self.gamma, self.beta),
        }
    }

    /// As an op of its own, with the statistics of the batch where they were used.
    pub(crate) fn apply(&self, x: &Tensor) -> Result<(Tensor, Option<BatchStatistics>)> {
        let Self {
            gamma,
            beta,
            eps,
            activation,
            statistics,
        } = *self;
        match statistics {
            Some((mean, variance)) => {
                let y = batch_norm_with(x, gamma, beta, mean, variance, eps, activation)?;
                Ok((y, None))
            }
            None => {
                let (y, batch) = batch_norm(x, gamma, beta, eps, activation)?;
                Ok((y, Some(batch)))
            }
        }
    }
}
