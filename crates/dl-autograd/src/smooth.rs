//! Sigmoid, tanh and the normal distribution, in a form that compilers turn into vectors.

use candle_core::cpu::erf::erfc_f64;

use crate::exp::Exp;
use crate::simd::Scalar;

pub(crate) trait Smooth: Exp {
    /// `1/(1 + e⁻ˣ)`.
    #[inline(always)]
    fn sigmoid<const FMA: bool>(self) -> Self {
        let e = (-self.abs()).exp_below::<FMA>();
        let share = (Self::one() + e).recip();
        if self < Self::zero() {
            e * share
        } else {
            share
        }
    }

    fn fast_tanh<const FMA: bool>(self) -> Self;

    /// Φ(x), with the digits of the left tail.
    fn normal_cdf<const FMA: bool>(self) -> Self;

    /// Φ′(x) `= e^(−x²/2)/√(2π)`.
    #[inline(always)]
    fn normal_density<const FMA: bool>(self) -> Self {
        // 1/√(2π).
        let scale = Self::from_f64(0.398_942_280_401_432_7);
        scale * (-self * self * Self::from_f64(0.5)).exp_below::<FMA>()
    }
}

impl Smooth for f32 {
    /// `(1 − e⁻²ˣ)/(1 + e⁻²ˣ)`, near 0 by a polynomial that keeps the digits.
    ///
    /// Source: Moshier, the Cephes library, `tanhf`, 1992.
    #[inline(always)]
    fn fast_tanh<const FMA: bool>(self) -> Self {
        let e = (-2. * self.abs()).exp_below::<FMA>();
        let far = ((1. - e) / (1. + e)).copysign(self);
        let z = self * self;
        let mut p = -5.704_988_7e-3f32;
        for c in [2.063_908_8e-2, -5.373_971_6e-2, 0.133_314_42, -0.333_332_8] {
            p = p.multiply_add::<FMA>(z, c);
        }
        let near = (p * z).multiply_add::<FMA>(self, self);
        if self.abs() < 0.625 { near } else { far }
    }

    /// `Φ(−|x|) = erfc(|x|/√2)/2` by a polynomial in `1/(1 + |x|/√8)`, good to 1.2e-7 besides the
    /// rounding of x², which in the tail is as many times that as x² has units.
    ///
    /// Source: Press, Teukolsky, Vetterling, Flannery, "Numerical recipes", 2nd edition, 6.2, 1992.
    #[inline(always)]
    fn normal_cdf<const FMA: bool>(self) -> Self {
        let z = self.abs() * std::f32::consts::FRAC_1_SQRT_2;
        let t = 1. / z.multiply_add::<FMA>(0.5, 1.);
        let mut p = 0.170_872_77f32;
        for c in [
            -0.822_152_23,
            1.488_515_9,
            -1.135_204,
            0.278_868_07,
            -0.186_288_06,
            0.096_784_18,
            0.374_091_96,
            1.000_023_7,
            -1.265_512_2,
        ] {
            p = p.multiply_add::<FMA>(t, c);
        }
        let tail = 0.5 * t * (-z).multiply_add::<FMA>(z, p).exp_below::<FMA>();
        if self < 0. { tail } else { 1. - tail }
    }
}

impl Smooth for f64 {
    #[inline(always)]
    fn fast_tanh<const FMA: bool>(self) -> Self {
        self.tanh()
    }

    #[inline(always)]
    fn normal_cdf<const FMA: bool>(self) -> Self {
        0.5 * erfc_f64(-self * std::f64::consts::FRAC_1_SQRT_2)
    }
}

#[cfg(test)]
mod tests {
    use super::Smooth;

    #[test]
    fn sigmoid_and_tanh_are_within_four_units_in_the_last_place() {
        for i in -40_000..40_000 {
            let x = i as f32 * 5e-4;
            let exact = [1. / (1. + (-f64::from(x)).exp()), f64::from(x).tanh()];
            for (y, exact) in [x.sigmoid::<true>(), x.fast_tanh::<true>()]
                .into_iter()
                .zip(exact)
            {
                let error = (f64::from(y) - exact).abs();
                assert!(error <= 4.8e-7 * exact.abs(), "{x}: {y}, not {exact}");
            }
        }
        assert!(f32::NAN.sigmoid::<false>().is_nan() && f32::NAN.fast_tanh::<false>().is_nan());
        assert_eq!(f32::NEG_INFINITY.sigmoid::<false>(), 0.);
        assert_eq!(f32::NEG_INFINITY.fast_tanh::<false>(), -1.);
    }

    /// x²/2 is below 16 here, and half a unit of that in the exponent is eight of the result.
    #[test]
    fn the_normal_distribution_is_within_forty_units_in_the_last_place() {
        for i in -32_000..32_000 {
            let x = i as f32 * 1.75e-4;
            let exact = f64::from(x).normal_cdf::<true>();
            for y in [x.normal_cdf::<true>(), x.normal_cdf::<false>()] {
                let error = (f64::from(y) - exact).abs() / exact;
                assert!(error < 4.8e-6, "Φ({x}) = {y}, not {exact}");
            }
        }
        assert!(f32::NAN.normal_cdf::<true>().is_nan());
        assert_eq!(
            [f32::INFINITY, f32::NEG_INFINITY].map(|x| x.normal_cdf::<true>()),
            [1., 0.]
        );
    }
}
