//! Smooth activations: sigmoid, tanh, SiLU, GELU.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, InplaceOp1, Layout, Result, Shape, Tensor, bail};

use crate::elementwise::{Each, Elementwise, backward, forward, replace};
use crate::host::{by_dtype, float, has_kernel, is_half, range};
use crate::smooth::Smooth;
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// `1/(1 + e⁻ˣ)`, as `torch.sigmoid`. Neither side overflows.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::sigmoid(&Tensor::new(&[0f32, 1e4, -1e4], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec1::<f32>()?, [0.5, 1., 0.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Pointwise::Sigmoid.apply(x)
}

/// The hyperbolic tangent, as `torch.tanh`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::tanh(&Tensor::new(&[0f32, 50.], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec1::<f32>()?, [0., 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    Pointwise::Tanh.apply(x)
}

/// `x·sigmoid(x)`, as `torch.nn.functional.silu`; swish with β = 1.
///
/// Source: Elfwing, Uchibe, Doya, "Sigmoid-weighted linear units", 2017.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::silu(&Tensor::new(&[0f64, 1.], &Device::Cpu)?)?.to_vec1::<f64>()?;
/// assert!((y[1] - 0.7310585786300049).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn silu(x: &Tensor) -> Result<Tensor> {
    Pointwise::Silu.apply(x)
}

/// `x·Φ(x)` with the normal distribution's Φ by the error function, as `torch.nn.functional.gelu`.
///
/// Source: Hendrycks, Gimpel, "Gaussian error linear units", 2016.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::gelu(&Tensor::new(&[0f64, 1.], &Device::Cpu)?)?.to_vec1::<f64>()?;
/// assert!((y[1] - 0.8413447460685429).abs() < 1e-14);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    Pointwise::Gelu.apply(x)
}

/// `x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`: GELU as GPT-2 has it, `approximate="tanh"` in PyTorch.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::gelu_tanh(&Tensor::new(&[0f64, 1.], &Device::Cpu)?)?.to_vec1::<f64>()?;
/// assert!((y[1] - 0.8411919906082768).abs() < 1e-14);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    Pointwise::GeluTanh.apply(x)
}

/// [`gelu`] of a tensor that nobody else holds: in its place where no gradient needs it.
pub(crate) fn gelu_of(x: Tensor) -> Result<Tensor> {
    if x.track_op() || !has_kernel(&x) || is_half(x.dtype()) {
        return gelu(&x);
    }
    x.inplace_op1(&InPlace(Pointwise::Gelu))?;
    Ok(x)
}

#[derive(Clone, Copy)]
enum Pointwise {
    Sigmoid,
    Tanh,
    Silu,
    Gelu,
    GeluTanh,
}

/// `√(2/π)` and the weight of the cube in the tanh form of GELU.
const ROOT: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
const CUBE: f64 = 0.044715;

#[inline(always)]
fn gelu_tanh_inner<T: Smooth, const FMA: bool>(x: T) -> (T, T) {
    let (root, cube) = (T::from_f64(ROOT), T::from_f64(CUBE));
    let t = (root * (x + cube * x * x * x)).fast_tanh::<FMA>();
    let slope = root * (T::one() + T::from_f64(3.) * cube * x * x);
    (t, slope)
}

impl Elementwise for Pointwise {
    #[inline(always)]
    fn value<T: Smooth, const FMA: bool>(self, to: impl Each<T>) {
        let (one, half) = (T::one(), T::from_f64(0.5));
        match self {
            Self::Sigmoid => to.each(|x| x.sigmoid::<FMA>()),
            Self::Tanh => to.each(|x| x.fast_tanh::<FMA>()),
            Self::Silu => to.each(|x| x * x.sigmoid::<FMA>()),
            Self::Gelu => to.each(|x| x * x.normal_cdf::<FMA>()),
            Self::GeluTanh => {
                to.each(|x| half * x * (one + gelu_tanh_inner::<T, FMA>(x).0));
            }
        }
    }

    #[inline(always)]
    fn derivative<T: Smooth, const FMA: bool>(self, to: impl Each<T>) {
        let (one, half) = (T::one(), T::from_f64(0.5));
        match self {
            Self::Sigmoid => to.each(|x| x.sigmoid::<FMA>() * (-x).sigmoid::<FMA>()),
            Self::Tanh => to.each(|x| {
                let t = x.fast_tanh::<FMA>();
                one - t * t
            }),
            Self::Silu => to.each(|x| {
                let s = x.sigmoid::<FMA>();
                s * (one + x * (one - s))
            }),
            Self::Gelu => to.each(|x| x.normal_cdf::<FMA>() + x * x.normal_density::<FMA>()),
            Self::GeluTanh => to.each(|x| {
                let (t, slope) = gelu_tanh_inner::<T, FMA>(x);
                half * (one + t) + half * x * (one - t * t) * slope
            }),
        }
    }
}

impl Pointwise {
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

    fn composed(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Sigmoid => half_tanh(x),
            Self::Tanh => x.tanh(),
            Self::Silu => x * half_tanh(x)?,
            Self::Gelu => x * cdf(x)?,
            Self::GeluTanh => (x * 0.5)? * (inner(x)?.tanh()? + 1.)?,
        }
    }

    /// The derivative as operations of candle.
    fn slope(self, x: &Tensor) -> Result<Tensor> {
        let not = |t: &Tensor| t.affine(-1., 1.);
        match self {
            Self::Sigmoid => {
                let s = half_tanh(x)?;
                &s * not(&s)?
            }
            Self::Tanh => not(&x.tanh()?.sqr()?),
            Self::Silu => {
                let s = half_tanh(x)?;
                &s * ((x * not(&s)?)? + 1.)?
            }
            Self::Gelu => {
                let density = ((x.sqr()? * -0.5)?.exp()? * (0.5 * ROOT))?;
                cdf(x)? + (x * density)?
            }
            Self::GeluTanh => {
                let t = inner(x)?.tanh()?;
                let slope = (x.sqr()?.affine(3. * CUBE, 1.)? * ROOT)?;
                let first = ((&t + 1.)? * 0.5)?;
                first + ((x * 0.5)? * (not(&t.sqr()?)? * slope)?)?
            }
        }
    }
}

/// The logistic function by tanh, which candle has and which does not overflow.
pub(crate) fn half_tanh(x: &Tensor) -> Result<Tensor> {
    ((x * 0.5)?.tanh()? + 1.)? * 0.5
}

fn cdf(x: &Tensor) -> Result<Tensor> {
    ((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.)? * 0.5
}

fn inner(x: &Tensor) -> Result<Tensor> {
    (x + (x.sqr()? * x)?.affine(CUBE, 0.)?)? * ROOT
}

impl CustomOp1 for Pointwise {
    fn name(&self) -> &'static str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Silu => "silu",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
        }
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(s.dtype(), "activation", forward::<T>(*self, s, l))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(x.dtype(), "activation", backward::<T>(*self, x, dy)).map(Some)
    }
}

struct InPlace(Pointwise);

impl InplaceOp1 for InPlace {
    fn name(&self) -> &'static str {
        CustomOp1::name(&self.0)
    }

    fn cpu_fwd(&self, s: &mut CpuStorage, l: &Layout) -> Result<()> {
        match s {
            CpuStorage::F32(x) => replace(self.0, &mut x[range(l)?]),
            CpuStorage::F64(x) => replace(self.0, &mut x[range(l)?]),
            _ => bail!("{} has no kernel for {:?}", self.name(), s.dtype()),
        }
        Ok(())
    }
}
