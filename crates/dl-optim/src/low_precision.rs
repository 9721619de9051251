//! Updates that are below the precision of f16 and bf16 parameters.

use candle_core::{DType, Device, Result, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How f16 and bf16 parameters are updated; the arithmetic is f32 in any case.
///
/// A bf16 number has eight bits: an update below 1/512 of it is lost when rounded to the nearest.
///
/// ```
/// use candle_core::{DType, Device, Tensor, Var};
/// use dl_optim::{LowPrecision, Optimizer, Sgd};
/// let x = Var::from_tensor(&Tensor::ones(1, DType::BF16, &Device::Cpu)?)?;
/// let sgd = Optimizer::new([("x".to_string(), x.clone())], Sgd { lr: 1e-3, ..Sgd::default() })?;
/// let mut sgd = sgd.low_precision(LowPrecision::MasterWeights)?;
/// for _ in 0..100 {
///     sgd.step(&x.sum_all()?.backward()?)?; // 1 − 0.1, in steps of 0.001
/// }
/// assert_eq!(x.to_dtype(DType::F32)?.to_vec1::<f32>()?, [0.8984375]); // 0.9 in bf16
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LowPrecision {
    /// The result is rounded to the nearest number. The default, and what PyTorch does.
    #[default]
    Nearest,
    /// An f32 copy is updated and rounded into the parameter; part of the state.
    ///
    /// What else writes to the parameters has to be followed by
    /// [`Optimizer::refresh_master_weights`](crate::Optimizer::refresh_master_weights).
    MasterWeights,
    /// The result is rounded up or down at random, so that it is right on average. Costs no memory.
    ///
    /// The random numbers are a function of seed, name, step and element: a resumed run has the same.
    ///
    /// Source: S. Gupta, A. Agrawal, K. Gopalakrishnan, P. Narayanan, 2015, Deep Learning with
    /// Limited Numerical Precision.
    Stochastic {
        /// The key of the random numbers.
        seed: u64,
    },
}

/// How one result is rounded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rounding {
    Nearest,
    Stochastic(u64),
}

impl Rounding {
    pub(crate) fn round(self, x: &Tensor, dtype: DType) -> Result<Tensor> {
        match (self, dtype) {
            (Self::Stochastic(key), DType::BF16) => at_random::<bf16>(x, key),
            (Self::Stochastic(key), DType::F16) => at_random::<f16>(x, key),
            _ => x.to_dtype(dtype),
        }
    }
}

/// The key of the random numbers of one parameter at one step.
pub(crate) fn stream(seed: u64, name: &str, step: usize) -> u64 {
    // FNV-1a: the hash is part of what a resumed run must repeat, so it must not change with a library.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    mixed(mixed(mixed(seed) ^ hash) ^ step as u64)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, 2014).
fn mixed(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Uniform in `[0, 1)`, a multiple of 2⁻²⁴.
pub(crate) fn uniform(key: u64, element: usize) -> f32 {
    let bits = mixed(key.wrapping_add((element as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    (bits >> 40) as f32 / (1 << 24) as f32
}

trait Narrow: candle_core::WithDType + Send {
    fn nearest(x: f32) -> Self;
    fn wide(self) -> f32;
    /// The next number up or down. Not for the ends of the range.
    fn next(self, up: bool) -> Self;
}

macro_rules! narrow {
    ($($half:ident)*) => {$(
        impl Narrow for $half {
            fn nearest(x: f32) -> Self {
                Self::from_f32(x)
            }
            fn wide(self) -> f32 {
                self.to_f32()
            }
            fn next(self, up: bool) -> Self {
                let bits = self.to_bits();
                if bits & 0x7fff == 0 {
                    // From zero: the smallest number of either sign.
                    return Self::from_bits(if up { 1 } else { 0x8001 });
                }
                let away = up == (bits & 0x8000 == 0);
                Self::from_bits(if away { bits + 1 } else { bits - 1 })
            }
        }
    )*};
}
narrow!(bf16 f16);

/// One of the two neighbours, the nearer one more often.
fn either<H: Narrow>(x: f32, random: f32) -> H {
    let nearest = H::nearest(x);
    let rest = x - nearest.wide();
    // Exact, infinite or not a number.
    if rest == 0.0 || !rest.is_finite() {
        return nearest;
    }
    let other = nearest.next(rest > 0.0);
    if random < rest / (other.wide() - nearest.wide()) {
        other
    } else {
        nearest
    }
}

/// On the CPU: elsewhere the numbers travel there and back, so that all devices draw the same.
fn at_random<H: Narrow>(x: &Tensor, key: u64) -> Result<Tensor> {
    let wide = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let round = |(i, x): (usize, &f32)| either::<H>(*x, uniform(key, i));
    let rounded: Vec<H> = wide
        .par_iter()
        .with_min_len(1 << 14)
        .enumerate()
        .map(round)
        .collect();
    Tensor::from_vec(rounded, x.shape(), &Device::Cpu)?.to_device(x.device())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ordinary numbers of both signs, subnormals of f16, and the way from zero.
    #[test]
    fn the_mean_of_many_roundings_is_the_number_itself() {
        for x in [1.001_f32, -1.001, 0.333_333_34, -3e-6, 1e-8, 65_503.0] {
            let many = 200_000;
            let mean = |round: &dyn Fn(f32) -> f32| {
                let all = (0..many).map(|i| f64::from(round(uniform(7, i))));
                all.sum::<f64>() / f64::from(many as u32)
            };
            let bf = mean(&|u| either::<bf16>(x, u).wide());
            let half = mean(&|u| either::<f16>(x, u).wide());
            // Four deviations of the mean of a coin that lands one spacing away: 2 / √200,000.
            let spacing =
                |bits: i32, least: f32| f64::from((x.abs() * 2f32.powi(-bits)).max(least));
            let x = f64::from(x);
            assert!((bf - x).abs() < spacing(7, 0.0) * 0.0045, "bf16 {x}: {bf}");
            let least = 2f32.powi(-24);
            assert!(
                (half - x).abs() < spacing(10, least) * 0.0045,
                "f16 {x}: {half}"
            );
        }
    }

    #[test]
    fn what_needs_no_rounding_is_left_alone() {
        for x in [0.0_f32, -0.0, 1.0, -2.5, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(either::<bf16>(x, 0.0).wide().to_bits(), x.to_bits());
            assert_eq!(either::<f16>(x, 0.0).wide().to_bits(), x.to_bits());
        }
        assert!(either::<bf16>(f32::NAN, 0.0).wide().is_nan());
        // Above the largest f16: as a cast does it, not a number in between.
        assert_eq!(either::<f16>(1e6, 0.0).wide(), f32::INFINITY);
    }
}
