//! Losses of pairs of elements, reduced in the same pass.

use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::Reduction;
use super::composed::Operands;
use super::pair::{
    Absolute, Bent, Focal, GaussianNll, HingeEmbedding, KlDiv, KlDivOfLog, Logistic, MarginRanking,
    Pair, PoissonNll, Squared,
};
use crate::exp::Exp;
use crate::host::{
    by_dtype, has_kernel, narrow_to, one_float_type, read, room, same_shape, tensor, widen, written,
};
use crate::many_inputs::CustomOpN;
use crate::simd::{Kernel, dispatch, row_sum};
use crate::tape::{apply_n, differentiable};
use crate::view::contiguous;

/// Elements that one thread takes at a time: exponentials are dear.
const GRAIN: usize = 4096;

/// A loss ℓ of a prediction `x` and a target `t`, element by element.
///
/// At a kink the derivative is PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PointwiseLoss {
    /// `(x − t)²`.
    Squared,
    /// `|x − t|`, with the derivative 0 at 0.
    Absolute,
    /// `(x − t)²/(2β)` where `|x − t| < β`, `|x − t| − β/2` elsewhere.
    SmoothL1 {
        /// Where the line begins, `≥ 0`; 0 is [`Absolute`](Self::Absolute).
        beta: f64,
    },
    /// `(x − t)²/2` where `|x − t| ≤ δ`, `δ·(|x − t| − δ/2)` elsewhere.
    Huber {
        /// Where the line begins, `> 0`.
        delta: f64,
    },
    /// `t·log(1 + e⁻ˣ) + (1 − t)·log(1 + eˣ)`: the binary cross-entropy of a logit.
    Logistic,
    /// `t·(log t − x)` of a logarithm `x` of a probability, 0 where `t` is 0.
    KlDiv,
    /// `eᵗ·(t − x)`: the same of the logarithm of the target.
    KlDivOfLog,
    /// `eˣ − t·x`, or `x − t·log(x + ε)` of a rate that is no logarithm.
    PoissonNll {
        /// Whether `x` is the logarithm of the rate.
        log_input: bool,
        /// Whether Stirling's `t·log t − t + log(2πt)/2` is added where `t > 1`.
        full: bool,
        /// ε, `> 0`.
        eps: f64,
    },
    /// `(log v + x²/v)/2` of a deviation `x` and its variance `v = max(t, ε)`. The gradient of the
    /// variance passes where it is clamped, as in PyTorch.
    GaussianNll {
        /// Whether `log(2π)/2` is added.
        full: bool,
        /// ε, `> 0`.
        eps: f64,
    },
    /// `x` where `t` is 1, `max(0, margin − x)` where `t` is −1. The target gets the gradient 0.
    HingeEmbedding {
        /// The distance that unlike pairs should have.
        margin: f64,
    },
    /// `max(0, margin − t·x)` of a difference `x` that should have the sign `t`.
    MarginRanking {
        /// The difference that is wanted.
        margin: f64,
    },
    /// `αₜ·(1 − pₜ)ᵞ·`[`Logistic`](Self::Logistic), with `pₜ = p·t + (1 − p)·(1 − t)` and
    /// `p = sigmoid(x)`; `αₜ = α·t + (1 − α)·(1 − t)`.
    Focal {
        /// Weight of the positive class, in `[0, 1]`; without it `αₜ` is 1.
        alpha: Option<f64>,
        /// γ, `≥ 0`.
        gamma: f64,
    },
}

