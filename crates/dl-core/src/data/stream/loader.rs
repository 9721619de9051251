//! Batches from a stream.

use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use dl_autograd::{Purpose, Rng};

use super::IterableDataset;
use super::reading::Reading;
use super::shards::{Numbered, Shards};
use super::shuffle_buffer::ShuffleBuffer;
use crate::data::assembly::{Assembly, Pending};
use crate::data::batches::{Batches, Build, Built, Pace};
use crate::data::option::above_zero;
use crate::data::{Collate, DataError, OnError, Position, Transform};

/// Reads, shuffles, transforms and batches a stream, on worker threads if asked to.
///
/// ```text
/// order of the shards in epoch e = Rng(seed, Shuffle, e) permutes them, if shuffling
/// draw n of epoch e              = one of the next `shuffle_buffer` records, by Rng(seed, Shuffle, e)
/// randomness of record i         = Draw(seed, e, i), i counted before records are shuffled
/// ```
///
/// So batches have the same bits for any number of workers, and any [`Position`] can be gone on from,
/// as with a [`DataLoader`](crate::data::DataLoader). What came before in the epoch is then read
/// again, but neither parsed nor transformed. Records that fail to be read count as records, so that a
/// batch holds the same ones whether failures are skipped or not. Defaults are the `DataLoader`'s.
///
/// ```
/// use dl_core::data::{Collate, DataError, IterStream, StreamLoader};
/// struct List;
/// impl Collate<u32> for List {
///     type Batch = Vec<u32>;
///     fn collate(&self, items: Vec<u32>) -> Result<Vec<u32>, DataError> {
///         Ok(items)
///     }
/// }
/// let numbers = IterStream::new(|_epoch| (0..).map(Ok));
/// let loader = StreamLoader::new(numbers, List).batch_size(3).shuffle_buffer(10).workers(2);
/// let batches: Vec<Vec<u32>> = loader.epoch(0)?.take(5).collect::<Result<_, _>>()?;
/// assert_eq!(batches.len(), 5);
/// assert!(batches[0].iter().all(|&n| n < 12));
/// # Ok::<(), DataError>(())
/// ```
pub struct StreamLoader<S: IterableDataset, C: Collate<S::Item>> {
    dataset: Arc<S>,
    collate: Arc<C>,
    transform: Option<Arc<dyn Transform<S::Item>>>,
    batch_transform: Option<Arc<dyn Transform<C::Batch>>>,
    batch_size: usize,
    shuffle_buffer: usize,
    epoch_batches: Option<usize>,
    seed: u64,
    drop_last: bool,
    workers: usize,
    prefetch: usize,
    on_error: OnError,
}

