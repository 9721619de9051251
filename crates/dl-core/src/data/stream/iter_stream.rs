//! An iterator as a stream.

use super::{IterableDataset, Records};
use crate::data::DataError;

/// What an iterator gives, made anew for each epoch by a function of the epoch: simulated data, a
/// protocol of one's own. It may be endless.
///
/// ```
/// use dl_core::data::{IterStream, IterableDataset};
/// let stream = IterStream::new(|epoch| (epoch..).map(|n| Ok(n * n)));
/// let third = stream.records(0, 10)?.nth(2).unwrap()?;
/// assert_eq!(third, 144);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct IterStream<F> {
    make: F,
}

impl<F, I, T> IterStream<F>
where
    F: Fn(u64) -> I + Send + Sync,
    I: Iterator<Item = Result<T, DataError>> + Send + 'static,
    T: Clone + Send,
{
    /// Takes what makes the iterator of an epoch; it must give the same every time.
    pub fn new(make: F) -> Self {
        Self { make }
    }
}

impl<F, I, T> IterableDataset for IterStream<F>
where
    F: Fn(u64) -> I + Send + Sync,
    I: Iterator<Item = Result<T, DataError>> + Send + 'static,
    T: Clone + Send,
{
    type Record = T;
    type Item = T;

    fn records(&self, _: usize, epoch: u64) -> Result<Records<T>, DataError> {
        Ok(Box::new((self.make)(epoch)))
    }

    fn item(&self, record: &T) -> Result<T, DataError> {
        Ok(record.clone())
    }
}
