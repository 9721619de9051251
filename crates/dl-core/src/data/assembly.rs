//! From the items of a batch to the batch.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::batches::Built;
use super::{Collate, DataError, Draw, OnError, Transform};

/// Loads, transforms and collates what belongs together; the same for indexed and streamed data.
pub(super) struct Assembly<T, C: Collate<T>> {
    pub collate: Arc<C>,
    pub transform: Option<Arc<dyn Transform<T>>>,
    pub batch_transform: Option<Arc<dyn Transform<C::Batch>>>,
    pub seed: u64,
    pub epoch: u64,
    pub on_error: OnError,
}

/// An item that is still to be loaded.
pub(super) struct Pending<L, N> {
    pub index: usize,
    /// How often the epoch has shown it before.
    pub repetition: u32,
    pub load: L,
    pub name: N,
}

impl<T, C: Collate<T>> Assembly<T, C> {
    pub fn build<L, N>(
        &self,
        batch: usize,
        pending: impl Iterator<Item = Pending<L, N>>,
        stop: &AtomicBool,
    ) -> Built<C::Batch>
    where
        L: FnOnce() -> Result<T, DataError>,
        N: FnOnce() -> String,
    {
        let (mut items, mut skipped) = (Vec::new(), Vec::new());
        let mut failed = None;
        for pending in pending.take_while(|_| !stop.load(Ordering::Relaxed)) {
            match (self.item(pending), self.on_error) {
                (Ok(item), _) => items.push(item),
                (Err(error), OnError::Skip) => skipped.push(error),
                (Err(error), OnError::Stop) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let batch = match failed {
            Some(error) => Err(error),
            None if items.is_empty() => Ok(None),
            None => caught(|| self.collated(batch, items)).map(Some),
        };
        Built {
            batch,
            skipped,
            end: false,
        }
    }

    fn collated(&self, number: usize, items: Vec<T>) -> Result<C::Batch, DataError> {
        let batch = self.collate.collate(items)?;
        match &self.batch_transform {
            Some(transform) => {
                let mut draw = Draw::of_batch(self.seed, self.epoch, number);
                transform.apply(batch, &mut draw)
            }
            None => Ok(batch),
        }
    }

    fn item<L, N>(&self, pending: Pending<L, N>) -> Result<T, DataError>
    where
        L: FnOnce() -> Result<T, DataError>,
        N: FnOnce() -> String,
    {
        let Pending { index, load, .. } = pending;
        let load = || {
            let item = load()?;
            let mut draw = Draw::new(self.seed, self.epoch, index).repeated(pending.repetition);
            match &self.transform {
                Some(transform) => transform.apply(item, &mut draw),
                None => Ok(item),
            }
        };
        caught(load).map_err(|reason| DataError::Item {
            index,
            name: (pending.name)(),
            reason: Box::new(reason),
        })
    }
}

/// Runs code that is not ours and turns its panic into an error.
pub(super) fn caught<T>(run: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
    // What the closure could leave half-changed is dropped or is the data set's own, which is shared
    // between threads and must keep itself sound.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        Err(DataError::Panicked {
            message: message(payload.as_ref()),
        })
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
