//! Powers with a tensor or a number as exponent.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::elementwise::{Each, Elementwise, backward, values};
use crate::host::{by_dtype, float, has_kernel, if_tracked, is_half, one_float_type, read, tensor};
use crate::many_inputs::CustomOpN;
use crate::simd::Scalar;
use crate::smooth::Smooth;
use crate::tape::{apply_n, differentiable};
use crate::view::expand;

/// `xʸ` element by element, as `torch.pow`; the shapes broadcast.
///
/// ```text
/// ∂x = dy·y·xʸ⁻¹, 0 where y = 0          ∂y = dy·xʸ·ln x, 0 where x = 0 and y ≥ 0
/// ```
///
/// A negative base has a power, and a gradient, where the exponent is whole; its gradient for the
/// exponent is NaN, as in PyTorch. candle's own computes `exp(y·ln x)`, NaN for every negative base.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[-2f32, 4.], &Device::Cpu)?;
/// let y = Tensor::new(&[3f32, 0.5], &Device::Cpu)?;
/// assert_eq!(dl_autograd::pow(&x, &y)?.to_vec1::<f32>()?, [-8., 2.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn pow(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    one_float_type("pow", ("x", x), &[("y", y)])?;
    let shape = x.shape().broadcast_shape_binary_op(y.shape(), "pow")?;
    let x = expand(x, shape.dims().to_vec())?;
    let y = expand(y, shape.dims().to_vec())?;
    let power = raise(&x.detach(), &y.detach())?;
    let power = apply_n(&[&x, &y], power, Pow)?;
    Ok(differentiable(power, |i, z, dy| {
        Pow::gradients(i, [&i[0], &i[1]], z, dy)
    }))
}

/// `xᵉ` element by element, as `torch.pow` with a number.
///
/// ```text
/// ∂x = dy·e·xᵉ⁻¹, 0 where e = 0
/// ```
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = dl_autograd::powf(&Tensor::new(&[-2f32, 0.], &Device::Cpu)?, 3.)?;
/// assert_eq!(y.to_vec1::<f32>()?, [-8., 0.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn powf(x: &Tensor, exponent: f64) -> Result<Tensor> {
    float("powf", ("x", x))?;
    let power = raise_to(&x.detach(), exponent)?;
    let power = apply_n(&[x], power, PowF(exponent))?;
    Ok(differentiable(power, move |x, _, dy| {
        Ok(vec![Some(PowF(exponent).gradient(&x[0], dy)?)])
    }))
}

fn raise(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if !has_kernel(x) || is_half(x.dtype()) || x.dtype() != y.dtype() {
        return composed(x, y);
    }
    by_dtype!(x.dtype(), "pow", kernel::<T>(x, y))
}

fn kernel<T: Scalar>(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let power = read::<T, _>(x, |x| {
        read::<T, _>(y, |y| {
            let pairs = x.par_iter().with_min_len(GRAIN / 16).zip(y);
            Ok(pairs.map(|(x, y)| x.powf(*y)).collect())
        })
    })?;
    tensor(power, x.dims())
}

/// `|x|ʸ = exp(y·ln|x|)` with the sign of an odd exponent, NaN for a broken one of a negative base.
fn composed(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let one = y.ones_like()?;
    let size = (y * x.abs()?.log()?)?.exp()?;
    let size = y.eq(0.)?.where_cond(&one, &size)?;
    let half = (y * 0.5)?;
    let is_odd = half.floor()?.ne(&half)?;
    let signed = is_odd.where_cond(&size.neg()?, &size)?;
    let nan = one.affine(0., f64::NAN)?;
    let negative = y.floor()?.eq(y)?.where_cond(&signed, &nan)?;
    x.lt(0.)?.where_cond(&negative, &size)
}

fn raise_to(x: &Tensor, exponent: f64) -> Result<Tensor> {
    if !has_kernel(x) || is_half(x.dtype()) {
        let exponent = x.ones_like()?.affine(0., exponent)?;
        return composed(x, &exponent);
    }
    by_dtype!(x.dtype(), "pow", kernel_to::<T>(x, exponent))
}

fn kernel_to<T: Smooth>(x: &Tensor, exponent: f64) -> Result<Tensor> {
    let power = read::<T, _>(x, |x| Ok(values(PowF(exponent), x)))?;
    tensor(power, x.dims())
}

/// `factor·xᵉ`. The exponents that PyTorch has a way of its own for.
#[inline(always)]
fn power<T: Smooth>(factor: T, exponent: f64, to: impl Each<T>) {
    match exponent {
        0. => to.each(|_| factor),
        1. => to.each(|x| factor * x),
        2. => to.each(|x| factor * (x * x)),
        3. => to.each(|x| factor * (x * x * x)),
        0.5 => to.each(|x| factor * x.sqrt()),
        -0.5 => to.each(|x| factor / x.sqrt()),
        -1. => to.each(|x| factor / x),
        -2. => to.each(|x| factor / (x * x)),
        _ => {
            let exponent = T::from_f64(exponent);
            to.each(|x| factor * x.powf(exponent));
        }
    }
}

struct Pow;

impl Pow {
    /// The gradients of the inputs, whose values may come with a graph or without.
    fn gradients(
        inputs: &[Tensor],
        [x, y]: [&Tensor; 2],
        z: &Tensor,
        dy: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![
            if_tracked(&inputs[0], || Self::grad_base(x, y, dy))?,
            if_tracked(&inputs[1], || Self::grad_exponent(x, y, z, dy))?,
        ])
    }

    fn grad_base(x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let slope = (y * pow(x, &(y - 1.)?)?)?;
        y.eq(0.)?.where_cond(&y.zeros_like()?, &(dy * slope)?)
    }

    fn grad_exponent(x: &Tensor, y: &Tensor, z: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let slope = (z * x.log()?)?;
        let flat = (x.eq(0.)? * y.ge(0.)?)?;
        flat.where_cond(&y.zeros_like()?, &(dy * slope)?)
    }
}

impl CustomOpN for Pow {
    fn name(&self) -> &'static str {
        "pow"
    }

    fn bwd(&self, inputs: &[Tensor], z: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, y] = [inputs[0].detach(), inputs[1].detach()];
        Self::gradients(inputs, [&x, &y], &z.detach(), dy)
    }
}

#[derive(Clone, Copy)]
struct PowF(f64);

impl Elementwise for PowF {
    #[inline(always)]
    fn value<T: Smooth, const FMA: bool>(self, to: impl Each<T>) {
        power(T::one(), self.0, to);
    }

    #[inline(always)]
    fn derivative<T: Smooth, const FMA: bool>(self, to: impl Each<T>) {
        power(T::from_f64(self.0), self.0 - 1., to);
    }
}

impl PowF {
    fn gradient(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        match self.0 {
            0. => x.detach().zeros_like(),
            e => (dy * powf(x, e - 1.)?)? * e,
        }
    }
}

impl CustomOpN for PowF {
    fn name(&self) -> &'static str {
        "powf"
    }

    fn bwd(&self, x: &[Tensor], _: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = x[0].detach();
        let gradient = match self.0 != 0. && has_kernel(&x) && !is_half(x.dtype()) {
            true => by_dtype!(x.dtype(), "powf", backward::<T>(*self, &x, dy))?,
            false => self.gradient(&x, dy)?,
        };
        Ok(vec![Some(gradient)])
    }
}
