//! Gradient clipping: by a common norm, parameter by parameter, unit by unit, and by value.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};

use crate::NormType;
use crate::rule::{require, require_not_negative};
use crate::sweep::Intake;
use crate::update::slot_dtype;

/// How gradients are limited before a step.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Clip, Optimizer, Sgd};
/// let x = Var::new(&[3.0_f64, 4.0], &Device::Cpu)?; // the gradient of x²/2 is x: norm 5
/// let params = [("x".to_string(), x.clone())];
/// let mut sgd = Optimizer::new(params, Sgd { lr: 1.0, ..Sgd::default() })?.clip(Clip::Norm(1.0))?;
/// sgd.step(&(x.sqr()?.sum_all()? * 0.5)?.backward()?)?;
/// assert_eq!(sgd.grad_norm(), Some(5.0));
/// assert!((x.to_vec1::<f64>()?[0] - 2.4).abs() < 1e-6);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Scales all gradients together so that their common norm is at most this, `> 0`.
    Norm(f64),
    /// Limits every element to ± this, `> 0`.
    Value(f64),
    /// As [`Clip::Norm`], with another norm.
    NormOf(NormType, f64),
    /// Scales the gradient of each parameter by itself so that its norm is at most this, `> 0`.
    EachNorm(NormType, f64),
    /// Adaptive gradient clipping: limits the gradient of each output unit to a share of the norm of
    /// the unit's weights.
    ///
    /// ```text
    /// gᵤ ← gᵤ · min(1, factor · max(‖θᵤ‖₂, eps) / max(‖gᵤ‖₂, 10⁻⁶))
    /// ```
    ///
    /// A unit is an index of the first dimension, in PyTorch's layout of weights; vectors and
    /// scalars are one unit. The paper leaves the last linear layer out: give it an optimizer of its
    /// own, or clip with [`clip_grads`] first.
    ///
    /// Source: A. Brock, S. De, S. Smith, K. Simonyan, 2021, High-Performance Large-Scale Image
    /// Recognition Without Normalization.
    Adaptive {
        /// The share, `> 0`; timm's default is 0.01.
        factor: f64,
        /// The least norm that weights count with, `>= 0`; the paper's is 1e-3.
        eps: f64,
    },
}

impl Clip {
    pub(crate) fn validate(self) -> crate::Result<()> {
        let (field, limit) = match self {
            Self::Norm(limit) | Self::NormOf(_, limit) | Self::EachNorm(_, limit) => {
                ("norm", limit)
            }
            Self::Value(limit) => ("value", limit),
            Self::Adaptive { factor, eps } => {
                require_not_negative("clip", "eps", eps)?;
                ("factor", factor)
            }
        };
        require(limit > 0.0, "clip", field, "> 0", limit)
    }

    /// What is common to all gradients: how they are read, and the norm they have together.
    pub(crate) fn common<'a>(
        self,
        gradients: impl IntoIterator<Item = &'a Tensor>,
        scale: f64,
    ) -> Result<(Intake, Option<f64>)> {
        let unlimited = f64::INFINITY;
        let (kind, max_norm) = match self {
            Self::Norm(max_norm) => (NormType::L2, max_norm),
            Self::NormOf(kind, max_norm) => (kind, max_norm),
            Self::Value(limit) => return Ok((Intake { scale, limit }, None)),
            Self::EachNorm(..) | Self::Adaptive { .. } => {
                let limit = unlimited;
                return Ok((Intake { scale, limit }, None));
            }
        };
        let norm = kind.of(gradients)? * scale.abs();
        let intake = Intake {
            scale: scale * norm_coefficient(norm, max_norm),
            limit: unlimited,
        };
        Ok((intake, Some(norm)))
    }

    /// What is done to one gradient beside that.
    pub(crate) fn single(
        self,
        theta: &Tensor,
        gradient: &Tensor,
        intake: Intake,
    ) -> Result<(Tensor, Intake)> {
        match self {
            Self::EachNorm(kind, max_norm) => {
                let norm = kind.of([gradient])? * intake.scale.abs();
                let scale = intake.scale * norm_coefficient(norm, max_norm);
                Ok((gradient.clone(), Intake { scale, ..intake }))
            }
            Self::Adaptive { factor, eps } => {
                let dtype = slot_dtype(theta.dtype());
                let wide = gradient.detach().to_dtype(dtype)?;
                let wide = wide.affine(intake.scale, 0.0)?;
                let theta = theta.detach().to_dtype(dtype)?;
                let gradient = clip_units(&theta, &wide, factor, eps)?;
                Ok((
                    gradient,
                    Intake {
                        scale: 1.0,
                        ..intake
                    },
                ))
            }
            Self::Norm(_) | Self::Value(_) | Self::NormOf(..) => Ok((gradient.clone(), intake)),
        }
    }
}

fn clip_units(theta: &Tensor, gradient: &Tensor, factor: f64, eps: f64) -> Result<Tensor> {
    if gradient.elem_count() == 0 {
        return Ok(gradient.clone());
    }
    let most = (unit_norms(theta)?.maximum(eps)? * factor)?;
    let share = (most / unit_norms(gradient)?.maximum(1e-6)?)?;
    gradient.broadcast_mul(&share.minimum(1.0)?)
}

/// The norm of each index of the first dimension; one norm for vectors and scalars.
fn unit_norms(x: &Tensor) -> Result<Tensor> {
    let first = if x.rank() <= 1 { 0 } else { 1 };
    let dims: Vec<usize> = (first..x.rank()).collect();
    x.sqr()?.sum_keepdim(dims)?.sqrt()
}

