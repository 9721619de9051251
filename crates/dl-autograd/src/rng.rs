//! Counter-based random numbers: a pure function of (seed, purpose, step, element).

use rayon::prelude::*;

/// Elements that one thread fills at a time; a multiple of four, the numbers of one block.
const GRAIN: usize = 32 * 1024;

/// What a stream of random numbers is used for; two purposes never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Parameter initialisation.
    Init,
    /// Dropout masks.
    Dropout,
    /// Stochastic depth.
    DropPath,
    /// Additive noise.
    Noise,
    /// The order of the items of an epoch.
    Shuffle,
    /// Random transforms of an item.
    Augment,
    /// Hold-out and cross-validation splits.
    Split,
    /// A purpose of one's own.
    Other(u32),
}

impl Purpose {
    fn code(self) -> u64 {
        match self {
            Self::Init => 1,
            Self::Dropout => 2,
            Self::DropPath => 3,
            Self::Noise => 4,
            Self::Shuffle => 5,
            Self::Augment => 6,
            Self::Split => 7,
            Self::Other(id) => 1 << 32 | u64::from(id),
        }
    }
}

/// A Philox 4×32-10 stream: element `i` can be read in any order, on any thread, with the same bits.
///
/// ```text
/// (x₀ x₁ x₂ x₃) = philox(counter = (⌊i/4⌋, step), key = seed ⊕ mix(purpose))      uᵢ = x_{i mod 4}
/// ```
///
/// Nothing is stored but the key, so a run is resumed by resuming its step numbers, and a dropout
/// mask is generated again in backward instead of being kept.
///
/// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
///
/// ```
/// use dl_autograd::{Purpose, Rng};
/// let rng = Rng::new(42, Purpose::Noise, 0);
/// assert_eq!(rng.u32(7), Rng::new(42, Purpose::Noise, 0).u32(7));
/// assert_ne!(rng.u32(7), Rng::new(42, Purpose::Noise, 1).u32(7));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rng {
    key: [u32; 2],
    step: [u32; 2],
}

impl Rng {
    /// The stream of one purpose at one step.
    pub fn new(seed: u64, purpose: Purpose, step: u64) -> Self {
        let key = seed ^ splitmix(purpose.code());
        Self {
            key: split(key),
            step: split(step),
        }
    }

    /// The stream keyed by a name as well, such as the parameter that is initialised.
    pub fn named(seed: u64, purpose: Purpose, name: &str) -> Self {
        // FNV-1a: the hash is part of the format of a run, so it must never change with a library.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        Self::new(seed, purpose, hash)
    }

    /// Another stream, one for each `index`, that shares no numbers with this one.
    pub fn fork(self, index: u64) -> Self {
        let key = u64::from(self.key[0]) | u64::from(self.key[1]) << 32;
        Self {
            key: split(splitmix(key ^ splitmix(index.wrapping_add(1)))),
            ..self
        }
    }

