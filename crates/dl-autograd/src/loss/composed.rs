//! The losses of pairs and their slopes as operations of candle, with graphs of their own.

use candle_core::{Result, Tensor};

use super::PointwiseLoss;
use crate::pointwise::sigmoid;

/// A prediction, a target, and the weight of positive targets where there is one.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub(super) x: &'a Tensor,
    pub(super) t: &'a Tensor,
    pub(super) positive: Option<&'a Tensor>,
}

fn sign(x: &Tensor) -> Result<Tensor> {
    x.detach().sign()
}

fn abs(x: &Tensor) -> Result<Tensor> {
    x * sign(x)?
}

fn not(x: &Tensor) -> Result<Tensor> {
    x.affine(-1., 1.)
}

/// `log(1 + eˣ)`.
fn softplus(x: &Tensor) -> Result<Tensor> {
    let size = abs(x)?;
    ((x + &size)? * 0.5)? + (size.neg()?.exp()? + 1.)?.log()?
}

/// 1 where `x` is positive, 0 elsewhere.
fn open(x: &Tensor) -> Result<Tensor> {
    x.detach().gt(0.)?.to_dtype(x.dtype())
}

fn equals(x: &Tensor, value: f64) -> Result<Tensor> {
    x.detach().eq(value)?.to_dtype(x.dtype())
}

