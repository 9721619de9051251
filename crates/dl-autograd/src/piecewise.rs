//! Activations of several pieces: leaky ReLU, ELU and its kin, softplus, Mish, the hard ones.
//!
//! Which piece a kink belongs to is PyTorch's choice, and so is its derivative there.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use crate::activation::clamp;
use crate::elementwise::{Each, Elementwise, backward, forward};
use crate::host::{by_dtype, float, has_kernel};
use crate::pointwise::half_tanh;
use crate::smooth::Smooth;
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// `x` above 0, `slope·x` below, as `torch.nn.functional.leaky_relu`; PyTorch's default slope is 0.01.
///
/// Source: Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::leaky_relu(&Tensor::new(&[2f32, -2.], &Device::Cpu)?, 0.25)?;
/// assert_eq!(y.to_vec1::<f32>()?, [2., -0.5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    Piecewise::LeakyRelu { slope }.apply(x)
}

/// `x` above 0, `α·(eˣ − 1)` below, as `torch.nn.functional.elu`; PyTorch's default α is 1.
///
/// Source: Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by exponential
/// linear units", 2016.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::elu(&Tensor::new(&[2f64, -1.], &Device::Cpu)?, 1.)?.to_vec1::<f64>()?;
/// assert!((y[1] - -0.6321205588285577).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn elu(x: &Tensor, alpha: f64) -> Result<Tensor> {
    Piecewise::elu("elu", alpha, 1., 1.).apply(x)
}

/// `λ·elu(x, α)` with the two constants that keep mean 0 and variance 1, as `torch.nn.functional.selu`.
///
/// Source: Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks", 2017.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::selu(&Tensor::new(&[1f64], &Device::Cpu)?)?.to_vec1::<f64>()?;
/// assert!((y[0] - 1.0507009873554805).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn selu(x: &Tensor) -> Result<Tensor> {
    Piecewise::elu("selu", 1.6732632423543772, 1.0507009873554805, 1.).apply(x)
}

/// `x` above 0, `α·(e^(x/α) − 1)` below, as `torch.nn.functional.celu`: its derivative is continuous.
/// An error if α is 0.
///
/// Source: Barron, "Continuously differentiable exponential linear units", 2017.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::celu(&Tensor::new(&[-2f64], &Device::Cpu)?, 2.)?.to_vec1::<f64>()?;
/// assert!((y[0] - -1.2642411176571153).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn celu(x: &Tensor, alpha: f64) -> Result<Tensor> {
    if alpha == 0. {
        bail!("celu: alpha must not be 0, got {alpha}")
    }
    Piecewise::elu("celu", alpha, 1., 1. / alpha).apply(x)
}

/// `ln(1 + e^(βx))/β`, and `x` itself where `βx` is above the threshold, as
/// `torch.nn.functional.softplus`; PyTorch's defaults are 1 and 20. An error unless β is above 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::softplus(&Tensor::new(&[0f64, 50.], &Device::Cpu)?, 1., 20.)?;
/// assert_eq!(y.to_vec1::<f64>()?, [std::f64::consts::LN_2, 50.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn softplus(x: &Tensor, beta: f64, threshold: f64) -> Result<Tensor> {
    if beta.is_nan() || beta <= 0. {
        bail!("softplus: beta must be above 0, got {beta}")
    }
    Piecewise::Softplus { beta, threshold }.apply(x)
}

/// `ln(sigmoid(x))` without its overflow, as `torch.nn.functional.logsigmoid`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::log_sigmoid(&Tensor::new(&[0f64, -1e4], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec1::<f64>()?, [-std::f64::consts::LN_2, -1e4]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn log_sigmoid(x: &Tensor) -> Result<Tensor> {
    Piecewise::LogSigmoid.apply(x)
}

/// `x·tanh(softplus(x))`, as `torch.nn.functional.mish`.
///
/// Source: Misra, "Mish: a self regularized non-monotonic activation function", 2019.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::mish(&Tensor::new(&[1f64], &Device::Cpu)?)?.to_vec1::<f64>()?;
/// assert!((y[0] - 0.8650983882673103).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn mish(x: &Tensor) -> Result<Tensor> {
    Piecewise::Mish.apply(x)
}