/// The loss of each pair of elements of two tensors of one shape and type.
///
/// `x`, `target` of any shape → a scalar, or their shape unreduced. The target gets a gradient if it
/// is tracked. The losses are reduced as they are made: nothing of their size is stored. The mean of
/// no elements is NaN, as PyTorch's.
///
/// An error if the shapes or types differ (there is no broadcast) or a parameter of the loss is
/// outside its range.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{PointwiseLoss, Reduction, pointwise_loss};
/// let x = Tensor::new(&[1f32, 5.], &Device::Cpu)?;
/// let t = Tensor::new(&[0f32, 2.], &Device::Cpu)?;
/// let loss = pointwise_loss(&x, &t, PointwiseLoss::Huber { delta: 1. }, Reduction::Sum)?;
/// assert_eq!(loss.to_scalar::<f32>()?, 0.5 + 2.5);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn pointwise_loss(
    x: &Tensor,
    target: &Tensor,
    loss: PointwiseLoss,
    reduction: Reduction,
) -> Result<Tensor> {
    loss.check()?;
    apply(x, target, loss, None, reduction)
}

/// The weight of each element, and that of its positive part.
pub(super) type Constants = Option<(Tensor, Tensor)>;

pub(super) fn apply(
    x: &Tensor,
    target: &Tensor,
    loss: PointwiseLoss,
    constants: Constants,
    reduction: Reduction,
) -> Result<Tensor> {
    one_float_type(loss.name(), ("x", x), &[("target", target)])?;
    same_shape(loss.name(), ("x", x), ("target", target))?;
    let batch = x.dims().first().copied().unwrap_or(1);
    let op = Op {
        loss,
        constants,
        divisor: reduction.divisor(x.elem_count() as f64, batch),
        kernel: has_kernel(x),
    };
    let inputs = [x, target].map(|x| contiguous(&widen(x.clone())?));
    let [a, b] = inputs;
    let (a, b) = (a?, b?);
    let y = apply_n(&[&a, &b], op.value(&a.detach(), &b.detach())?, op.clone())?;
    let y = narrow_to(y, x.dtype())?;
    Ok(differentiable(y, move |inputs, _, dy| {
        op.gradients(inputs, &tracked(inputs), dy)
    }))
}

fn tracked(inputs: &[Tensor]) -> Vec<bool> {
    inputs.iter().map(Tensor::track_op).collect()
}

impl PointwiseLoss {
    fn name(&self) -> &'static str {
        match self {
            Self::Squared => "mse",
            Self::Absolute => "l1",
            Self::SmoothL1 { .. } => "smooth_l1",
            Self::Huber { .. } => "huber",
            Self::Logistic => "binary_cross_entropy_with_logits",
            Self::KlDiv | Self::KlDivOfLog => "kl_div",
            Self::PoissonNll { .. } => "poisson_nll",
            Self::GaussianNll { .. } => "gaussian_nll",
            Self::HingeEmbedding { .. } => "hinge_embedding",
            Self::MarginRanking { .. } => "margin_ranking",
            Self::Focal { .. } => "focal",
        }
    }

    fn check(&self) -> Result<()> {
        let (field, value, wanted, fits) = match *self {
            Self::SmoothL1 { beta } => ("beta", beta, "≥ 0", beta >= 0.),
            Self::Huber { delta } => ("delta", delta, "> 0", delta > 0.),
            Self::PoissonNll { eps, .. } | Self::GaussianNll { eps, .. } => {
                ("eps", eps, "> 0", eps > 0.)
            }
            Self::Focal {
                alpha: Some(alpha), ..
            } if !(0. ..=1.).contains(&alpha) => ("alpha", alpha, "in [0, 1]", false),
            Self::Focal { gamma, .. } => ("gamma", gamma, "≥ 0", gamma >= 0.),
            Self::HingeEmbedding { margin } | Self::MarginRanking { margin } => {
                ("margin", margin, "finite", margin.is_finite())
            }
            _ => return Ok(()),
        };
        match fits && value.is_finite() {
            true => Ok(()),
            false => bail!(
                "{} needs a finite {field} {wanted}, got {value}",
                self.name()
            ),
        }
    }
}

