//! The arithmetic that rules are written in, for numbers and for whole tensors.

use std::ops::{Add, Div, Mul, Sub};

use candle_core::Tensor;

/// What a rule computes with: `f32` or `f64` in the fused loop, a whole tensor where the update is
/// composed of candle's operations. One formula serves both, so they cannot drift apart.
///
/// ```
/// use dl_optim::Real;
/// assert_eq!(2.0_f64.lerp(4.0, 0.25), 2.5);
/// assert_eq!((-3.0_f32).abs().sqrt(), 3.0_f32.sqrt());
/// ```
pub trait Real:
    Clone + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// `x · by`, with `by` rounded to the type first, as PyTorch does with scalars.
    fn scale(self, by: f64) -> Self;
    /// `x + by`, with `by` rounded to the type first.
    fn shift(self, by: f64) -> Self;
    /// `√x`.
    fn sqrt(self) -> Self;
    /// `∛x` of an `x` that is 0 or a normal positive number.
    fn cbrt(self) -> Self;
    /// `x` to a power, with `power` rounded to the type first. One element at a time: slow.
    fn powf(self, power: f64) -> Self;
    /// `|x|`.
    fn abs(self) -> Self;
    /// −1, 0 or 1.
    fn sign(self) -> Self;
    /// The larger of two values; a NaN in `other` comes through.
    fn larger(self, other: Self) -> Self;
    /// `value` in the place of `self`, rounded to its type.
    fn fill(&self, value: f64) -> Self;
    /// `yes` where `self > 0`, else `no`.
    fn if_positive(self, yes: Self, no: Self) -> Self;

    /// `x` kept within `[low, high]`; a NaN comes through.
    #[inline(always)]
    fn clamp(self, low: f64, high: f64) -> Self {
        let raised = self.fill(low).larger(self);
        let turned = raised.fill(-high).larger(raised.scale(-1.0));
        turned.scale(-1.0)
    }

    /// `x + by · other`, and exactly `x` where `by` is 0, even if `other` is not finite.
    #[inline(always)]
    fn add_scaled(self, other: &Self, by: f64) -> Self {
        match by == 0.0 {
            true => self,
            false => self + other.clone().scale(by),
        }
    }

    /// `x + share · (to − x)`, from the nearer end as PyTorch does it, so that it is exact at both.
    #[inline(always)]
    fn lerp(self, to: Self, share: f64) -> Self {
        let distance = to.clone() - self.clone();
        if share < 0.5 {
            self + distance.scale(share)
        } else {
            to - distance.scale(1.0 - share)
        }
    }
}

macro_rules! real {
    ($($float:ident $cube_root:ident)*) => {$(
        impl Real for $float {
            #[inline(always)]
            fn scale(self, by: f64) -> Self {
                self * by as $float
            }
            #[inline(always)]
            fn shift(self, by: f64) -> Self {
                self + by as $float
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $float::sqrt(self)
            }
            #[inline(always)]
            fn cbrt(self) -> Self {
                $cube_root(self)
            }
            #[inline(always)]
            fn powf(self, power: f64) -> Self {
                $float::powf(self, power as $float)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $float::abs(self)
            }
            #[inline(always)]
            fn sign(self) -> Self {
                ((self > 0.0) as i8 - (self < 0.0) as i8) as $float
            }
            // Not `max`: a NaN that arrives must stay visible.
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                if self >= other { self } else { other }
            }
            #[inline(always)]
            fn fill(&self, value: f64) -> Self {
                value as $float
            }
            #[inline(always)]
            fn if_positive(self, yes: Self, no: Self) -> Self {
                if self > 0.0 { yes } else { no }
            }
        }
    )*};
}
real!(f32 cube_root_f32 f64 cube_root_f64);

// The standard library's is a call for every element. A third of the exponent, as a third of the bits,
// is right to 5 bits (Kahan, 1991); each of Halley's iterations has three times as many.
#[inline(always)]
fn cube_root_f32(x: f32) -> f32 {
    let mut y = f32::from_bits(x.to_bits() / 3 + 709_958_130);
    for _ in 0..2 {
        let other = x / (y * y);
        y = y + y * ((other - y) / (y + y + other));
    }
    if x == 0.0 { x } else { y }
}

#[inline(always)]
fn cube_root_f64(x: f64) -> f64 {
    let high = (x.to_bits() >> 32) as u32 / 3 + 715_094_163;
    let mut y = f64::from_bits(u64::from(high) << 32);
    for _ in 0..3 {
        let other = x / (y * y);
        y = y + y * ((other - y) / (y + y + other));
    }
    if x == 0.0 { x } else { y }
}

/// A tensor, or the first error on the way to it, so that formulas need no `?`.
#[derive(Clone)]
pub(crate) struct Composed(Result<Tensor, String>);

impl Composed {
    pub(crate) fn new(tensor: candle_core::Result<Tensor>) -> Self {
        Self(tensor.map_err(|error| error.to_string()))
    }

    pub(crate) fn finish(self) -> candle_core::Result<Tensor> {
        self.0.map_err(candle_core::Error::Msg)
    }

    fn map(self, op: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>) -> Self {
        match &self.0 {
            Ok(tensor) => Self::new(op(tensor)),
            Err(_) => self,
        }
    }

