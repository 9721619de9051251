//! The batches of one epoch, built ahead on threads.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{Collate, DataError, Dataset, Draw, OnError, Position, Transform};

/// The rest of an epoch; see [`DataLoader::batches`](super::DataLoader::batches).
///
/// Ends after the first error. Dropping it stops its threads and waits for the items they are at.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::data::{DataLoader, Position, StackTensors, TensorDataset};
/// let x = Tensor::arange(0u32, 10, &Device::Cpu)?;
/// let loader = DataLoader::new(TensorDataset::new(x.clone(), x)?, StackTensors).batch_size(4);
/// let mut batches = loader.epoch(5)?;
/// batches.next();
/// assert_eq!(batches.position(), Position { epoch: 5, batch: 1 });
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
pub struct Batches<D: Dataset, C: Collate<D::Item>> {
    source: Source<D, C>,
    epoch: u64,
    next: usize,
    batches: usize,
    failed: bool,
    skipped: Vec<DataError>,
}

/// What one epoch needs; shared by its threads.
pub(super) struct Job<D: Dataset, C> {
    pub dataset: Arc<D>,
    pub collate: Arc<C>,
    pub transform: Option<Arc<dyn Transform<D::Item>>>,
    pub order: Vec<usize>,
    pub epoch: u64,
    pub seed: u64,
    pub batch_size: usize,
    pub batches: usize,
    pub on_error: OnError,
}

enum Source<D: Dataset, C: Collate<D::Item>> {
    Here(Job<D, C>),
    Threads(Workers<D, C>),
}

struct Built<B> {
    /// `None` when every item was skipped.
    batch: Result<Option<B>, DataError>,
    skipped: Vec<DataError>,
}

impl<D, C> Batches<D, C>
where
    D: Dataset + 'static,
    D::Item: 'static,
    C: Collate<D::Item> + 'static,
    C::Batch: Send + 'static,
{
    pub(super) fn start(
        job: Job<D, C>,
        first: usize,
        workers: usize,
        prefetch: usize,
    ) -> Result<Self, DataError> {
        let (epoch, batches) = (job.epoch, job.batches);
        let useful = workers.min(batches - first.min(batches));
        let source = match useful {
            0 => Source::Here(job),
            n => Source::Threads(Workers::start(job, first, n, prefetch)?),
        };
        Ok(Self {
            source,
            epoch,
            next: first,
            batches,
            failed: false,
            skipped: Vec::new(),
        })
    }
}

impl<D: Dataset, C: Collate<D::Item>> Batches<D, C> {
    /// The batch that comes next; save it to go on from here.
    pub fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            batch: self.next as u64,
        }
    }

    /// What went wrong with each item left out so far, under [`OnError::Skip`].
    pub fn skipped(&self) -> &[DataError] {
        &self.skipped
    }
}

impl<D: Dataset, C: Collate<D::Item>> Iterator for Batches<D, C> {
    type Item = Result<C::Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed && self.next < self.batches {
            let built = match &self.source {
                Source::Here(job) => job.build(self.next, &AtomicBool::new(false)),
                Source::Threads(workers) => workers.wait_for(self.next),
            };
            for error in &built.skipped {
                tracing::warn!("skipped {error}");
            }
            self.skipped.extend(built.skipped);
            // A position saved after an error asks for the failing batch again.
            self.failed = built.batch.is_err();
            self.next += usize::from(!self.failed);
            if let Some(batch) = built.batch.transpose() {
                return Some(batch);
            }
        }
        None
    }
}

impl<D: Dataset, C: Collate<D::Item>> Job<D, C> {
    fn build(&self, batch: usize, stop: &AtomicBool) -> Built<C::Batch> {
        let first = batch * self.batch_size;
        let last = (first + self.batch_size).min(self.order.len());
        let (mut items, mut skipped) = (Vec::with_capacity(last - first), Vec::new());
        for &index in &self.order[first..last] {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            match (self.item(index), self.on_error) {
                (Ok(item), _) => items.push(item),
                (Err(error), OnError::Skip) => skipped.push(error),
                (Err(error), OnError::Stop) => {
                    let batch = Err(error);
                    return Built { batch, skipped };
                }
            }
        }
        let batch = if items.is_empty() {
            Ok(None)
        } else {
            caught(|| self.collate.collate(items)).map(Some)
        };
        Built { batch, skipped }
    }

