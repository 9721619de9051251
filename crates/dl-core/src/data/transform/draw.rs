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

    /// `true` with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        f64::from(self.uniform()) < p
    }

    fn next(&mut self) -> u64 {
        self.drawn += 1;
        self.item | (self.drawn - 1)
    }
}