    fn zip(self, other: Self, op: fn(&Tensor, &Tensor) -> candle_core::Result<Tensor>) -> Self {
        match (&self.0, &other.0) {
            (Ok(a), Ok(b)) => Self::new(op(a, b)),
            (Err(_), _) => self,
            (_, Err(_)) => other,
        }
    }
}

macro_rules! operator {
    ($($trait:ident $method:ident)*) => {$(
        impl $trait for Composed {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                self.zip(other, |a, b| a.$method(b))
            }
        }
    )*};
}
operator!(Add add Sub sub Mul mul Div div);

impl Real for Composed {
    fn scale(self, by: f64) -> Self {
        self.map(|x| x.affine(by, 0.0))
    }
    fn shift(self, by: f64) -> Self {
        self.map(|x| x.affine(1.0, by))
    }
    fn sqrt(self) -> Self {
        self.map(Tensor::sqrt)
    }
    fn cbrt(self) -> Self {
        self.map(|x| x.powf(1.0 / 3.0))
    }
    fn powf(self, power: f64) -> Self {
        self.map(|x| x.powf(power))
    }
    fn abs(self) -> Self {
        self.map(Tensor::abs)
    }
    fn sign(self) -> Self {
        self.map(Tensor::sign)
    }
    fn larger(self, other: Self) -> Self {
        self.zip(other, |a, b| a.maximum(b))
    }
    fn fill(&self, value: f64) -> Self {
        let filled = |x: &Tensor| Tensor::full(value, x.shape(), x.device())?.to_dtype(x.dtype());
        self.clone().map(filled)
    }
    fn if_positive(self, yes: Self, no: Self) -> Self {
        match (&self.0, &yes.0, &no.0) {
            (Ok(x), Ok(a), Ok(b)) => Self::new(x.gt(0.0).and_then(|mask| mask.where_cond(a, b))),
            (Err(_), _, _) => self,
            (_, Err(_), _) => yes,
            _ => no,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::Device;

    fn every_operation<R: Real>(a: R, b: R) -> R {
        let share = a.clone().lerp(b.clone(), 0.3) / b.clone().abs().shift(0.5).sqrt();
        let bounded = a.clone().clamp(-0.5, 2.0) - b.fill(0.1) * b.clone().abs().powf(0.3);
        let chosen = b.clone().if_positive(bounded, a.clone());
        share.larger(a.clone().sign()) * b.scale(1.5) - a + chosen
    }

    /// Both signs, both zeros and both orders of magnitude, so that no branch is skipped.
    #[test]
    fn a_tensor_and_its_numbers_compute_the_same() {
        let a = [1.5_f64, -2.0, 0.0, -0.0, 1e3, -1e-3];
        let b = [-0.5_f64, 3.0, 1.0, -1.0, 1e-3, 1e3];
        let tensor = |x: &[f64]| Composed::new(Tensor::new(x, &Device::Cpu));
        let composed = every_operation(tensor(&a), tensor(&b)).finish().unwrap();
        let single: Vec<f64> = a
            .iter()
            .zip(b)
            .map(|(a, b)| every_operation(*a, b))
            .collect();
        for (got, want) in composed.to_vec1::<f64>().unwrap().iter().zip(single) {
            // One rounding per operation, ten in a row.
            assert!(
                (got - want).abs() <= 1e-15 * want.abs().max(1.0),
                "{got} {want}"
            );
        }
    }

    /// All magnitudes of normal numbers, steps that do not repeat a mantissa.
    #[test]
    fn cube_roots_are_right_to_the_last_bits() {
        assert!(Real::cbrt(f32::NAN).is_nan() && Real::cbrt(f64::NAN).is_nan());
        assert_eq!((Real::cbrt(0.0_f32), Real::cbrt(0.0_f64)), (0.0, 0.0));
        for i in -8000..8000 {
            let x = (f64::from(i) * 0.0883).exp();
            // Four roundings of the last iteration.
            let (got, want) = (Real::cbrt(x), f64::cbrt(x));
            assert!(
                (got - want).abs() <= 4.0 * f64::EPSILON * want,
                "{x}: {got} {want}"
            );
            let x = (f64::from(i) * 0.0107).exp() as f32;
            let (got, want) = (Real::cbrt(x), f32::cbrt(x));
            assert!(
                (got - want).abs() <= 4.0 * f32::EPSILON * want,
                "{x}: {got} {want}"
            );
        }
    }

    #[test]
    fn clamp_is_exact_at_its_ends_and_keeps_a_nan() {
        let clamped = [-3.0_f32, 0.7, 3.0].map(|x| Real::clamp(x, 0.1, 2.5));
        assert_eq!(clamped, [0.1, 0.7, 2.5]);
        assert!(Real::clamp(f32::NAN, 0.1, 2.5).is_nan());
    }

    #[test]
    fn larger_keeps_a_nan_that_arrives() {
        assert!(1.0_f32.larger(f32::NAN).is_nan());
    }

    #[test]
    fn the_first_error_survives_the_formula() {
        let narrow = Composed::new(Tensor::new(&[1.0_f64], &Device::Cpu));
        let wide = Composed::new(Tensor::new(&[1.0_f64, 2.0], &Device::Cpu));
        assert!((narrow + wide).sqrt().finish().is_err());
    }
}
