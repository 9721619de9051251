//! A stream whose items are made of another's.

use super::{IterableDataset, Records};
use crate::data::DataError;

/// The items of a stream, each passed through a function; made by [`IterableDataset::map`].
///
/// ```
/// use dl_core::data::{IterStream, IterableDataset};
/// let doubled = IterStream::new(|_epoch| (0..3).map(Ok)).map(|x: i32| Ok(2 * x));
/// assert_eq!(doubled.item(&7)?, 14);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StreamMap<S, F> {
    stream: S,
    change: F,
}

impl<S, F> StreamMap<S, F> {
    pub(super) fn new(stream: S, change: F) -> Self {
        Self { stream, change }
    }
}

impl<S, F, T> IterableDataset for StreamMap<S, F>
where
    S: IterableDataset,
    F: Fn(S::Item) -> Result<T, DataError> + Send + Sync,
{
    type Record = S::Record;
    type Item = T;

    fn shards(&self) -> usize {
        self.stream.shards()
    }

    fn records(&self, shard: usize, epoch: u64) -> Result<Records<S::Record>, DataError> {
        self.stream.records(shard, epoch)
    }

    fn item(&self, record: &S::Record) -> Result<T, DataError> {
        (self.change)(self.stream.item(record)?)
    }

    fn name(&self, record: &S::Record) -> Option<String> {
        self.stream.name(record)
    }
}