/// `x·relu6(x + 3)/6`, as `torch.nn.functional.hardswish`.
///
/// Source: Howard et al., "Searching for MobileNetV3", 2019.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::hard_swish(&Tensor::new(&[-4f64, 0., 1.5, 4.], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec1::<f64>()?, [0., 0., 1.125, 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn hard_swish(x: &Tensor) -> Result<Tensor> {
    Piecewise::HardSwish.apply(x)
}

/// `relu6(x + 3)/6`, as `torch.nn.functional.hardsigmoid`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::hard_sigmoid(&Tensor::new(&[-4f64, 0., 1.5, 4.], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec1::<f64>()?, [0., 0.5, 0.75, 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn hard_sigmoid(x: &Tensor) -> Result<Tensor> {
    Piecewise::HardSigmoid.apply(x)
}

/// `x` held between two values, as `torch.nn.functional.hardtanh`; no gradient passes at or beyond
/// them. An error unless `min` is below `max`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::hard_tanh(&Tensor::new(&[-4f64, 0.5, 4.], &Device::Cpu)?, -1., 1.)?;
/// assert_eq!(y.to_vec1::<f64>()?, [-1., 0.5, 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn hard_tanh(x: &Tensor, min: f64, max: f64) -> Result<Tensor> {
    if min.is_nan() || max.is_nan() || min >= max {
        bail!("hard_tanh: min must be below max, got {min} and {max}")
    }
    Piecewise::HardTanh { min, max }.apply(x)
}

/// `x/(1 + |x|)`, as `torch.nn.functional.softsign`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::softsign(&Tensor::new(&[-3f64, 1.], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec1::<f64>()?, [-0.75, 0.5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn softsign(x: &Tensor) -> Result<Tensor> {
    Piecewise::Softsign.apply(x)
}

#[derive(Clone, Copy)]
enum Piecewise {
    LeakyRelu {
        slope: f64,
    },
    /// `above·x` above 0, `below·(e^(inner·x) − 1)` below.
    Elu {
        name: &'static str,
        above: f64,
        below: f64,
        inner: f64,
    },
    Softplus {
        beta: f64,
        threshold: f64,
    },
    LogSigmoid,
    Mish,
    HardSwish,
    HardSigmoid,
    HardTanh {
        min: f64,
        max: f64,
    },
    Softsign,
}

/// `x` held between 0 and `top`; NaN stays.
#[inline(always)]
fn hard<T: Smooth>(x: T, top: T) -> T {
    clamp(x, (T::zero(), top))
}

impl Elementwise for Piecewise {
    #[inline(always)]
    fn value<T: Smooth, const FMA: bool>(self, to: impl Each<T>) {
        let (zero, one, c) = (T::zero(), T::one(), T::from_f64);
        match self {
            Self::LeakyRelu { slope } => {
                let slope = c(slope);
                to.each(|x| if x > zero { x } else { slope * x });
            }
            Self::Elu {
                above,
                below,
                inner,
                ..
            } => {
                let [above, below, inner] = [above, below, inner].map(c);
                to.each(|x| {
                    let curve = below * (inner * x).exp_minus_1::<FMA>();
                    if x > zero { above * x } else { curve }
                });
            }
            Self::Softplus { beta, threshold } => {
                let [beta, threshold] = [beta, threshold].map(c);
                to.each(|x| {
                    let curve = (beta * x).ln_1p_exp::<FMA>() / beta;
                    if beta * x > threshold { x } else { curve }
                });
            }
            Self::LogSigmoid => to.each(|x| -(-x).ln_1p_exp::<FMA>()),
            Self::Mish => to.each(|x| {
                let [_, n] = powers::<T, FMA>(x);
                x * (n / (n + c(2.)))
            }),
            Self::HardSwish => to.each(|x| x * hard(x + c(3.), c(6.)) / c(6.)),
            Self::HardSigmoid => to.each(|x| hard(x + c(3.), c(6.)) / c(6.)),
            Self::HardTanh { min, max } => {
                let (low, width) = (c(min), c(max - min));
                to.each(|x| low + hard(x - low, width));
            }
            Self::Softsign => to.each(|x| x / (one + x.abs())),
        }
    }

