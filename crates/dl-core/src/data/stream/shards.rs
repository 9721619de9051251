//! The records of all shards, one after the other.

use std::sync::Arc;

use super::{IterableDataset, Records};
use crate::data::DataError;
use crate::data::assembly::caught;

/// A record, or what came in its place, and its place among the records of the epoch before any
/// shuffling of records.
pub(super) struct Numbered<R> {
    pub index: usize,
    pub record: Result<R, DataError>,
}

/// What is left of the shards of an epoch.
pub(super) struct Shards<S: IterableDataset> {
    dataset: Arc<S>,
    epoch: u64,
    left: std::vec::IntoIter<usize>,
    current: Option<Records<S::Record>>,
    index: usize,
}

impl<S: IterableDataset> Shards<S> {
    pub fn new(dataset: Arc<S>, epoch: u64, order: Vec<usize>) -> Self {
        Self {
            dataset,
            epoch,
            left: order.into_iter(),
            current: None,
            index: 0,
        }
    }

    /// Begins with the next shard if none is open; `None` behind the last.
    fn open(&mut self) -> Option<Result<&mut Records<S::Record>, DataError>> {
        if self.current.is_none() {
            let shard = self.left.next()?;
            match caught(|| self.dataset.records(shard, self.epoch)) {
                Ok(records) => self.current = Some(records),
                Err(error) => return Some(Err(error)),
            }
        }
        self.current.as_mut().map(Ok)
    }
}

impl<S: IterableDataset> Iterator for Shards<S> {
    type Item = Numbered<S::Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = match self.open()? {
                Ok(records) => caught(|| records.next().transpose()),
                Err(error) => Err(error),
            };
            let index = self.index;
            let record = match record {
                Ok(Some(record)) => Ok(record),
                Ok(None) => {
                    self.current = None;
                    continue;
                }
                Err(error) => {
                    if matches!(error, DataError::Panicked { .. }) {
                        // Whatever was half-changed is not asked again.
                        self.current = None;
                    }
                    Err(error)
                }
            };
            self.index += 1;
            return Some(Numbered { index, record });
        }
    }
}