    /// Uniform over all of `u32`.
    pub fn u32(&self, element: u64) -> u32 {
        self.block(element / 4)[(element % 4) as usize]
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻²⁴.
    pub fn uniform(&self, element: u64) -> f32 {
        unit(self.u32(element))
    }

    /// Standard normal, by the transform of Box and Muller (1958).
    pub fn normal(&self, element: u64) -> f32 {
        normals(self.block(element / 4))[(element % 4) as usize]
    }

    /// Uniform in `0..n`; `0` when `n` is 0. The bias is below `n / 2⁶⁴`.
    pub fn below(&self, element: u64, n: u64) -> u64 {
        let x = self.block(element);
        let wide = u128::from(x[0]) << 32 | u128::from(x[1]);
        ((wide * u128::from(n)) >> 64) as u64
    }

    /// Whether event `element` happens: true with probability `p`.
    ///
    /// ```text
    /// bᵢ = uᵢ < p          never for p ≤ 0 or NaN, always for p ≥ 1
    /// ```
    ///
    /// ```
    /// use dl_autograd::{Purpose, Rng};
    /// let rng = Rng::new(0, Purpose::Noise, 0);
    /// let count = (0..10_000).filter(|&i| rng.bernoulli(i, 0.25)).count();
    /// assert!((2_300..2_700).contains(&count));
    /// ```
    pub fn bernoulli(&self, element: u64, p: f64) -> bool {
        f64::from(self.uniform(element)) < p
    }

    /// Fills `out` with the uniforms of elements `first..first + out.len()`; `first` is a multiple of 4.
    pub fn fill_uniform(&self, first: u64, out: &mut [f32]) {
        self.fill(first, out, |x| x.map(unit));
    }

    /// Fills `out` with 1 where [`bernoulli`](Self::bernoulli) is true and 0 elsewhere, for elements
    /// `first..first + out.len()`; `first` is a multiple of 4.
    pub fn fill_bernoulli(&self, first: u64, p: f64, out: &mut [f32]) {
        let event = |x| f32::from(u8::from(f64::from(unit(x)) < p));
        self.fill(first, out, |x| x.map(event));
    }

    /// Fills `out` with the normals of elements `0..out.len()`.
    pub fn fill_normal(&self, out: &mut [f32]) {
        self.fill(0, out, normals);
    }

    fn fill(&self, first: u64, out: &mut [f32], f: impl Fn([u32; 4]) -> [f32; 4] + Sync) {
        debug_assert_eq!(first % 4, 0);
        let serial = |first: u64, out: &mut [f32]| {
            for (i, four) in out.chunks_mut(4).enumerate() {
                let x = f(self.block(first / 4 + i as u64));
                four.iter_mut().zip(x).for_each(|(o, x)| *o = x);
            }
        };
        if out.len() <= GRAIN {
            return serial(first, out);
        }
        let parts = out.par_chunks_mut(GRAIN).enumerate();
        parts.for_each(|(i, out)| serial(first + (i * GRAIN) as u64, out));
    }

    /// A uniform permutation of `0..n` (Durstenfeld, "Algorithm 235: random permutation", 1964).
    ///
    /// ```
    /// use dl_autograd::{Purpose, Rng};
    /// let mut order = Rng::new(42, Purpose::Shuffle, 0).permutation(5);
    /// order.sort();
    /// assert_eq!(order, [0, 1, 2, 3, 4]);
    /// ```
    pub fn permutation(&self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64, i as u64 + 1) as usize);
        }
        order
    }

    fn block(&self, index: u64) -> [u32; 4] {
        let [lo, hi] = split(index);
        philox([lo, hi, self.step[0], self.step[1]], self.key)
    }
}