/// Runs an expression with the pair of a loss as a type of its own, so that each loop is compiled
/// for one loss.
macro_rules! with_pair {
    ($loss:expr, $pair:ident => $run:expr) => {
        match $loss {
            PointwiseLoss::Squared => with_pair!(@ Squared, $pair => $run),
            PointwiseLoss::Absolute => with_pair!(@ Absolute, $pair => $run),
            // A bend that no f32 sees.
            PointwiseLoss::SmoothL1 { beta } if beta < f64::from(f32::MIN_POSITIVE) => {
                with_pair!(@ Absolute, $pair => $run)
            }
            PointwiseLoss::SmoothL1 { beta } => {
                with_pair!(@ Bent { bend: beta, factor: beta.recip() }, $pair => $run)
            }
            PointwiseLoss::Huber { delta } => {
                with_pair!(@ Bent { bend: delta, factor: 1. }, $pair => $run)
            }
            PointwiseLoss::Logistic => with_pair!(@ Logistic, $pair => $run),
            PointwiseLoss::KlDiv => with_pair!(@ KlDiv, $pair => $run),
            PointwiseLoss::KlDivOfLog => with_pair!(@ KlDivOfLog, $pair => $run),
            PointwiseLoss::PoissonNll { log_input, full, eps } => {
                with_pair!(@ PoissonNll { log_input, full, eps }, $pair => $run)
            }
            PointwiseLoss::GaussianNll { full, eps } => {
                with_pair!(@ GaussianNll { full, eps }, $pair => $run)
            }
            PointwiseLoss::HingeEmbedding { margin } => {
                with_pair!(@ HingeEmbedding { margin }, $pair => $run)
            }
            PointwiseLoss::MarginRanking { margin } => {
                with_pair!(@ MarginRanking { margin }, $pair => $run)
            }
            PointwiseLoss::Focal { alpha, gamma } => {
                with_pair!(@ Focal { alpha, gamma }, $pair => $run)
            }
        }
    };
    (@ $value:expr, $pair:ident => $run:expr) => {{
        let $pair = $value;
        $run
    }};
}

#[derive(Clone)]
struct Op {
    loss: PointwiseLoss,
    constants: Constants,
    divisor: Option<f64>,
    kernel: bool,
}

/// The operands of a kernel, all of one length.
#[derive(Clone, Copy)]
struct Elements<'a, T> {
    x: &'a [T],
    t: &'a [T],
    constants: Option<(&'a [T], &'a [T])>,
}

impl<'a, T> Elements<'a, T> {
    fn part(&self, at: Range<usize>) -> Self {
        let cut = |(w, c): (&'a [T], &'a [T])| (&w[at.clone()], &c[at.clone()]);
        Self {
            constants: self.constants.map(cut),
            x: &self.x[at.clone()],
            t: &self.t[at],
        }
    }
}

fn chunk(index: usize, len: usize) -> Range<usize> {
    index * GRAIN..((index + 1) * GRAIN).min(len)
}

impl Op {
    fn value(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        if self.kernel {
            return by_dtype!(x.dtype(), "loss", self.forward::<T>(x, t));
        }
        let losses = self.operands(x, t).value(self.loss)?;
        let losses = self.weighted(losses)?;
        match self.divisor {
            Some(divisor) => {
                let total = losses.to_dtype(DType::F64)?.sum_all()?;
                (total / divisor)?.to_dtype(x.dtype())
            }
            None => Ok(losses),
        }
    }

