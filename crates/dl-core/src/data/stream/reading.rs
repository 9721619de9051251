//! Where the records of an epoch are cut into batches, in order, whoever asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::IterableDataset;
use super::shards::{Numbered, Shards};
use super::shuffle_buffer::ShuffleBuffer;
use crate::data::DataError;

/// The records of one batch; fewer than a batch has at the end, none behind it.
pub(super) type Chunk<R> = Result<Vec<Numbered<R>>, DataError>;

pub(super) struct Reading<S: IterableDataset> {
    records: ShuffleBuffer<Shards<S>>,
    batch_size: usize,
    /// Batches that were handed out before the run stopped, still to be read again.
    to_skip: usize,
    /// The first batch whose records are not read yet.
    next: usize,
    /// What was read for batches that other threads were given first.
    waiting: BTreeMap<usize, Chunk<S::Record>>,
}

impl<S: IterableDataset> Reading<S> {
    pub fn new(records: ShuffleBuffer<Shards<S>>, batch_size: usize, first: usize) -> Self {
        Self {
            records,
            batch_size,
            to_skip: first,
            next: first,
            waiting: BTreeMap::new(),
        }
    }

    /// The records of a batch. Threads may ask out of order: what comes before is read as well, and
    /// waits for them.
    pub fn chunk(&mut self, batch: usize, stop: &AtomicBool) -> Chunk<S::Record> {
        while self.next <= batch {
            let chunk = self.skip(stop).map(|()| self.read(stop));
            self.waiting.insert(self.next, chunk);
            self.next += 1;
        }
        self.waiting
            .remove(&batch)
            .unwrap_or_else(|| Ok(Vec::new()))
    }

    fn read(&mut self, stop: &AtomicBool) -> Vec<Numbered<S::Record>> {
        let records = std::iter::from_fn(|| self.records.next(stop));
        records.take(self.batch_size).collect()
    }

    /// Passes over what came before the position that is gone on from.
    fn skip(&mut self, stop: &AtomicBool) -> Result<(), DataError> {
        let batches = std::mem::take(&mut self.to_skip);
        for batch in 0..batches {
            if self.read(stop).is_empty() && !stop.load(Ordering::Relaxed) {
                let (batch, batches) = (batches as u64, batch as u64);
                return Err(DataError::Position { batch, batches });
            }
        }
        Ok(())
    }
}