impl<S, C> StreamLoader<S, C>
where
    S: IterableDataset + 'static,
    S::Item: 'static,
    C: Collate<S::Item> + 'static,
    C::Batch: Send + 'static,
{
    /// A loader with PyTorch's defaults.
    pub fn new(dataset: S, collate: C) -> Self {
        Self {
            dataset: Arc::new(dataset),
            collate: Arc::new(collate),
            transform: None,
            batch_transform: None,
            batch_size: 1,
            shuffle_buffer: 0,
            epoch_batches: None,
            seed: 0,
            drop_last: false,
            workers: 0,
            prefetch: 2,
            on_error: OnError::Stop,
        }
    }

    /// Changes each item before it is batched. Default: none.
    pub fn transform(mut self, transform: impl Transform<S::Item> + 'static) -> Self {
        self.transform = Some(Arc::new(transform));
        self
    }

    /// Changes each batch, with random numbers of its own. Default: none.
    pub fn batch_transform(mut self, transform: impl Transform<C::Batch> + 'static) -> Self {
        self.batch_transform = Some(Arc::new(transform));
        self
    }

    /// Items of a batch, `> 0`. Default 1.
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Records among which the next one is drawn; above 0 the shards come in random order too. The
    /// records are held in memory. Default 0: the order of the stream.
    pub fn shuffle_buffer(mut self, records: usize) -> Self {
        self.shuffle_buffer = records;
        self
    }

    /// Ends every epoch after so many batches, `> 0`, where the stream goes on; the trainer plans with
    /// it. Default: the end of the stream, which nobody knows beforehand.
    pub fn epoch_batches(mut self, batches: usize) -> Self {
        self.epoch_batches = Some(batches);
        self
    }

    /// Seed of the order and of random transforms. Default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether a last batch that is not full is left out. Default `false`.
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// Threads that build batches; with 0 the caller's thread does. Default 0.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Batches that a worker may be ahead of the caller, `> 0`. Default 2.
    pub fn prefetch(mut self, prefetch: usize) -> Self {
        self.prefetch = prefetch;
        self
    }

    /// What to do with records and items that fail. Default [`OnError::Stop`].
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// The stream.
    pub fn dataset(&self) -> &S {
        &self.dataset
    }

    /// What [`StreamLoader::epoch_batches`] was told.
    pub(crate) fn planned_batches(&self) -> Option<usize> {
        self.epoch_batches
    }

    /// The batches of an epoch from its first one.
    pub fn epoch(&self, epoch: u64) -> Result<Batches<C::Batch>, DataError> {
        self.batches(Position { epoch, batch: 0 })
    }

    /// The batches from a position to the end of its epoch.
    ///
    /// Fails on an option out of its range and when no thread can be started. A position beyond the end
    /// of the stream is the error of the first batch.
    ///
    /// ```
    /// # use dl_core::data::{Collate, DataError, IterStream, StreamLoader};
    /// # struct List;
    /// # impl Collate<u32> for List {
    /// #     type Batch = Vec<u32>;
    /// #     fn collate(&self, items: Vec<u32>) -> Result<Vec<u32>, DataError> {
    /// #         Ok(items)
    /// #     }
    /// # }
    /// let loader = |workers| {
    ///     let numbers = IterStream::new(|_epoch| (0..23).map(Ok));
    ///     StreamLoader::new(numbers, List).batch_size(4).shuffle_buffer(8).workers(workers)
    /// };
    /// let whole: Vec<Vec<u32>> = loader(0).epoch(5)?.collect::<Result<_, _>>()?;
    /// let mut batches = loader(1).epoch(5)?;
    /// batches.by_ref().take(2).for_each(drop);
    /// let rest: Vec<Vec<u32>> = loader(3).batches(batches.position())?.collect::<Result<_, _>>()?;
    /// assert_eq!((whole.len(), &whole[2..]), (6, &rest[..]));
    /// # Ok::<(), DataError>(())
    /// ```
    pub fn batches(&self, position: Position) -> Result<Batches<C::Batch>, DataError> {
        above_zero("batch_size", self.batch_size)?;
        above_zero("prefetch", self.prefetch)?;
        above_zero("epoch_batches", self.epoch_batches.unwrap_or(1))?;
        let batches = self.epoch_batches.unwrap_or(usize::MAX);
        if position.batch > batches as u64 {
            let (batch, batches) = (position.batch, batches as u64);
            return Err(DataError::Position { batch, batches });
        }
        let pace = Pace {
            first: position,
            batches,
            workers: self.workers,
            prefetch: self.prefetch,
        };
        Batches::start(Box::new(self.job(position)), pace)
    }

    fn job(&self, position: Position) -> Job<S, C> {
        let rng = Rng::new(self.seed, Purpose::Shuffle, position.epoch);
        let shards = match (self.shuffle_buffer, self.dataset.shards()) {
            (0, shards) => (0..shards).collect(),
            (_, shards) => rng.permutation(shards),
        };
        let shards = Shards::new(Arc::clone(&self.dataset), position.epoch, shards);
        let records = ShuffleBuffer::new(shards, self.shuffle_buffer, rng.fork(0));
        let first = position.batch as usize;
        Job {
            dataset: Arc::clone(&self.dataset),
            reading: Mutex::new(Reading::new(records, self.batch_size, first)),
            full: if self.drop_last { self.batch_size } else { 1 },
            assembly: Assembly {
                collate: Arc::clone(&self.collate),
                transform: self.transform.clone(),
                batch_transform: self.batch_transform.clone(),
                seed: self.seed,
                epoch: position.epoch,
                on_error: self.on_error,
            },
        }
    }
}

/// What one epoch needs; shared by its threads.
struct Job<S: IterableDataset, C: Collate<S::Item>> {
    dataset: Arc<S>,
    reading: Mutex<Reading<S>>,
    /// Records that make a batch, at least.
    full: usize,
    assembly: Assembly<S::Item, C>,
}

impl<S: IterableDataset, C: Collate<S::Item>> Build<C::Batch> for Job<S, C> {
    fn build(&self, batch: usize, stop: &AtomicBool) -> Built<C::Batch> {
        // Code that is not ours is caught below the lock.
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let chunk = reading.chunk(batch, stop);
        drop(reading);
        match chunk {
            Err(error) => Built::failed(error),
            Ok(records) if records.len() < self.full => Built::end(),
            Ok(records) => self.assembled(batch, records, stop),
        }
    }
}

impl<S: IterableDataset, C: Collate<S::Item>> Job<S, C> {
    fn assembled(
        &self,
        batch: usize,
        records: Vec<Numbered<S::Record>>,
        stop: &AtomicBool,
    ) -> Built<C::Batch> {
        let pending = records.into_iter().map(|Numbered { index, record }| {
            let record = record.map(Rc::new);
            let named = record.as_ref().ok().map(Rc::clone);
            let name = move || {
                let record = named?;
                self.dataset.name(&record)
            };
            let load = move || {
                let record = record?;
                self.dataset.item(&record)
            };
            Pending {
                index,
                repetition: 0,
                load,
                name: move || name().unwrap_or_else(|| format!("#{index}")),
            }
        });
        self.assembly.build(batch, pending, stop)
    }
}