    #[inline(always)]
    fn derivative<T: Smooth, const FMA: bool>(self, to: impl Each<T>) {
        let (zero, one, c) = (T::zero(), T::one(), T::from_f64);
        match self {
            Self::LeakyRelu { slope } => {
                let slope = c(slope);
                to.each(|x| if x > zero { one } else { slope });
            }
            Self::Elu {
                above,
                below,
                inner,
                ..
            } => {
                let [above, below, inner] = [above, below * inner, inner].map(c);
                to.each(|x| {
                    let curve = below * (inner * x).exp_any::<FMA>();
                    if x > zero { above } else { curve }
                });
            }
            Self::Softplus { beta, threshold } => {
                let [beta, threshold] = [beta, threshold].map(c);
                to.each(|x| {
                    let curve = (beta * x).sigmoid::<FMA>();
                    if beta * x > threshold { one } else { curve }
                });
            }
            Self::LogSigmoid => to.each(|x| (-x).sigmoid::<FMA>()),
            Self::Mish => to.each(|x| {
                let [e, n] = powers::<T, FMA>(x);
                let share = (n + c(2.)).recip();
                n * share + x * c(4.) * (e * share) * ((e + one) * share)
            }),
            Self::HardSwish => to.each(|x| {
                let curve = x / c(3.) + c(0.5);
                let top = if x < c(3.) { curve } else { one };
                if x <= c(-3.) { zero } else { top }
            }),
            Self::HardSigmoid => to.each(|x| inner_slope(x, (c(-3.), c(3.)), c(1. / 6.))),
            Self::HardTanh { min, max } => {
                let bounds = (c(min), c(max));
                to.each(|x| inner_slope(x, bounds, one));
            }
            Self::Softsign => to.each(|x| {
                let d = one + x.abs();
                (d * d).recip()
            }),
        }
    }
}

/// `e = eˣ` and `n = e·(e + 2)`, by which `tanh(ln(1 + eˣ)) = n/(n + 2)` and
/// `(1 − tanh²)·sigmoid(x) = 4·e·(e + 1)/(n + 2)²`. Beyond 40 both are what they are at infinity.
#[inline(always)]
fn powers<T: Smooth, const FMA: bool>(x: T) -> [T; 2] {
    let end = T::from_f64(40.);
    let e = (if x > end { end } else { x }).exp_below::<FMA>();
    [e, e * (e + T::from_f64(2.))]
}

/// `slope` between the bounds, 0 at and beyond them.
#[inline(always)]
fn inner_slope<T: Smooth>(x: T, (low, high): (T, T), slope: T) -> T {
    // Both comparisons always: a branch would keep the loop from becoming vectors.
    if (x > low) & (x < high) {
        slope
    } else {
        T::zero()
    }
}

impl Piecewise {
    fn elu(name: &'static str, alpha: f64, scale: f64, inner: f64) -> Self {
        let (above, below) = (scale, alpha * scale);
        Self::Elu {
            name,
            above,
            below,
            inner,
        }
    }

    fn apply(self, x: &Tensor) -> Result<Tensor> {
        float(self.name(), ("x", x))?;
        if !has_kernel(x) {
            return self.composed(x);
        }
        let y = apply1(&contiguous(x)?, self)?;
        Ok(differentiable(y, move |x, _, dy| {
            Ok(vec![Some((dy * self.slope(&x[0])?)?)])
        }))
    }

