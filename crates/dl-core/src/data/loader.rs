//! Batches from a data set.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dl_autograd::{Purpose, Rng};

use super::assembly::{Assembly, Pending};
use super::batches::{Batches, Build, Built, Pace};
use super::option::above_zero;
use super::plan::Plan;
use super::{BatchSampler, Collate, DataError, Dataset, Position, Sampler, Transform};

/// What to do when an item cannot be loaded, transformed, or panics on the way.
///
/// ```
/// assert_eq!(dl_core::data::OnError::default(), dl_core::data::OnError::Stop);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The epoch ends with an error that names the item.
    #[default]
    Stop,
    /// The item is left out of its batch, logged and counted in [`Batches::skipped`]; an empty batch is left out too.
    Skip,
}

/// Shuffles, loads, transforms and batches the items of a data set, on worker threads if asked to.
///
/// ```text
/// order of epoch e = Rng(seed, Shuffle, e).permutation(n)      randomness of item i = Draw(seed, e, i)
/// ```
///
/// So batches have the same bits for any number of workers, and any [`Position`] can be gone on from
/// without reading what came before. An item that a sampler repeats within an epoch is transformed
/// differently each time. Defaults are PyTorch's: batches of 1, in order, the last one
/// kept though smaller, no workers. Unlike in PyTorch the epoch is told, not counted.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::data::{DataLoader, StackTensors, TensorDataset};
/// let x = Tensor::arange(0u32, 10, &Device::Cpu)?;
/// let loader = DataLoader::new(TensorDataset::new(x.clone(), x)?, StackTensors).batch_size(4);
/// assert_eq!(loader.len(), 3);
/// let last = loader.epoch(0)?.last().unwrap()?;
/// assert_eq!(last.0.to_vec1::<u32>()?, [8, 9]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
pub struct DataLoader<D: Dataset, C: Collate<D::Item>> {
    dataset: Arc<D>,
    collate: Arc<C>,
    transform: Option<Arc<dyn Transform<D::Item>>>,
    batch_transform: Option<Arc<dyn Transform<C::Batch>>>,
    batch_size: usize,
    order: Order,
    seed: u64,
    drop_last: bool,
    workers: usize,
    prefetch: usize,
    on_error: OnError,
}

enum Order {
    Given,
    Shuffled,
    Sampled(Arc<dyn Sampler>),
    Batched(Arc<dyn BatchSampler>),
}