fn split(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

fn splitmix(x: u64) -> u64 {
    let z = x.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn unit(x: u32) -> f32 {
    (x >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

fn normals(x: [u32; 4]) -> [f32; 4] {
    let pair = |a: u32, b: u32| {
        // 1 − u lies in (0, 1], so that the logarithm is finite.
        let radius = (-2.0 * (1.0 - unit(a)).ln()).sqrt();
        let (sin, cos) = (std::f32::consts::TAU * unit(b)).sin_cos();
        [radius * cos, radius * sin]
    };
    let ([a, b], [c, d]) = (pair(x[0], x[1]), pair(x[2], x[3]));
    [a, b, c, d]
}

#[inline(always)]
fn philox(mut c: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p0 = u64::from(c[0]) * 0xD251_1F53;
        let p1 = u64::from(c[2]) * 0xCD9E_8D57;
        c = [
            (p1 >> 32) as u32 ^ c[1] ^ key[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ c[3] ^ key[1],
            p0 as u32,
        ];
        key = [
            key[0].wrapping_add(0x9E37_79B9),
            key[1].wrapping_add(0xBB67_AE85),
        ];
    }
    c
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Known answers published with the authors' Random123 library (kat_vectors, philox4x32 10).
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox(
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0]
            ),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn uniforms_and_normals_have_their_moments() {
        let rng = Rng::new(3, Purpose::Noise, 5);
        let n = 200_000;
        let moments = |f: &dyn Fn(u64) -> f32| {
            let mean = (0..n).map(|i| f64::from(f(i))).sum::<f64>() / n as f64;
            let var = (0..n)
                .map(|i| (f64::from(f(i)) - mean).powi(2))
                .sum::<f64>()
                / n as f64;
            (mean, var)
        };
        // Four standard errors: of the mean σ/√n, of the variance about σ²·√(2/n).
        let (mean, var) = moments(&|i| rng.uniform(i));
        assert!((mean - 0.5).abs() < 0.0026 && (var - 1.0 / 12.0).abs() < 0.0011);
        let (mean, var) = moments(&|i| rng.normal(i));
        assert!(mean.abs() < 0.009 && (var - 1.0).abs() < 0.013);
    }

    #[test]
    fn forks_differ_from_each_other_and_from_their_source() {
        let rng = Rng::new(0, Purpose::Dropout, 0);
        let first: std::collections::BTreeSet<u32> = (0..100)
            .map(|i| rng.fork(i).u32(0))
            .chain([rng.u32(0)])
            .collect();
        assert_eq!(first.len(), 101);
    }

    #[test]
    fn filling_equals_reading_one_by_one() {
        let rng = Rng::named(9, Purpose::Init, "conv.weight");
        let (mut uniform, mut normal) = ([0.0; 13], [0.0; 13]);
        rng.fill_uniform(8, &mut uniform);
        rng.fill_normal(&mut normal);
        for i in 0..13 {
            assert_eq!(uniform[i], rng.uniform(8 + i as u64));
            assert_eq!(normal[i], rng.normal(i as u64));
        }
    }

    #[test]
    fn a_permutation_holds_every_index_once_and_depends_on_the_step() {
        let order = Rng::new(1, Purpose::Shuffle, 0).permutation(1000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1000));
        assert_ne!(order, Rng::new(1, Purpose::Shuffle, 1).permutation(1000));
    }

    /// A chi-squared test over the 24 orders of four items.
    #[test]
    fn every_permutation_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        let n = 24_000;
        for step in 0..n {
            let order = Rng::new(2, Purpose::Shuffle, step).permutation(4);
            *counts.entry(order).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        let expected = n as f64 / 24.;
        let chi_squared: f64 = counts
            .values()
            .map(|&c| (f64::from(c) - expected).powi(2) / expected)
            .sum();
        // 23 degrees of freedom: 49.7 is exceeded once in a thousand.
        assert!(chi_squared < 49.7, "{chi_squared}");
    }

    #[test]
    fn events_have_their_probability_and_are_sure_at_both_ends() {
        let rng = Rng::new(7, Purpose::DropPath, 1);
        let n = 100_000;
        for p in [0.1, 0.5, 0.9] {
            let count = (0..n).filter(|&i| rng.bernoulli(i, p)).count() as f64;
            // Four standard deviations.
            let sigma = (n as f64 * p * (1. - p)).sqrt();
            assert!((count - n as f64 * p).abs() < 4. * sigma, "{p}: {count}");
        }
        assert!((0..n).all(|i| rng.bernoulli(i, 1.) && !rng.bernoulli(i, 0.)));
        assert!(!rng.bernoulli(0, f64::NAN));
    }

    /// Sizes around the grain, and one that ends in the middle of a block.
    #[test]
    fn filling_gives_the_same_bits_for_any_number_of_threads() {
        let rng = Rng::new(1, Purpose::Init, 0);
        let filled = |threads: usize, n: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let mut out = vec![0.; 3 * n];
                rng.fill_uniform(8, &mut out[..n]);
                rng.fill_normal(&mut out[n..2 * n]);
                rng.fill_bernoulli(4, 0.3, &mut out[2 * n..]);
                (out, rng.permutation(n))
            })
        };
        for n in [GRAIN, GRAIN + 1, 3 * GRAIN + 7] {
            let one = filled(1, n);
            assert_eq!(one, filled(2, n));
            assert_eq!(one, filled(5, n));
            let (one, last) = (one.0, n as u64 - 1);
            assert_eq!(one[n - 1], rng.uniform(8 + last));
            assert_eq!(one[2 * n - 1], rng.normal(last));
            assert_eq!(one[3 * n - 1] == 1., rng.bernoulli(4 + last, 0.3));
        }
    }
}
