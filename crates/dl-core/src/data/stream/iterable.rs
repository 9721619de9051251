//! What a stream of items offers.

use super::StreamMap;
use crate::data::DataError;

/// The records of a shard in their order. An error takes the place of one record; what can be read
/// behind it follows.
pub type Records<R> = Box<dyn Iterator<Item = Result<R, DataError>> + Send>;

/// A collection that can only be read from the front; the same epoch always gives the same records.
///
/// Records are read one after the other, so reading should be cheap: a line, a row, some bytes. What is
/// dear, such as parsing or decoding, belongs into [`IterableDataset::item`], which runs on all workers.
/// Randomness belongs to a [`Transform`](crate::data::Transform) and to the loader's shuffle buffer.
///
/// ```
/// use dl_core::data::{Collate, DataError, IterableDataset, Records, StreamLoader};
/// struct Squares;
/// impl IterableDataset for Squares {
///     type Record = u64;
///     type Item = u64;
///     fn records(&self, _shard: usize, _epoch: u64) -> Result<Records<u64>, DataError> {
///         Ok(Box::new((0..5).map(Ok)))
///     }
///     fn item(&self, record: &u64) -> Result<u64, DataError> {
///         Ok(record * record)
///     }
/// }
/// struct Sum;
/// impl Collate<u64> for Sum {
///     type Batch = u64;
///     fn collate(&self, items: Vec<u64>) -> Result<u64, DataError> {
///         Ok(items.into_iter().sum())
///     }
/// }
/// let loader = StreamLoader::new(Squares, Sum).batch_size(2).workers(2);
/// let sums: Vec<u64> = loader.epoch(0)?.collect::<Result<_, _>>()?;
/// assert_eq!(sums, [0 + 1, 4 + 9, 16]);
/// # Ok::<(), DataError>(())
/// ```
pub trait IterableDataset: Send + Sync {
    /// What is read.
    type Record: Send;

    /// What a record becomes.
    type Item;

    /// Number of parts that can be read in any order, such as files. Default 1.
    fn shards(&self) -> usize {
        1
    }

    /// The records of a shard from its first one; called again for every epoch, and for every position
    /// that is gone on from.
    fn records(&self, shard: usize, epoch: u64) -> Result<Records<Self::Record>, DataError>;

    /// Makes the item of a record; called from any thread.
    fn item(&self, record: &Self::Record) -> Result<Self::Item, DataError>;

    /// What an error calls the record, such as its file and line. Default nothing.
    fn name(&self, record: &Self::Record) -> Option<String> {
        let _ = record;
        None
    }

    /// Passes every item through a function, on the thread that makes it.
    fn map<T, F>(self, change: F) -> StreamMap<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Item) -> Result<T, DataError> + Send + Sync,
    {
        StreamMap::new(self, change)
    }
}
