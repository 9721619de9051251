//! The functions of the gates, in a form that compilers turn into vectors.

use crate::exp::Exp;
use crate::recurrent::packed::Vectors;
use crate::simd::Scalar;

pub(crate) trait Gate: Exp + Vectors {
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
}

impl Gate for f32 {
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
}

impl Gate for f64 {
    #[inline(always)]
    fn fast_tanh<const FMA: bool>(self) -> Self {
        self.tanh()
    }
}

#[cfg(test)]
mod tests {
    use super::Gate;

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
}
