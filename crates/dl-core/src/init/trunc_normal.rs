//! Normal values within bounds.

use std::f64::consts::SQRT_2;

use candle_core::cpu::erf::{erfc_f64, erfc_inv};
use candle_core::{Device, Result, Tensor, bail};
use rayon::prelude::*;

use super::with;
use crate::Params;

/// Normal with this mean and standard deviation, conditioned on `a ≤ θ ≤ b`.
///
/// ```text
/// θ = mean + std·Φ⁻¹(Φ(α) + u·(Φ(β) − Φ(α)))          α = (a − mean)/std, β = (b − mean)/std
/// ```
///
/// The bounds are values, not multiples of `std`: PyTorch's defaults are 0, 1 and `(−2, 2)`, so with
/// timm's `std = 0.02` they cut nothing off. Exact in both tails, where PyTorch's form loses digits.
/// An error unless `std > 0`, `a < b` and the normal has some probability between them.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, init};
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().get(1000, "w")?;
/// init::trunc_normal(&params, "w", 0., 1., (-0.5, 2.))?;
/// let w = params.get("w").unwrap().to_vec1::<f32>()?;
/// assert!(w.iter().all(|w| (-0.5..=2.).contains(w)));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn trunc_normal(
    params: &Params,
    pattern: &str,
    mean: f64,
    std: f64,
    (a, b): (f64, f64),
) -> Result<usize> {
    let (alpha, beta) = ((a - mean) / std, (b - mean) / std);
    // The lower tail has all digits of Φ, so an interval on the right is mirrored.
    let (sign, alpha, beta) = match alpha + beta > 0. {
        true => (-1., -beta, -alpha),
        false => (1., alpha, beta),
    };
    let (low, high) = (cdf(alpha), cdf(beta));
    if !(mean.is_finite() && std.is_finite() && std > 0. && a < b && low < high) {
        bail!(
            "trunc_normal needs a finite mean, std > 0 and bounds a < b with some probability \
             between them, got mean {mean}, std {std}, a {a}, b {b}"
        )
    }
    with(params, pattern, |shape, rng| {
        let value = |i: u64| {
            // Between the steps of u, so that neither end is reached.
            let u = (f64::from(rng.u32(i)) + 0.5) / 4_294_967_296.;
            let z = quantile(low + u * (high - low));
            (mean + std * sign * z).clamp(a, b) as f32
        };
        let count = shape.elem_count() as u64;
        let values: Vec<f32> = (0..count).into_par_iter().map(value).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    })
}

/// Φ.
fn cdf(x: f64) -> f64 {
    0.5 * erfc_f64(-x / SQRT_2)
}

/// Φ⁻¹.
fn quantile(p: f64) -> f64 {
    -SQRT_2 * erfc_inv(2. * p)
}
