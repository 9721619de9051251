//! Attention with linear biases.

use candle_core::{Device, Result, Tensor, bail};

use crate::host::LIMIT;

/// The slope of each head's bias.
///
/// ```text
/// heads = 2ⁿ:  mᵢ = 2^(−8i/heads), i = 1 … heads
/// otherwise:   the slopes of the next smaller power of two, then every second one of the next larger
/// ```
///
/// Source: Press, Smith, Lewis, "Train short, test long: attention with linear biases enables input
/// length extrapolation", 2022, and its code for counts that are no power of two.
///
/// ```
/// assert_eq!(dl_autograd::alibi_slopes(4), [0.25, 0.0625, 0.015625, 0.00390625]);
/// ```
pub fn alibi_slopes(heads: usize) -> Vec<f64> {
    let geometric = |n: usize| (1..=n).map(move |i| (-8. * i as f64 / n as f64).exp2());
    match heads {
        0 => vec![],
        n if n.is_power_of_two() => geometric(n).collect(),
        n => {
            let larger = n.next_power_of_two();
            let between = geometric(larger).step_by(2);
            geometric(larger / 2).chain(between).take(n).collect()
        }
    }
}

/// The biases of [`alibi_slopes`] as an additive mask for
/// [`scaled_dot_product_attention`](crate::scaled_dot_product_attention), f32 on the CPU.
///
/// → `(heads, t, s)`
///
/// ```text
/// biasₕᵢⱼ = −mₕ·|i + s − t − j|
/// ```
///
/// The last query stands at the last key, as with [`Causal::BottomRight`](crate::Causal). The
/// paper's attention is causal; without a causal mask the distance counts to both sides.
///
/// ```
/// let bias = dl_autograd::alibi_bias(1, 2, 3)?;
/// let m = 1. / 256.;
/// assert_eq!(bias.to_vec3::<f32>()?, [[[-m, 0., -m], [-2. * m, -m, 0.]]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn alibi_bias(heads: usize, t: usize, s: usize) -> Result<Tensor> {
    let size = [t, s]
        .iter()
        .try_fold(heads.max(1), |n, m| n.checked_mul(*m.max(&1)));
    if size.is_none_or(|n| n >= LIMIT) {
        bail!("alibi_bias takes heads times t times s below 2³¹, got {heads}, {t} and {s}")
    }
    let mut bias = Vec::with_capacity(heads * t * s);
    for slope in alibi_slopes(heads) {
        for i in 0..t {
            let at = i as f64 + s as f64 - t as f64;
            bias.extend((0..s).map(|j| (-slope * (at - j as f64).abs()) as f32));
        }
    }
    Tensor::from_vec(bias, (heads, t, s), &Device::Cpu)
}
