//! The losses of two numbers and their slopes, for the CPU kernels.

use crate::activation::clamp;
use crate::exp::Exp;

/// A loss of a prediction `x`, a target `t` and a constant `c`, which is 1 but for weights of
/// positive targets.
pub(super) trait Pair<T>: Copy + Send + Sync {
    fn value<const FMA: bool>(self, x: T, t: T, c: T) -> T;

    /// The derivative by `x`.
    fn slope<const FMA: bool>(self, x: T, t: T, c: T) -> T;

    /// The derivative by `t`.
    fn target_slope<const FMA: bool>(self, x: T, t: T, c: T) -> T;
}

/// `(log(1 + eˣ), log(1 + e⁻ˣ))`, neither of which overflows.
#[inline(always)]
fn softplus<T: Exp, const FMA: bool>(x: T) -> (T, T) {
    let rest = (-x.abs()).exp_below::<FMA>().ln_1p_below::<FMA>();
    let zero = T::zero();
    // A NaN comes back through `rest`.
    (
        rest + if x > zero { x } else { zero },
        rest + if x < zero { -x } else { zero },
    )
}

#[inline(always)]
fn logistic<T: Exp, const FMA: bool>(x: T) -> T {
    let e = (-x.abs()).exp_below::<FMA>();
    let top = if x < T::zero() { e } else { T::one() };
    top / (T::one() + e)
}

#[derive(Clone, Copy)]
pub(super) struct Squared;

impl<T: Exp> Pair<T> for Squared {
    #[inline(always)]
    fn value<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        (x - t) * (x - t)
    }

    #[inline(always)]
    fn slope<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        T::from_f64(2.) * (x - t)
    }

    #[inline(always)]
    fn target_slope<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        T::from_f64(-2.) * (x - t)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Absolute;

impl<T: Exp> Pair<T> for Absolute {
    #[inline(always)]
    fn value<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        (x - t).abs()
    }

    #[inline(always)]
    fn slope<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        let (d, one) = (x - t, T::one());
        // A NaN is neither, and stays.
        let below = if d < T::zero() { -one } else { d };
        if d > T::zero() { one } else { below }
    }

    #[inline(always)]
    fn target_slope<const FMA: bool>(self, x: T, t: T, c: T) -> T {
        -Pair::<T>::slope::<FMA>(self, x, t, c)
    }
}

/// A parabola up to a difference of `bend`, which is above 0, and a line from there on, times `factor`.
#[derive(Clone, Copy)]
pub(super) struct Bent {
    pub(super) bend: f64,
    pub(super) factor: f64,
}

impl<T: Exp> Pair<T> for Bent {
    #[inline(always)]
    fn value<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        let (bend, d) = (T::from_f64(self.bend), (x - t).abs());
        let curved = if d < bend { d } else { bend };
        T::from_f64(self.factor) * curved * (d - T::from_f64(0.5) * curved)
    }

    #[inline(always)]
    fn slope<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        let bend = T::from_f64(self.bend);
        T::from_f64(self.factor) * clamp(x - t, (-bend, bend))
    }

    #[inline(always)]
    fn target_slope<const FMA: bool>(self, x: T, t: T, c: T) -> T {
        -Pair::<T>::slope::<FMA>(self, x, t, c)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Logistic;

impl<T: Exp> Pair<T> for Logistic {
    #[inline(always)]
    fn value<const FMA: bool>(self, x: T, t: T, c: T) -> T {
        let (plus, minus) = softplus::<T, FMA>(x);
        c * t * minus + (T::one() - t) * plus
    }

    #[inline(always)]
    fn slope<const FMA: bool>(self, x: T, t: T, c: T) -> T {
        let total = T::one() + (c - T::one()) * t;
        total * logistic::<T, FMA>(x) - c * t
    }

    #[inline(always)]
    fn target_slope<const FMA: bool>(self, x: T, _: T, c: T) -> T {
        (c - T::one()) * softplus::<T, FMA>(x).1 - x
    }
}

#[derive(Clone, Copy)]
pub(super) struct KlDiv;

impl<T: Exp> Pair<T> for KlDiv {
    #[inline(always)]
    fn value<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        let own = if t == T::zero() { t } else { t * t.ln() };
        own - t * x
    }

    #[inline(always)]
    fn slope<const FMA: bool>(self, _: T, t: T, _: T) -> T {
        -t
    }

    #[inline(always)]
    fn target_slope<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        t.ln() + T::one() - x
    }
}

#[derive(Clone, Copy)]
pub(super) struct KlDivOfLog;

impl<T: Exp> Pair<T> for KlDivOfLog {
    #[inline(always)]
    fn value<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        t.exp() * (t - x)
    }

    #[inline(always)]
    fn slope<const FMA: bool>(self, _: T, t: T, _: T) -> T {
        -t.exp()
    }

    #[inline(always)]
    fn target_slope<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        t.exp() * (t - x + T::one())
    }
}

#[derive(Clone, Copy)]
pub(super) struct PoissonNll {
    pub(super) log_input: bool,
    pub(super) full: bool,
    pub(super) eps: f64,
}