    /// No branch sees numbers that it could overflow on: a NaN there would reach the gradient.
    fn composed(self, x: &Tensor) -> Result<Tensor> {
        let zero = x.zeros_like()?;
        match self {
            Self::LeakyRelu { slope } => x.gt(0.)?.where_cond(x, &(x * slope)?),
            Self::Elu {
                above,
                below,
                inner,
                ..
            } => {
                let positive = x.gt(0.)?;
                let negative = positive.where_cond(&zero, x)?;
                let curve = (((negative * inner)?.exp()? - 1.)? * below)?;
                positive.where_cond(&(x * above)?, &curve)
            }
            Self::Softplus { beta, threshold } => {
                let t = (x * beta)?;
                t.gt(threshold)?
                    .where_cond(x, &(composed_log1p_exp(&t)? / beta)?)
            }
            Self::LogSigmoid => composed_log1p_exp(&x.neg()?)?.neg(),
            Self::Mish => x * composed_log1p_exp(x)?.tanh()?,
            Self::HardSwish => {
                let curve = (x * x.affine(1. / 6., 0.5)?)?;
                let top = x.ge(3.)?.where_cond(x, &zero)?;
                inside(x, -3., 3.)?.where_cond(&curve, &top)
            }
            Self::HardSigmoid => {
                let top = x.ge(3.)?.to_dtype(x.dtype())?;
                inside(x, -3., 3.)?.where_cond(&x.affine(1. / 6., 0.5)?, &top)
            }
            Self::HardTanh { min, max } => {
                let held = x.detach().clamp(min, max)?;
                inside(x, min, max)?.where_cond(x, &held)
            }
            Self::Softsign => x / (magnitude(x)? + 1.)?,
        }
    }

    /// The derivative as operations of candle.
    fn slope(self, x: &Tensor) -> Result<Tensor> {
        let one = x.ones_like()?;
        let not = |t: &Tensor| t.affine(-1., 1.);
        match self {
            Self::LeakyRelu { slope } => x.gt(0.)?.where_cond(&one, &(&one * slope)?),
            Self::Elu {
                above,
                below,
                inner,
                ..
            } => {
                let positive = x.gt(0.)?;
                let negative = positive.where_cond(&x.zeros_like()?, x)?;
                let curve = ((negative * inner)?.exp()? * (below * inner))?;
                positive.where_cond(&(one * above)?, &curve)
            }
            Self::Softplus { beta, threshold } => {
                let t = (x * beta)?;
                t.gt(threshold)?.where_cond(&one, &half_tanh(&t)?)
            }
            Self::LogSigmoid => half_tanh(&x.neg()?),
            Self::Mish => {
                let t = composed_log1p_exp(x)?.tanh()?;
                let rest = ((x * not(&t.sqr()?)?)? * half_tanh(x)?)?;
                t + rest
            }
            Self::HardSwish => {
                let top = x.ge(3.)?.to_dtype(x.dtype())?;
                inside(x, -3., 3.)?.where_cond(&x.affine(1. / 3., 0.5)?, &top)
            }
            Self::HardSigmoid => inside(x, -3., 3.)?.to_dtype(x.dtype())? / 6.,
            Self::HardTanh { min, max } => inside(x, min, max)?.to_dtype(x.dtype()),
            Self::Softsign => (magnitude(x)? + 1.)?.sqr()?.recip(),
        }
    }
}

fn inside(x: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    x.gt(low)? * x.lt(high)?
}

/// `|x|` by its two pieces.
fn magnitude(x: &Tensor) -> Result<Tensor> {
    x.gt(0.)?.where_cond(x, &x.neg()?)
}

fn composed_log1p_exp(t: &Tensor) -> Result<Tensor> {
    let positive = t.gt(0.)?;
    let negative = positive.where_cond(&t.neg()?, t)?;
    let line = positive.where_cond(t, &t.zeros_like()?)?;
    line + (negative.exp()? + 1.)?.log()?
}

impl CustomOp1 for Piecewise {
    fn name(&self) -> &'static str {
        match self {
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::Elu { name, .. } => name,
            Self::Softplus { .. } => "softplus",
            Self::LogSigmoid => "log_sigmoid",
            Self::Mish => "mish",
            Self::HardSwish => "hard_swish",
            Self::HardSigmoid => "hard_sigmoid",
            Self::HardTanh { .. } => "hard_tanh",
            Self::Softsign => "softsign",
        }
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(s.dtype(), "activation", forward::<T>(*self, s, l))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(x.dtype(), "activation", backward::<T>(*self, x, dy)).map(Some)
    }
}