    fn operands<'a>(&'a self, x: &'a Tensor, t: &'a Tensor) -> Operands<'a> {
        let positive = self.constants.as_ref().map(|(_, positive)| positive);
        Operands { x, t, positive }
    }

    fn weighted(&self, y: Tensor) -> Result<Tensor> {
        match &self.constants {
            Some((weight, _)) => y * weight,
            None => Ok(y),
        }
    }

    fn read<T: Exp, R>(
        &self,
        x: &Tensor,
        t: &Tensor,
        f: impl FnOnce(Elements<T>) -> Result<R>,
    ) -> Result<R> {
        read::<T, _>(x, |x| {
            read::<T, _>(t, |t| match &self.constants {
                None => f(Elements {
                    x,
                    t,
                    constants: None,
                }),
                Some((w, c)) => read::<T, _>(w, |w| {
                    read::<T, _>(c, |c| {
                        let constants = Some((w, c));
                        f(Elements { x, t, constants })
                    })
                }),
            })
        })
    }

    fn forward<T: Exp>(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        self.read(x, t, |elements: Elements<T>| match self.divisor {
            Some(divisor) => {
                let total = with_pair!(self.loss, pair => totals(pair, elements));
                tensor(vec![T::from_f64(total / divisor)], ())
            }
            None => {
                let losses = with_pair!(self.loss, pair => values(pair, elements));
                tensor(losses, x.dims())
            }
        })
    }

    fn backward<T: Exp, const TARGET: bool>(
        &self,
        x: &Tensor,
        t: &Tensor,
        dy: &Tensor,
    ) -> Result<Tensor> {
        let slopes = self.read(x, t, |elements| {
            read::<T, _>(dy, |dy| {
                let upstream = match self.divisor {
                    Some(divisor) => Upstream::One(dy[0] / T::from_f64(divisor)),
                    None => Upstream::Each(dy),
                };
                Ok(with_pair!(self.loss, pair => slopes::<T, _, TARGET>(pair, elements, upstream)))
            })
        })?;
        tensor(slopes, x.dims())
    }

    /// The gradients as operations of their own.
    fn gradients(
        &self,
        inputs: &[Tensor],
        wanted: &[bool],
        dy: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let dy = (dy / self.divisor.unwrap_or(1.))?;
        let operands = self.operands(&inputs[0], &inputs[1]);
        let times = |slope: Tensor| self.weighted(slope)?.broadcast_mul(&dy);
        let dx = || times(operands.slope(self.loss)?);
        let dt = || times(operands.target_slope(self.loss)?);
        Ok(vec![
            wanted[0].then(dx).transpose()?,
            wanted[1].then(dt).transpose()?,
        ])
    }

    fn kernel_gradients<T: Exp>(
        &self,
        x: &Tensor,
        t: &Tensor,
        dy: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let dx = || self.backward::<T, false>(&x.detach(), &t.detach(), dy);
        let dt = || self.backward::<T, true>(&x.detach(), &t.detach(), dy);
        Ok(vec![
            x.track_op().then(dx).transpose()?,
            t.track_op().then(dt).transpose()?,
        ])
    }
}

impl CustomOpN for Op {
    fn name(&self) -> &'static str {
        self.loss.name()
    }

    fn bwd(&self, inputs: &[Tensor], _: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, t, dy) = (&inputs[0], &inputs[1], &dy.detach());
        if self.kernel {
            return by_dtype!(x.dtype(), "loss", self.kernel_gradients::<T>(x, t, dy));
        }
        let detached = [x.detach(), t.detach()];
        self.gradients(&detached, &tracked(inputs), dy)
    }
}

fn totals<T: Exp, P: Pair<T>>(pair: P, all: Elements<T>) -> f64 {
    let len = all.x.len();
    let parts: Vec<f64> = (0..len.div_ceil(GRAIN))
        .into_par_iter()
        .map(|index| {
            let (mut total, elements) = (T::zero(), all.part(chunk(index, len)));
            dispatch(Total {
                pair,
                elements,
                total: &mut total,
            });
            total.wide()
        })
        .collect();
    parts.iter().sum()
}

fn values<T: Exp, P: Pair<T>>(pair: P, all: Elements<T>) -> Vec<T> {
    let len = all.x.len();
    let mut y = room(len);
    y.par_chunks_mut(GRAIN).enumerate().for_each(|(index, y)| {
        let elements = all.part(chunk(index, len));
        dispatch(Values { pair, elements, y });
    });
    // SAFETY: the chunks are all of it, and each writes all of its own.
    unsafe { written(y) }
}

