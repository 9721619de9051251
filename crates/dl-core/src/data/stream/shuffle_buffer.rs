//! Random order within a window.

use std::iter::Fuse;
use std::sync::atomic::{AtomicBool, Ordering};

use dl_autograd::Rng;

/// Holds the next `size` items of a source and hands out one of them at random, draw by draw.
pub(super) struct ShuffleBuffer<I: Iterator> {
    source: Fuse<I>,
    size: usize,
    rng: Rng,
    drawn: u64,
    held: Vec<I::Item>,
}

impl<I: Iterator> ShuffleBuffer<I> {
    /// With a size of 0 or 1 the order stays as it is.
    pub fn new(source: I, size: usize, rng: Rng) -> Self {
        Self {
            source: source.fuse(),
            size: size.max(1),
            rng,
            drawn: 0,
            held: Vec::new(),
        }
    }

    /// `None` at the end, and soon after `stop` is set.
    pub fn next(&mut self, stop: &AtomicBool) -> Option<I::Item> {
        while self.held.len() < self.size {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            match self.source.next() {
                Some(item) => self.held.push(item),
                None => break,
            }
        }
        let at = self.rng.below(self.drawn, self.held.len() as u64) as usize;
        self.drawn += 1;
        (!self.held.is_empty()).then(|| self.held.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use dl_autograd::Purpose;

    use super::*;

    fn order(len: u64, size: usize, epoch: u64) -> Vec<u64> {
        let rng = Rng::new(1, Purpose::Shuffle, epoch);
        let mut buffer = ShuffleBuffer::new(0..len, size, rng);
        std::iter::from_fn(|| buffer.next(&AtomicBool::new(false))).collect()
    }

    #[test]
    fn every_item_comes_once_and_none_earlier_than_its_window_allows() {
        for (len, size) in [(0, 4), (3, 4), (100, 7), (100, 1), (100, 0), (50, 500)] {
            let came = order(len, size, 0);
            let early = |(at, &item): (usize, &u64)| item as usize >= at + size.max(1);
            assert!(!came.iter().enumerate().any(early), "{len} {size}");
            let mut sorted = came.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..len));
            assert_eq!(came.is_sorted(), size < 2 || len == 0, "{len} {size}");
        }
        assert_ne!(order(100, 7, 0), order(100, 7, 1));
    }

    /// A chi-squared test over the 24 orders of four items in a buffer that holds them all.
    #[test]
    fn a_buffer_that_holds_everything_gives_every_order_equally_often() {
        let mut counts = std::collections::BTreeMap::new();
        let n = 24_000;
        for epoch in 0..n {
            *counts.entry(order(4, 10, epoch)).or_insert(0u32) += 1;
        }
        let expected = n as f64 / 24.;
        let chi_squared: f64 = counts
            .values()
            .map(|&count| (f64::from(count) - expected).powi(2) / expected)
            .sum();
        // 23 degrees of freedom: 49.7 is exceeded once in a thousand.
        assert!(counts.len() == 24 && chi_squared < 49.7, "{chi_squared}");
    }
}