impl<T: Exp> Pair<T> for PoissonNll {
    #[inline(always)]
    fn value<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        let loss = match self.log_input {
            true => x.exp() - t * x,
            false => x - t * (x + T::from_f64(self.eps)).ln(),
        };
        match self.full && t > T::one() {
            true => {
                let turn = T::from_f64(std::f64::consts::TAU);
                loss + t * t.ln() - t + T::from_f64(0.5) * (turn * t).ln()
            }
            false => loss,
        }
    }

    #[inline(always)]
    fn slope<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        match self.log_input {
            true => x.exp() - t,
            false => T::one() - t / (x + T::from_f64(self.eps)),
        }
    }

    #[inline(always)]
    fn target_slope<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        let slope = match self.log_input {
            true => -x,
            false => -(x + T::from_f64(self.eps)).ln(),
        };
        match self.full && t > T::one() {
            true => slope + t.ln() + T::from_f64(0.5) / t,
            false => slope,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct GaussianNll {
    pub(super) full: bool,
    pub(super) eps: f64,
}

impl GaussianNll {
    #[inline(always)]
    fn variance<T: Exp>(self, t: T) -> T {
        let eps = T::from_f64(self.eps);
        if t < eps { eps } else { t }
    }
}

impl<T: Exp> Pair<T> for GaussianNll {
    #[inline(always)]
    fn value<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        let v = self.variance(t);
        let constant = if self.full {
            std::f64::consts::TAU.ln()
        } else {
            0.
        };
        T::from_f64(0.5) * (v.ln() + x * x / v + T::from_f64(constant))
    }

    #[inline(always)]
    fn slope<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        x / self.variance(t)
    }

    #[inline(always)]
    fn target_slope<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        let v = self.variance(t);
        T::from_f64(0.5) * (T::one() - x * x / v) / v
    }
}

#[derive(Clone, Copy)]
pub(super) struct HingeEmbedding {
    pub(super) margin: f64,
}

impl<T: Exp> Pair<T> for HingeEmbedding {
    #[inline(always)]
    fn value<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        let (zero, one) = (T::zero(), T::one());
        let gap = T::from_f64(self.margin) - x;
        let far = if t == one || gap < zero { zero } else { gap };
        let near = if t == -one { zero } else { x };
        far + near
    }

    #[inline(always)]
    fn slope<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        let (zero, one) = (T::zero(), T::one());
        let gap = T::from_f64(self.margin) - x;
        let far = if t == one || gap <= zero { zero } else { one };
        let near = if t == -one { zero } else { one };
        near - far
    }

    #[inline(always)]
    fn target_slope<const FMA: bool>(self, _: T, _: T, _: T) -> T {
        T::zero()
    }
}

#[derive(Clone, Copy)]
pub(super) struct MarginRanking {
    pub(super) margin: f64,
}

impl MarginRanking {
    #[inline(always)]
    fn open<T: Exp>(self, x: T, t: T, slope: T) -> T {
        let gap = T::from_f64(self.margin) - t * x;
        if gap <= T::zero() { T::zero() } else { slope }
    }
}

impl<T: Exp> Pair<T> for MarginRanking {
    #[inline(always)]
    fn value<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        self.open(x, t, T::from_f64(self.margin) - t * x)
    }

    #[inline(always)]
    fn slope<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        self.open(x, t, -t)
    }

    #[inline(always)]
    fn target_slope<const FMA: bool>(self, x: T, t: T, _: T) -> T {
        self.open(x, t, -x)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Focal {
    pub(super) alpha: Option<f64>,
    pub(super) gamma: f64,
}

impl Focal {
    /// The weight of the class, its slope by `t`, and the probability of the wrong class.
    #[inline(always)]
    fn parts<T: Exp, const FMA: bool>(self, x: T, t: T) -> (T, T, T) {
        let (one, two) = (T::one(), T::from_f64(2.));
        let p = logistic::<T, FMA>(x);
        let wrong = p * (one - t) + (one - p) * t;
        match self.alpha.map(T::from_f64) {
            None => (one, T::zero(), wrong),
            Some(a) => (a * t + (one - a) * (one - t), two * a - one, wrong),
        }
    }

    /// `wrongᵞ` and its slope by `wrong`.
    #[inline(always)]
    fn power<T: Exp>(self, wrong: T) -> (T, T) {
        let gamma = T::from_f64(self.gamma);
        let slope = if self.gamma == 0. {
            T::zero()
        } else {
            gamma * wrong.powf(gamma - T::one())
        };
        (wrong.powf(gamma), slope)
    }
}

impl<T: Exp> Pair<T> for Focal {
    #[inline(always)]
    fn value<const FMA: bool>(self, x: T, t: T, c: T) -> T {
        let (alpha, _, wrong) = self.parts::<T, FMA>(x, t);
        alpha * self.power(wrong).0 * Logistic.value::<FMA>(x, t, c)
    }

    #[inline(always)]
    fn slope<const FMA: bool>(self, x: T, t: T, c: T) -> T {
        let (one, two) = (T::one(), T::from_f64(2.));
        let (alpha, _, wrong) = self.parts::<T, FMA>(x, t);
        let ((power, slope), p) = (self.power(wrong), logistic::<T, FMA>(x));
        let of_wrong = p * (one - p) * (one - two * t);
        let loss = Logistic.value::<FMA>(x, t, c);
        alpha * (slope * of_wrong * loss + power * Logistic.slope::<FMA>(x, t, c))
    }

    #[inline(always)]
    fn target_slope<const FMA: bool>(self, x: T, t: T, c: T) -> T {
        let (one, two) = (T::one(), T::from_f64(2.));
        let (alpha, of_alpha, wrong) = self.parts::<T, FMA>(x, t);
        let ((power, slope), p) = (self.power(wrong), logistic::<T, FMA>(x));
        let loss = Logistic.value::<FMA>(x, t, c);
        let inner = slope * (one - two * p) * loss + power * Logistic.target_slope::<FMA>(x, t, c);
        of_alpha * power * loss + alpha * inner
    }
}
