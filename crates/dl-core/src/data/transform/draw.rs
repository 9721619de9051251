//! The random numbers of one item.

use dl_autograd::{Purpose, Rng};

/// Random numbers that depend on seed, epoch and index of an item alone, never on threads or order.
///
/// ```
/// use dl_core::data::Draw;
/// let mut draw = Draw::new(42, 0, 17);
/// let first = draw.uniform();
/// assert!((0.0..1.0).contains(&first));
/// assert_eq!(Draw::new(42, 0, 17).uniform(), first);
/// assert_ne!(Draw::new(42, 1, 17).uniform(), first);
/// ```
#[derive(Clone, Debug)]
pub struct Draw {
    rng: Rng,
    item: u64,
    drawn: u64,
}

impl Draw {
    /// The numbers of item `index` in `epoch`. Each of 2³⁰ items has 2³² numbers of its own.
    pub fn new(seed: u64, epoch: u64, index: usize) -> Self {
        Self {
            rng: Rng::new(seed, Purpose::Augment, epoch),
            item: (index as u64) << 32,
            drawn: 0,
        }
    }

    /// The numbers of a whole batch, which no item shares.
    pub fn of_batch(seed: u64, epoch: u64, batch: usize) -> Self {
        // Repeated items fork with 32 bits.
        const BATCHES: u64 = 1 << 32;
        let draw = Self::new(seed, epoch, batch);
        Self {
            rng: draw.rng.fork(BATCHES),
            ..draw
        }
    }

    /// Other numbers for each time that an epoch shows the same item again.
    pub(in crate::data) fn repeated(self, times: u32) -> Self {
        match times {
            0 => self,
            n => Self {
                rng: self.rng.fork(u64::from(n)),
                ..self
            },
        }
    }

    /// Uniform in `[0, 1)`.
    pub fn uniform(&mut self) -> f32 {
        let element = self.next();
        // A block of the generator holds four numbers; `below` reads by blocks, so this does too.
        self.rng.uniform(element.wrapping_mul(4))
    }

    /// Uniform in `[low, high)`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * f64::from(self.uniform())
    }

    /// Uniform in `0..n`; `0` when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let element = self.next();
        self.rng.below(element, n as u64) as usize
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f32 {
        let element = self.next();
        self.rng.normal(element.wrapping_mul(4))
    }

    /// A permutation of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }

    /// Beta distributed with both parameters `alpha`, `> 0`: in `[0, 1]`, symmetric about a half.
    ///
    /// ```text
    /// λ = G₁ / (G₁ + G₂)          G₁, G₂ ~ Γ(α)
    /// ```
    ///
    /// Source: Marsaglia, Tsang, "A simple method for generating gamma variables", 2000.
    pub fn beta(&mut self, alpha: f64) -> f64 {
        let (first, second) = (self.log_gamma_variate(alpha), self.log_gamma_variate(alpha));
        1.0 / (1.0 + (second - first).exp())
    }

    /// The logarithm of a gamma variate: for small `alpha` the variate itself is 0 in any float.
    fn log_gamma_variate(&mut self, alpha: f64) -> f64 {
        // Γ(α) is Γ(α + 1) · u^(1/α), and for α + 1 the method needs no case of its own.
        let d = alpha + 1.0 - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = f64::from(self.normal());
            let v = (1.0 + c * x).powi(3);
            let u = 1.0 - f64::from(self.uniform());
            if v > 0.0 && u.ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
                let boost = (1.0 - f64::from(self.uniform())).ln() / alpha;
                return d.ln() + v.ln() + boost;
            }
        }
    }

    /// `true` with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        f64::from(self.uniform()) < p
    }

    fn next(&mut self) -> u64 {
        self.drawn += 1;
        self.item | (self.drawn - 1)
    }
}
