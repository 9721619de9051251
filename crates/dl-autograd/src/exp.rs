//! The exponential of a number that is not positive, in a form that compilers turn into vectors.

use crate::simd::Scalar;

pub(crate) trait Exp: Scalar {
    /// `exp(self)` for `self ≤ 88`; −∞ gives 0 and NaN is kept.
    fn exp_below<const FMA: bool>(self) -> Self;

    /// `exp(self)` of any number; above 88 an f32 gives ∞.
    fn exp_any<const FMA: bool>(self) -> Self;

    /// `exp(self) − 1` of any number, with the digits of a small one.
    fn exp_minus_1<const FMA: bool>(self) -> Self;

    /// `log(1 + self)` for `self` in `[0, 1]`; NaN is kept.
    fn ln_1p_below<const FMA: bool>(self) -> Self;

    /// `log(1 + exp(self))`; neither side overflows.
    #[inline(always)]
    fn ln_1p_exp<const FMA: bool>(self) -> Self {
        let line = if self < Self::zero() {
            Self::zero()
        } else {
            self
        };
        line + (-self.abs()).exp_below::<FMA>().ln_1p_below::<FMA>()
    }
}

/// `(exp(r) − 1 − r)/r²` for `|r| ≤ ln(2)/2`.
#[inline(always)]
fn bend<const FMA: bool>(r: f32) -> f32 {
    let mut p = 1.987_569_1e-4f32;
    for c in [
        1.398_2e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = p.multiply_add::<FMA>(r, c);
    }
    p
}

impl Exp for f32 {
    /// `exp(x) = 2ⁿ·exp(r)` with `n` the whole number nearest to `x·log₂e` and `r` by a polynomial.
    /// The error is at most 2 units in the last place.
    ///
    /// Source: Moshier, the Cephes library, `expf`, 1992.
    #[inline(always)]
    fn exp_below<const FMA: bool>(self) -> Self {
        // Adding 1.5·2²³ leaves n in the low bits of the sum.
        const MAGIC: f32 = 12_582_912.;
        // ln 2 in two parts, the first of which has few enough bits for an exact product with n.
        const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
        let shifted = self.multiply_add::<FMA>(std::f32::consts::LOG2_E, MAGIC);
        let n = shifted - MAGIC;
        let r = n.multiply_add::<FMA>(-LN_2[0], self);
        let r = n.multiply_add::<FMA>(-LN_2[1], r);
        let y = (bend::<FMA>(r) * r).multiply_add::<FMA>(r, r + 1.);
        let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1f32.to_bits()));
        if self < -87. { 0. } else { y * power }
    }

    #[inline(always)]
    fn exp_any<const FMA: bool>(self) -> Self {
        let y = self.exp_below::<FMA>();
        if self > 88. { f32::INFINITY } else { y }
    }

    #[inline(always)]
    fn exp_minus_1<const FMA: bool>(self) -> Self {
        let near = (bend::<FMA>(self) * self).multiply_add::<FMA>(self, self);
        let far = self.exp_any::<FMA>() - 1.;
        if self.abs() < 0.34 { near } else { far }
    }

    /// `log(1 + x) = 2·artanh(s)` with `s = x/(2 + x) ≤ 1/3`, by the series of artanh up to s¹⁵.
    #[inline(always)]
    fn ln_1p_below<const FMA: bool>(self) -> Self {
        let s = self / (2. + self);
        let square = s * s;
        let mut p = 2. / 15.;
        for c in [2. / 13., 2. / 11., 2. / 9., 2. / 7., 2. / 5., 2. / 3., 2.] {
            p = p.multiply_add::<FMA>(square, c);
        }
        p * s
    }
}

impl Exp for f64 {
    #[inline(always)]
    fn exp_below<const FMA: bool>(self) -> Self {
        self.exp()
    }

    #[inline(always)]
    fn exp_any<const FMA: bool>(self) -> Self {
        self.exp()
    }

    #[inline(always)]
    fn exp_minus_1<const FMA: bool>(self) -> Self {
        self.exp_m1()
    }

    #[inline(always)]
    fn ln_1p_below<const FMA: bool>(self) -> Self {
        self.ln_1p()
    }
}

#[cfg(test)]
mod tests {
    use super::Exp;

    #[test]
    fn the_f32_exponential_is_within_two_units_in_the_last_place() {
        for i in 0..87_000 {
            let x = -(i as f32) * 1e-3;
            let exact = f64::from(x).exp();
            for y in [x.exp_below::<true>(), x.exp_below::<false>()] {
                let error = (f64::from(y) - exact).abs() / exact;
                assert!(error < 2.4e-7, "exp({x}) = {y}, not {exact}");
            }
        }
        assert_eq!(0f32.exp_below::<true>(), 1.);
        assert_eq!(f32::NEG_INFINITY.exp_below::<true>(), 0.);
        assert!(f32::NAN.exp_below::<true>().is_nan());
    }

    #[test]
    fn the_f32_exponential_less_one_is_within_three_units_in_the_last_place() {
        for i in -88_000..88_000 {
            for x in [i as f32 * 1e-3, i as f32 * 1e-8] {
                let exact = f64::from(x).exp_m1();
                for y in [x.exp_minus_1::<true>(), x.exp_minus_1::<false>()] {
                    let error = (f64::from(y) - exact).abs();
                    assert!(
                        error <= 3.6e-7 * exact.abs(),
                        "exp({x}) - 1 = {y}, not {exact}"
                    );
                }
            }
        }
        assert_eq!(1e4f32.exp_minus_1::<true>(), f32::INFINITY);
        assert_eq!(f32::NEG_INFINITY.exp_minus_1::<true>(), -1.);
        assert!(f32::NAN.exp_minus_1::<true>().is_nan());
    }

    #[test]
    fn the_f32_logarithm_is_within_two_units_in_the_last_place() {
        for i in 1..=65_536 {
            let x = i as f32 / 65_536.;
            for x in [x, x * 1e-6, x * 1e-30] {
                let exact = f64::from(x).ln_1p();
                for y in [x.ln_1p_below::<true>(), x.ln_1p_below::<false>()] {
                    let error = (f64::from(y) - exact).abs() / exact;
                    assert!(error < 2.4e-7, "log(1 + {x}) = {y}, not {exact}");
                }
            }
        }
        assert_eq!(0f32.ln_1p_below::<true>(), 0.);
        assert!(f32::NAN.ln_1p_below::<true>().is_nan());
    }
}