impl Operands<'_> {
    fn difference(&self) -> Result<Tensor> {
        self.x - self.t
    }

    fn positive_times(&self, y: &Tensor) -> Result<Tensor> {
        match self.positive {
            Some(positive) => y * positive,
            None => Ok(y.clone()),
        }
    }

    pub(super) fn value(&self, loss: PointwiseLoss) -> Result<Tensor> {
        let (x, t) = (self.x, self.t);
        match loss {
            PointwiseLoss::Squared => self.difference()?.sqr(),
            PointwiseLoss::Absolute => self.bent(0., 1.),
            PointwiseLoss::SmoothL1 { beta } => self.bent(beta, 1.),
            PointwiseLoss::Huber { delta } => self.bent(delta, delta),
            PointwiseLoss::Logistic => self.logistic(),
            PointwiseLoss::KlDiv => {
                let zero = t.detach().eq(0.)?;
                let safe = zero.where_cond(&t.ones_like()?, t)?;
                (t * safe.log()?)? - (t * x)?
            }
            PointwiseLoss::KlDivOfLog => t.exp()? * (t - x)?,
            PointwiseLoss::PoissonNll {
                log_input,
                full,
                eps,
            } => {
                let loss = match log_input {
                    true => x.exp()? - (t * x)?,
                    false => x - (t * (x + eps)?.log()?)?,
                }?;
                match full {
                    true => loss + stirling(t)?,
                    false => Ok(loss),
                }
            }
            PointwiseLoss::GaussianNll { full, eps } => {
                let v = t.maximum(eps)?;
                let constant = if full {
                    0.5 * std::f64::consts::TAU.ln()
                } else {
                    0.
                };
                (v.log()? + (x.sqr()? / v)?)?.affine(0.5, constant)
            }
            PointwiseLoss::HingeEmbedding { margin } => {
                let gap = x.affine(-1., margin)?;
                let far = (not(&equals(t, 1.)?)? * gap.relu()?)?;
                far + (not(&equals(t, -1.)?)? * x)?
            }
            PointwiseLoss::MarginRanking { margin } => (x * t)?.affine(-1., margin)?.relu(),
            PointwiseLoss::Focal { alpha, gamma } => {
                let (alpha, wrong) = (self.alpha(alpha)?, self.wrong()?);
                (alpha * wrong.powf(gamma)?)? * self.logistic()?
            }
        }
    }

    pub(super) fn slope(&self, loss: PointwiseLoss) -> Result<Tensor> {
        let (x, t) = (self.x, self.t);
        match loss {
            PointwiseLoss::Squared => self.difference()? * 2.,
            PointwiseLoss::Absolute => self.bent_slope(0., 1.),
            PointwiseLoss::SmoothL1 { beta } => self.bent_slope(beta, 1.),
            PointwiseLoss::Huber { delta } => self.bent_slope(delta, delta),
            PointwiseLoss::Logistic => self.logistic_slope(),
            PointwiseLoss::KlDiv => t.neg(),
            PointwiseLoss::KlDivOfLog => t.exp()?.neg(),
            PointwiseLoss::PoissonNll { log_input, eps, .. } => match log_input {
                true => x.exp()? - t,
                false => not(&(t / (x + eps)?)?),
            },
            PointwiseLoss::GaussianNll { eps, .. } => x / clamped(t, eps)?,
            PointwiseLoss::HingeEmbedding { margin } => {
                let far = (not(&equals(t, 1.)?)? * open(&x.affine(-1., margin)?)?)?;
                not(&equals(t, -1.)?)? - far
            }
            PointwiseLoss::MarginRanking { margin } => {
                let gap = (x * t)?.affine(-1., margin)?;
                (t * open(&gap)?)?.neg()
            }
            PointwiseLoss::Focal { alpha, gamma } => {
                let (alpha, wrong, p) = (self.alpha(alpha)?, self.wrong()?, sigmoid(x)?);
                let of_wrong = ((&p * not(&p)?)? * t.affine(-2., 1.)?)?;
                let first = ((power_slope(&wrong, gamma)? * of_wrong)? * self.logistic()?)?;
                alpha * (first + (wrong.powf(gamma)? * self.logistic_slope()?)?)?
            }
        }
    }

    pub(super) fn target_slope(&self, loss: PointwiseLoss) -> Result<Tensor> {
        let (x, t) = (self.x, self.t);
        match loss {
            PointwiseLoss::Squared
            | PointwiseLoss::Absolute
            | PointwiseLoss::SmoothL1 { .. }
            | PointwiseLoss::Huber { .. } => self.slope(loss)?.neg(),
            PointwiseLoss::Logistic => self.logistic_target_slope(),
            PointwiseLoss::KlDiv => (t.log()? + 1.)? - x,
            PointwiseLoss::KlDivOfLog => t.exp()? * ((t - x)? + 1.)?,
            PointwiseLoss::PoissonNll {
                log_input,
                full,
                eps,
            } => {
                let slope = match log_input {
                    true => x.neg(),
                    false => (x + eps)?.log()?.neg(),
                }?;
                match full {
                    true => slope + stirling_slope(t)?,
                    false => Ok(slope),
                }
            }
            PointwiseLoss::GaussianNll { eps, .. } => {
                let v = clamped(t, eps)?;
                (not(&(x.sqr()? / &v)?)? / v)? * 0.5
            }
            PointwiseLoss::HingeEmbedding { .. } => t.zeros_like(),
            PointwiseLoss::MarginRanking { margin } => {
                let gap = (x * t)?.affine(-1., margin)?;
                (x * open(&gap)?)?.neg()
            }
            PointwiseLoss::Focal { alpha, gamma } => {
                let (weight, wrong, p) = (self.alpha(alpha)?, self.wrong()?, sigmoid(x)?);
                let (power, loss) = (wrong.powf(gamma)?, self.logistic()?);
                let first = ((power_slope(&wrong, gamma)? * p.affine(-2., 1.)?)? * &loss)?;
                let inner = (first + (&power * self.logistic_target_slope()?)?)?;
                let of_alpha = alpha.map_or(0., |a| 2. * a - 1.);
                ((power * loss)? * of_alpha)? + (weight * inner)?
            }
        }
    }

    fn bent(&self, beta: f64, scale: f64) -> Result<Tensor> {
        let size = abs(&self.difference()?)?;
        let line = (&size - 0.5 * beta)?;
        let y = match beta > 0. {
            true => size
                .lt(beta)?
                .where_cond(&(size.sqr()? * (0.5 / beta))?, &line)?,
            false => line,
        };
        y * scale
    }

    fn bent_slope(&self, beta: f64, scale: f64) -> Result<Tensor> {
        let d = self.difference()?;
        let line = sign(&d)?;
        let y = match beta > 0. {
            true => {
                let near = d.detach().abs()?.lt(beta)?;
                near.where_cond(&(&d / beta)?, &line)?
            }
            false => line,
        };
        y * scale
    }

    fn logistic(&self) -> Result<Tensor> {
        let (x, t) = (self.x, self.t);
        let positive = self.positive_times(&(t * softplus(&x.neg()?)?)?)?;
        positive + (not(t)? * softplus(x)?)?
    }

    fn logistic_slope(&self) -> Result<Tensor> {
        let t = self.positive_times(self.t)?;
        let total = (not(self.t)? + &t)?;
        (total * sigmoid(self.x)?)? - t
    }

    fn logistic_target_slope(&self) -> Result<Tensor> {
        let minus = softplus(&self.x.neg()?)?;
        self.positive_times(&minus)? - softplus(self.x)?
    }

    fn alpha(&self, alpha: Option<f64>) -> Result<Tensor> {
        match alpha {
            Some(a) => self.t.affine(2. * a - 1., 1. - a),
            None => self.t.ones_like(),
        }
    }

    /// The probability of the wrong class.
    fn wrong(&self) -> Result<Tensor> {
        let p = sigmoid(self.x)?;
        (&p * not(self.t)?)? + (not(&p)? * self.t)?
    }
}

fn power_slope(x: &Tensor, gamma: f64) -> Result<Tensor> {
    match gamma == 0. {
        true => x.zeros_like(),
        false => x.powf(gamma - 1.)? * gamma,
    }
}

fn clamped(t: &Tensor, eps: f64) -> Result<Tensor> {
    let low = t.detach().lt(eps)?;
    let floor = t.zeros_like()?.affine(0., eps)?;
    low.where_cond(&floor, t)
}

/// Stirling's `log t!` where `t > 1`, 0 elsewhere.
fn stirling(t: &Tensor) -> Result<Tensor> {
    let large = t.gt(1.)?;
    let safe = large.where_cond(t, &t.ones_like()?)?;
    let log = safe.log()?;
    let half = (&log * 0.5)?.affine(1., 0.5 * std::f64::consts::TAU.ln())?;
    let value = (((&safe * log)? - safe)? + half)?;
    large.where_cond(&value, &t.zeros_like()?)
}

fn stirling_slope(t: &Tensor) -> Result<Tensor> {
    let large = t.detach().gt(1.)?;
    let safe = large.where_cond(t, &t.ones_like()?)?;
    let value = (safe.log()? + safe.recip()?.affine(0.5, 0.)?)?;
    large.where_cond(&value, &t.zeros_like()?)
}
