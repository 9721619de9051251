//! Which items the batches of an epoch hold.

use super::DataError;

/// The items of an epoch in their order, cut into batches.
pub(super) struct Plan {
    order: Vec<usize>,
    /// Where each batch ends in the order.
    ends: Vec<usize>,
    /// How often each item of the order was there before; empty when none comes twice.
    repetitions: Vec<u32>,
}

impl Plan {
    /// Batches of one size, the last one smaller or left out; `len` is that of the data set.
    pub fn cut(
        order: Vec<usize>,
        batch_size: usize,
        drop_last: bool,
        len: usize,
    ) -> Result<Self, DataError> {
        let last = if drop_last {
            order.len() / batch_size
        } else {
            order.len().div_ceil(batch_size)
        };
        let ends = (1..=last)
            .map(|n| (n * batch_size).min(order.len()))
            .collect();
        Self::new(order, ends, len)
    }

    pub fn of_batches(batches: Vec<Vec<usize>>, len: usize) -> Result<Self, DataError> {
        let ends = batches.iter().scan(0, |end, batch| {
            *end += batch.len();
            Some(*end)
        });
        let ends = ends.collect();
        Self::new(batches.concat(), ends, len)
    }

    fn new(order: Vec<usize>, ends: Vec<usize>, len: usize) -> Result<Self, DataError> {
        let mut seen = vec![0u32; len];
        let mut repetitions = Vec::with_capacity(order.len());
        for &index in &order {
            let times = seen.get_mut(index);
            let times = times.ok_or(DataError::OutOfRange { index, len })?;
            repetitions.push(*times);
            *times += 1;
        }
        if repetitions.iter().all(|&times| times == 0) {
            repetitions = Vec::new();
        }
        Ok(Self {
            order,
            ends,
            repetitions,
        })
    }

    /// Number of batches.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The items of a batch, each with how often it was shown before.
    pub fn items(&self, batch: usize) -> impl Iterator<Item = (usize, u32)> {
        let first = match batch {
            0 => 0,
            n => self.ends[n - 1],
        };
        let repetition = |at: usize| self.repetitions.get(at).copied().unwrap_or(0);
        (first..self.ends[batch]).map(move |at| (self.order[at], repetition(at)))
    }
}