#[derive(Clone, Copy)]
enum Upstream<'a, T> {
    One(T),
    Each(&'a [T]),
}

fn slopes<T: Exp, P: Pair<T>, const TARGET: bool>(
    pair: P,
    all: Elements<T>,
    dy: Upstream<T>,
) -> Vec<T> {
    let len = all.x.len();
    let mut y = room(len);
    y.par_chunks_mut(GRAIN).enumerate().for_each(|(index, y)| {
        let at = chunk(index, len);
        let dy = match dy {
            Upstream::Each(dy) => Upstream::Each(&dy[at.clone()]),
            one => one,
        };
        let elements = all.part(at);
        dispatch(Slopes::<T, P, TARGET> {
            pair,
            elements,
            dy,
            y,
        });
    });
    // SAFETY: as above.
    unsafe { written(y) }
}

struct Total<'a, T, P> {
    pair: P,
    elements: Elements<'a, T>,
    total: &'a mut T,
}

impl<T: Exp, P: Pair<T>> Kernel for Total<'_, T, P> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (x, len, one) = (self.elements.x, self.elements.x.len(), T::one());
        let t = &self.elements.t[..len];
        *self.total = match self.elements.constants {
            None => row_sum(len, |i| self.pair.value::<FMA>(x[i], t[i], one)),
            Some((w, c)) => {
                let (w, c) = (&w[..len], &c[..len]);
                row_sum(len, |i| w[i] * self.pair.value::<FMA>(x[i], t[i], c[i]))
            }
        };
    }
}

struct Values<'a, T, P> {
    pair: P,
    elements: Elements<'a, T>,
    y: &'a mut [MaybeUninit<T>],
}

impl<T: Exp, P: Pair<T>> Kernel for Values<'_, T, P> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let pairs = self.elements.x.iter().zip(self.elements.t);
        match self.elements.constants {
            None => write(self.y, pairs, |(x, t)| {
                self.pair.value::<FMA>(*x, *t, T::one())
            }),
            Some((w, c)) => write(self.y, pairs.zip(w.iter().zip(c)), |((x, t), (w, c))| {
                *w * self.pair.value::<FMA>(*x, *t, *c)
            }),
        }
    }
}

struct Slopes<'a, T, P, const TARGET: bool> {
    pair: P,
    elements: Elements<'a, T>,
    dy: Upstream<'a, T>,
    y: &'a mut [MaybeUninit<T>],
}

impl<T: Exp, P: Pair<T>, const TARGET: bool> Kernel for Slopes<'_, T, P, TARGET> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let slope = |(x, t): (&T, &T), c: T| match TARGET {
            true => self.pair.target_slope::<FMA>(*x, *t, c),
            false => self.pair.slope::<FMA>(*x, *t, c),
        };
        let (y, pairs) = (self.y, self.elements.x.iter().zip(self.elements.t));
        match (self.elements.constants, self.dy) {
            (None, Upstream::One(dy)) => write(y, pairs, |pair| slope(pair, T::one()) * dy),
            (None, Upstream::Each(dy)) => {
                write(y, pairs.zip(dy), |(pair, dy)| slope(pair, T::one()) * *dy);
            }
            (Some((w, c)), Upstream::One(dy)) => {
                write(y, pairs.zip(w.iter().zip(c)), |(pair, (w, c))| {
                    *w * slope(pair, *c) * dy
                });
            }
            (Some((w, c)), Upstream::Each(dy)) => {
                let operands = pairs.zip(w.iter().zip(c)).zip(dy);
                write(y, operands, |((pair, (w, c)), dy)| {
                    *w * slope(pair, *c) * *dy
                });
            }
        }
    }
}

/// Writes a function of each operand.
#[inline(always)]
fn write<T, X>(y: &mut [MaybeUninit<T>], operands: impl Iterator<Item = X>, f: impl Fn(X) -> T) {
    y.iter_mut().zip(operands).for_each(|(y, x)| {
        y.write(f(x));
    });
}
