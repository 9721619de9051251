//! What happens to one row of scores, in forward and in backward.

use crate::exp::Exp;
use crate::simd::{Kernel, Scalar};

/// Sums and maxima are taken in so many parts, side by side in vectors.
const LANES: usize = 16;

/// `f` over all elements of a row: into one of [`LANES`] results by position, in a fixed order.
#[inline(always)]
fn lanes<T: Scalar>(x: &mut [T], start: T, mut f: impl FnMut(T, &mut T) -> T) -> [T; LANES] {
    let mut parts = [start; LANES];
    let mut chunks = x.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for (part, x) in parts.iter_mut().zip(chunk) {
            *part = f(*part, x);
        }
    }
    for (part, x) in parts.iter_mut().zip(chunks.into_remainder()) {
        *part = f(*part, x);
    }
    parts
}

#[inline(always)]
fn larger<T: Scalar>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// Scores to `exp(scale·x + bias − max)`, which is the softmax but for its normaliser.
pub(super) struct Exponentials<'a, T> {
    pub x: &'a mut [T],
    pub bias: Option<&'a [T]>,
    pub scale: T,
    /// Σ exp(…): 0 where every key is hidden.
    pub sum: &'a mut T,
    /// log Σ exp(scale·x + bias): +∞ where every key is hidden, so that backward gets zeros.
    pub log_sum: &'a mut T,
}

impl<T: Exp> Kernel for Exponentials<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let scale = self.scale;
        if let Some(bias) = self.bias {
            for (x, bias) in self.x.iter_mut().zip(bias) {
                *x = x.multiply_add::<FMA>(scale, *bias);
            }
        } else {
            self.x.iter_mut().for_each(|x| *x *= scale);
        }
        let max = lanes(self.x, T::neg_infinity(), |max, x| larger(max, *x));
        let max = max.into_iter().fold(T::neg_infinity(), larger);
        // Without this the difference below would be NaN where every key is hidden.
        let max = if max == T::neg_infinity() {
            T::zero()
        } else {
            max
        };
        let sums = lanes(self.x, T::zero(), |sum, x| {
            *x = (*x - max).exp_below::<FMA>();
            sum + *x
        });
        let sum = sums.into_iter().sum::<T>();
        *self.sum = sum;
        *self.log_sum = if sum == T::zero() {
            T::infinity()
        } else {
            max + sum.ln()
        };
    }
}

/// From scores `x` and `dp = dO·Vᵀ` to the weights behind dropout and to the scores' gradient.
///
/// ```text
/// p = exp(scale·x + bias − log_sum)        x ← p·keep        dp ← p·(dp·keep − delta)·scale
/// ```
pub(super) struct Gradients<'a, T> {
    pub x: &'a mut [T],
    /// Empty where neither queries nor keys are tracked.
    pub dp: &'a mut [T],
    pub bias: Option<&'a [T]>,
    /// Factors of dropout.
    pub keep: Option<&'a [T]>,
    pub scale: T,
    pub log_sum: T,
    /// Σ dO·O of the row.
    pub delta: T,
}

impl<T: Exp> Kernel for Gradients<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (scale, log_sum, delta) = (self.scale, self.log_sum, self.delta);
        if let Some(bias) = self.bias {
            for (x, bias) in self.x.iter_mut().zip(bias) {
                let shifted = x.multiply_add::<FMA>(scale, *bias) - log_sum;
                *x = shifted.exp_below::<FMA>();
            }
        } else {
            for x in self.x.iter_mut() {
                *x = (*x * scale - log_sum).exp_below::<FMA>();
            }
        }
        if let Some(keep) = self.keep {
            for ((dp, x), keep) in self.dp.iter_mut().zip(&*self.x).zip(keep) {
                *dp = *x * (*dp * *keep - delta) * scale;
            }
            self.x
                .iter_mut()
                .zip(keep)
                .for_each(|(x, keep)| *x *= *keep);
        } else {
            for (dp, x) in self.dp.iter_mut().zip(&*self.x) {
                *dp = *x * (*dp - delta) * scale;
            }
        }
    }
}
