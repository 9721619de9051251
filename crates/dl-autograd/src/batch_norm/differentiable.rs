//! The gradients of batch normalisation as operations of their own.

use candle_core::{Result, Tensor};

use crate::activation::Activation;
use crate::host::if_tracked;
use crate::prologue::Prologue;

/// What a differentiable backward needs to know of the forward.
#[derive(Clone)]
pub(crate) struct Forward {
    /// Mean and variance, if they were given and not taken from the batch.
    pub(super) given: Option<(Tensor, Tensor)>,
    pub(super) eps: f64,
    pub(super) activation: Activation,
}

impl Forward {
    /// ```text
    /// x̂ = (x − μ)/√(σ² + ε)     ∂x = γ/√(σ² + ε) · (dy − mean(dy) − x̂·mean(dy ⊙ x̂))
    /// ```
    ///
    /// with the two means left out where the statistics were given.
    pub(super) fn pull(
        &self,
        inputs: &[Tensor],
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let (x, gamma, beta) = (&inputs[0], &inputs[1], &inputs[2]);
        let dy = (dy * self.activation.open(y)?)?;
        let (mean, variance) = self.statistics(x)?;
        let rstd = (variance + self.eps)?.sqrt()?.recip()?;
        let normal = x.broadcast_sub(&mean)?.broadcast_mul(&rstd)?;
        let dgamma = total(&(&dy * &normal)?)?;
        let dbeta = total(&dy)?;
        let dx = if_tracked(x, || {
            let inner = match self.given {
                Some(_) => dy.clone(),
                None => dy
                    .broadcast_sub(&mean_of(&dy)?)?
                    .sub(&normal.broadcast_mul(&mean_of(&(&dy * &normal)?)?)?)?,
            };
            inner.broadcast_mul(&(rstd * per_channel(gamma, x)?)?)
        })?;
        let dgamma = if_tracked(gamma, || Ok(dgamma))?;
        Ok(vec![dx, dgamma, if_tracked(beta, || Ok(dbeta))?])
    }

    /// The forward, with scale and shift behind each other.
    pub(crate) fn normalise(&self, x: &Tensor, packed: &Tensor) -> Result<Tensor> {
        let [gamma, beta] = parts(x, packed)?;
        let norm = Prologue {
            gamma: &gamma,
            beta: &beta,
            eps: self.eps,
            activation: self.activation,
            statistics: self.given.as_ref().map(|(mean, variance)| (mean, variance)),
        };
        Ok(norm.apply(x)?.0)
    }

    /// [`pull`](Self::pull) with scale and shift behind each other.
    pub(crate) fn pull_packed(
        &self,
        x: &Tensor,
        packed: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [gamma, beta] = parts(x, packed)?;
        let mut grads = self.pull(&[x.clone(), gamma, beta], y, dy)?.into_iter();
        let dx = grads.next().flatten();
        let dpacked: Vec<_> = grads.flatten().collect();
        Ok((dx, if_tracked(packed, || Tensor::cat(&dpacked, 0))?))
    }

    /// Mean and variance in a shape that broadcasts over `x`.
    fn statistics(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        if let Some((mean, variance)) = &self.given {
            return Ok((per_channel(mean, x)?, per_channel(variance, x)?));
        }
        let mean = mean_of(x)?;
        let variance = mean_of(&x.broadcast_sub(&mean)?.sqr()?)?;
        Ok((mean, variance))
    }
}

fn parts(x: &Tensor, packed: &Tensor) -> Result<[Tensor; 2]> {
    let channels = x.dim(1)?;
    let part = |from| packed.narrow(0, from, channels);
    Ok([part(0)?, part(channels)?])
}

fn others(x: &Tensor) -> Vec<usize> {
    (0..x.rank()).filter(|d| *d != 1).collect()
}

fn mean_of(x: &Tensor) -> Result<Tensor> {
    x.mean_keepdim(others(x))
}

fn total(x: &Tensor) -> Result<Tensor> {
    x.sum(others(x))
}

fn per_channel(t: &Tensor, x: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    shape[1] = t.elem_count();
    t.reshape(shape)
}