/// Limits the gradients of `params` in any of the ways of [`Clip`]; returns the norm they had where
/// that is a common one.
///
/// Parameters without a gradient are skipped. An optimizer with [`Optimizer::clip`] does the same
/// within its step.
///
/// [`Optimizer::clip`]: crate::Optimizer::clip
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Clip, NormType, clip_grads};
/// let x = Var::new(&[3.0_f64, -1.0], &Device::Cpu)?;
/// let mut grads = (x.sqr()?.sum_all()? * 0.5)?.backward()?;
/// let norm = clip_grads(&mut grads, [("x", &x)], Clip::NormOf(NormType::L1, 2.0))?;
/// let clipped = grads.get(&x).expect("it has one").to_vec1::<f64>()?;
/// assert!(norm == Some(4.0) && (clipped[0] - 1.5).abs() < 1e-6);
/// # Ok::<(), dl_optim::Error>(())
/// ```
pub fn clip_grads<'a, N: AsRef<str>>(
    grads: &mut GradStore,
    params: impl IntoIterator<Item = (N, &'a Var)>,
    clip: Clip,
) -> crate::Result<Option<f64>> {
    clip.validate()?;
    let params = sorted(params);
    let (common, norm) = clip.common(params.values().filter_map(|var| grads.get(var)), 1.0)?;
    replace(grads, params.into_values(), |var, g| {
        let (g, Intake { scale, limit }) = clip.single(var, g, common)?;
        let g = g.to_dtype(var.dtype())?;
        let g = if scale == 1.0 {
            g
        } else {
            g.affine(scale, 0.0)?
        };
        if limit.is_finite() {
            g.clamp(-limit, limit)
        } else {
            Ok(g)
        }
    })?;
    Ok(norm)
}

/// Scales the gradients of `params` so that their common norm is at most `max_norm`; returns the
/// norm they had.
///
/// ```text
/// g ← g · min(1, max_norm / (‖g‖₂ + 10⁻⁶))
/// ```
///
/// As `torch.nn.utils.clip_grad_norm_`: parameters without a gradient are skipped, and a norm that
/// is not a number spreads to every gradient. The norm is summed in f64 in name order and is
/// bit-identical for any number of threads. An optimizer with [`Clip::Norm`] does the same without
/// a pass over the gradients of its own.
///
/// Source: R. Pascanu, T. Mikolov, Y. Bengio, 2013, On the difficulty of training recurrent neural
/// networks.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::clip_grad_norm;
/// let x = Var::new(&[3.0_f64, 4.0], &Device::Cpu)?;
/// let mut grads = (x.sqr()?.sum_all()? * 0.5)?.backward()?;
/// assert_eq!(clip_grad_norm(&mut grads, [("x", &x)], 0.5)?, 5.0);
/// let clipped = grads.get(&x).expect("it has one").to_vec1::<f64>()?;
/// assert!((clipped[1] - 0.4).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn clip_grad_norm<'a, N: AsRef<str>>(
    grads: &mut GradStore,
    params: impl IntoIterator<Item = (N, &'a Var)>,
    max_norm: f64,
) -> Result<f64> {
    let params = sorted(params);
    let norm = global_norm(params.values().filter_map(|var| grads.get(var)))?;
    let coefficient = norm_coefficient(norm, max_norm);
    if coefficient != 1.0 {
        // Not in place: gradients may share memory with each other.
        replace(grads, params.into_values(), |_, g| {
            g.affine(coefficient, 0.0)
        })?;
    }
    Ok(norm)
}

/// Limits every element of the gradients of `params` to `[−limit, limit]`.
///
/// As `torch.nn.utils.clip_grad_value_`: parameters without a gradient are skipped.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::clip_grad_value;
/// let x = Var::new(&[3.0_f64, -0.25], &Device::Cpu)?;
/// let mut grads = x.sqr()?.sum_all()?.backward()?;
/// clip_grad_value(&mut grads, [("x", &x)], 1.0)?;
/// assert_eq!(grads.get(&x).expect("it has one").to_vec1::<f64>()?, [1.0, -0.5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn clip_grad_value<'a, N: AsRef<str>>(
    grads: &mut GradStore,
    params: impl IntoIterator<Item = (N, &'a Var)>,
    limit: f64,
) -> Result<()> {
    replace(grads, sorted(params).into_values(), |_, g| {
        g.clamp(-limit, limit)
    })
}

/// The common Euclidean norm of gradients, summed in f64 in the order given.
///
/// Every 32,768 elements give one partial sum, and those are added in order: the result is
/// bit-identical for any number of threads.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let a = Tensor::new(&[3.0_f32], &Device::Cpu)?;
/// let b = Tensor::new(&[0.0_f32, 4.0], &Device::Cpu)?;
/// assert_eq!(dl_optim::global_norm([&a, &b])?, 5.0);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn global_norm<'a>(gradients: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    NormType::L2.of(gradients)
}

/// PyTorch's factor, kept at 1 or below; not a number if the norm is not.
pub(crate) fn norm_coefficient(norm: f64, max_norm: f64) -> f64 {
    let coefficient = max_norm / (norm + 1e-6);
    if coefficient > 1.0 { 1.0 } else { coefficient }
}

pub(crate) fn sorted<'a, N: AsRef<str>>(
    params: impl IntoIterator<Item = (N, &'a Var)>,
) -> BTreeMap<String, &'a Var> {
    params
        .into_iter()
        .map(|(name, var)| (name.as_ref().to_string(), var))
        .collect()
}

pub(crate) fn replace<'a>(
    grads: &mut GradStore,
    vars: impl Iterator<Item = &'a Var>,
    change: impl Fn(&Var, &Tensor) -> Result<Tensor>,
) -> Result<()> {
    for var in vars {
        if let Some(old) = grads.get(var) {
            let new = change(var, &old.detach())?;
            grads.insert(var, new);
        }
    }
    Ok(())
}