    fn item(&self, index: usize) -> Result<D::Item, DataError> {
        let load = || {
            let item = self.dataset.get(index)?;
            match &self.transform {
                Some(t) => t.apply(item, &mut Draw::new(self.seed, self.epoch, index)),
                None => Ok(item),
            }
        };
        caught(load).map_err(|reason| DataError::Item {
            index,
            name: self.dataset.name(index),
            reason: Box::new(reason),
        })
    }
}

/// Runs code that is not ours and turns its panic into an error.
fn caught<T>(run: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
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

/// The threads of an epoch and what they share.
struct Workers<D: Dataset, C: Collate<D::Item>> {
    shared: Arc<Shared<D, C>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<D: Dataset, C: Collate<D::Item>> {
    job: Job<D, C>,
    ahead: usize,
    stop: AtomicBool,
    queue: Mutex<Queue<C::Batch>>,
    /// A batch was finished, or a thread ended.
    finished: Condvar,
    /// There is room for another batch, or it is time to stop.
    room: Condvar,
}

struct Queue<B> {
    /// The first batch that no thread has taken.
    untaken: usize,
    /// The batch that the caller wants next.
    wanted: usize,
    done: BTreeMap<usize, Built<B>>,
    alive: usize,
}

impl<D, C> Workers<D, C>
where
    D: Dataset + 'static,
    D::Item: 'static,
    C: Collate<D::Item> + 'static,
    C::Batch: Send + 'static,
{
    fn start(
        job: Job<D, C>,
        first: usize,
        count: usize,
        prefetch: usize,
    ) -> Result<Self, DataError> {
        let shared = Arc::new(Shared {
            job,
            ahead: count.saturating_mul(prefetch),
            stop: AtomicBool::new(false),
            queue: Mutex::new(Queue {
                untaken: first,
                wanted: first,
                done: BTreeMap::new(),
                alive: 0,
            }),
            finished: Condvar::new(),
            room: Condvar::new(),
        });
        let threads = Vec::with_capacity(count);
        let mut workers = Self { shared, threads };
        for n in 0..count {
            let shared = Arc::clone(&workers.shared);
            // Counted before it runs, so that the caller never takes a slow start for an end.
            let life = Life::new(Arc::clone(&shared));
            let thread = std::thread::Builder::new()
                .name(format!("loader-{n}"))
                .spawn(move || {
                    let _life = life;
                    shared.work();
                })
                .map_err(|reason| DataError::Thread { reason })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }
}

impl<D: Dataset, C: Collate<D::Item>> Workers<D, C> {
    fn wait_for(&self, batch: usize) -> Built<C::Batch> {
        let mut queue = self.shared.lock();
        loop {
            if let Some(built) = queue.done.remove(&batch) {
                queue.wanted = batch + 1;
                self.shared.room.notify_all();
                return built;
            }
            if queue.alive == 0 {
                let batch = batch as u64;
                return Built {
                    batch: Err(DataError::WorkersGone { batch }),
                    skipped: Vec::new(),
                };
            }
            let waited = self.shared.finished.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<D: Dataset, C: Collate<D::Item>> Drop for Workers<D, C> {
    fn drop(&mut self) {
        // Set under the lock: a thread between its check and its wait would miss the call.
        let queue = self.shared.lock();
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(queue);
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // A thread's panic was already reported as an error of its batch.
            let _ = thread.join();
        }
    }
}

impl<D: Dataset, C: Collate<D::Item>> Shared<D, C> {
    fn lock(&self) -> MutexGuard<'_, Queue<C::Batch>> {
        // Nothing that can panic runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(batch) = self.take() {
            let built = self.job.build(batch, &self.stop);
            self.lock().done.insert(batch, built);
            self.finished.notify_all();
        }
    }

    /// The next batch to build, once there is room for it; `None` when all are taken or at a stop.
    fn take(&self) -> Option<usize> {
        let mut queue = self.lock();
        loop {
            if self.stop.load(Ordering::Relaxed) || queue.untaken >= self.job.batches {
                return None;
            }
            if queue.untaken - queue.wanted < self.ahead {
                queue.untaken += 1;
                return Some(queue.untaken - 1);
            }
            let waited = self.room.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Counts a thread as alive until it ends, however it ends.
struct Life<D: Dataset, C: Collate<D::Item>>(Arc<Shared<D, C>>);

impl<D: Dataset, C: Collate<D::Item>> Life<D, C> {
    fn new(shared: Arc<Shared<D, C>>) -> Self {
        shared.lock().alive += 1;
        Self(shared)
    }
}

impl<D: Dataset, C: Collate<D::Item>> Drop for Life<D, C> {
    fn drop(&mut self) {
        self.0.lock().alive -= 1;
        self.0.finished.notify_all();
    }
}