impl<D, C> DataLoader<D, C>
where
    D: Dataset + 'static,
    D::Item: 'static,
    C: Collate<D::Item> + 'static,
    C::Batch: Send + 'static,
{
    /// A loader with PyTorch's defaults.
    pub fn new(dataset: D, collate: C) -> Self {
        Self {
            dataset: Arc::new(dataset),
            collate: Arc::new(collate),
            transform: None,
            batch_transform: None,
            batch_size: 1,
            order: Order::Given,
            seed: 0,
            drop_last: false,
            workers: 0,
            prefetch: 2,
            on_error: OnError::Stop,
        }
    }

    /// Changes each item before it is batched. Default: none.
    pub fn transform(mut self, transform: impl Transform<D::Item> + 'static) -> Self {
        self.transform = Some(Arc::new(transform));
        self
    }

    /// Changes each batch, with random numbers of its own, such as [`Mixup`](super::Mixup). Default: none.
    pub fn batch_transform(mut self, transform: impl Transform<C::Batch> + 'static) -> Self {
        self.batch_transform = Some(Arc::new(transform));
        self
    }

    /// Items of a batch, `> 0`. Default 1.
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Whether each epoch has a random order of its own. Default `false`.
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.order = if shuffle {
            Order::Shuffled
        } else {
            Order::Given
        };
        self
    }

    /// Chooses the items of an epoch and their order, in place of [`DataLoader::shuffle`].
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.order = Order::Sampled(Arc::new(sampler));
        self
    }

    /// Chooses the items of every batch, in place of the order, the batch size and what becomes of
    /// the last batch.
    pub fn batch_sampler(mut self, sampler: impl BatchSampler + 'static) -> Self {
        self.order = Order::Batched(Arc::new(sampler));
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

    /// What to do with items that fail. Default [`OnError::Stop`].
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// The data set.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }

    /// Batches of an epoch; 0 when the batch size is.
    pub fn len(&self) -> usize {
        let items = match &self.order {
            Order::Given | Order::Shuffled => self.dataset.len(),
            Order::Sampled(sampler) => sampler.len(),
            Order::Batched(sampler) => return sampler.len(),
        };
        match (self.batch_size, self.drop_last) {
            (0, _) => 0,
            (size, true) => items / size,
            (size, false) => items.div_ceil(size),
        }
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of an epoch from its first one.
    pub fn epoch(&self, epoch: u64) -> Result<Batches<C::Batch>, DataError> {
        self.batches(Position { epoch, batch: 0 })
    }

    /// The batches from a position to the end of its epoch.
    ///
    /// Fails on an option out of its range, on a position beyond the end of an epoch, on a sampler
    /// that breaks its word, and when no thread can be started.
    pub fn batches(&self, position: Position) -> Result<Batches<C::Batch>, DataError> {
        let plan = self.plan(position.epoch)?;
        let batches = plan.len();
        if position.batch > batches as u64 {
            let (batch, batches) = (position.batch, batches as u64);
            return Err(DataError::Position { batch, batches });
        }
        let job = Job {
            dataset: Arc::clone(&self.dataset),
            plan,
            assembly: Assembly {
                collate: Arc::clone(&self.collate),
                transform: self.transform.clone(),
                batch_transform: self.batch_transform.clone(),
                seed: self.seed,
                epoch: position.epoch,
                on_error: self.on_error,
            },
        };
        let pace = Pace {
            first: position,
            batches,
            workers: self.workers,
            prefetch: self.prefetch,
        };
        Batches::start(Box::new(job), pace)
    }

    /// The items of the batch at a position by their indices in the data set, those that cannot be
    /// loaded among them; nothing is read.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use dl_core::data::{DataLoader, Position, StackTensors, TensorDataset};
    /// let x = Tensor::arange(0u32, 10, &Device::Cpu)?;
    /// let loader = DataLoader::new(TensorDataset::new(x.clone(), x)?, StackTensors).batch_size(4);
    /// assert_eq!(loader.indices(Position { epoch: 0, batch: 2 })?, [8, 9]);
    /// # Ok::<(), dl_core::data::DataError>(())
    /// ```
    pub fn indices(&self, position: Position) -> Result<Vec<usize>, DataError> {
        let plan = self.plan(position.epoch)?;
        let (batch, batches) = (position.batch, plan.len() as u64);
        if batch >= batches {
            return Err(DataError::Position { batch, batches });
        }
        Ok(plan.items(batch as usize).map(|(index, _)| index).collect())
    }

    fn plan(&self, epoch: u64) -> Result<Plan, DataError> {
        above_zero("batch_size", self.batch_size)?;
        above_zero("prefetch", self.prefetch)?;
        let len = self.dataset.len();
        let order = match &self.order {
            Order::Given => (0..len).collect(),
            Order::Shuffled => Rng::new(self.seed, Purpose::Shuffle, epoch).permutation(len),
            Order::Sampled(sampler) => {
                let order = sampler.indices(self.seed, epoch);
                told("items", sampler.len(), order.len())?;
                order
            }
            Order::Batched(sampler) => {
                let batches = sampler.batches(self.seed, epoch);
                told("batches", sampler.len(), batches.len())?;
                return Plan::of_batches(batches, len);
            }
        };
        Plan::cut(order, self.batch_size, self.drop_last, len)
    }
}

/// Holds a sampler to its word: the trainer plans with it.
fn told(what: &'static str, wanted: usize, came: usize) -> Result<(), DataError> {
    match wanted == came {
        true => Ok(()),
        false => Err(DataError::SamplerLength { what, wanted, came }),
    }
}

/// What one epoch needs; shared by its threads.
struct Job<D: Dataset, C: Collate<D::Item>> {
    dataset: Arc<D>,
    plan: Plan,
    assembly: Assembly<D::Item, C>,
}

impl<D: Dataset, C: Collate<D::Item>> Build<C::Batch> for Job<D, C> {
    fn build(&self, batch: usize, stop: &AtomicBool) -> Built<C::Batch> {
        let pending = self.plan.items(batch).map(|(index, repetition)| Pending {
            index,
            repetition,
            load: move || self.dataset.get(index),
            name: move || self.dataset.name(index),
        });
        self.assembly.build(batch, pending, stop)
    }
}
