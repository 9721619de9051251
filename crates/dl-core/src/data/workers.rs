//! Threads that build batches ahead of the caller.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::DataError;
use super::batches::{Build, Built};

/// The threads of an epoch and what they share.
pub(super) struct Workers<B> {
    shared: Arc<Shared<B>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<B> {
    job: Box<dyn Build<B>>,
    batches: usize,
    ahead: usize,
    stop: AtomicBool,
    queue: Mutex<Queue<B>>,
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

impl<B: Send + 'static> Workers<B> {
    /// Starts `count` threads, which together run `prefetch` batches each ahead of the caller.
    pub fn start(
        job: Box<dyn Build<B>>,
        range: Range<usize>,
        count: usize,
        prefetch: usize,
    ) -> Result<Self, DataError> {
        let shared = Arc::new(Shared {
            job,
            batches: range.end,
            ahead: count.saturating_mul(prefetch),
            stop: AtomicBool::new(false),
            queue: Mutex::new(Queue {
                untaken: range.start,
                wanted: range.start,
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

impl<B> Workers<B> {
    pub fn wait_for(&self, batch: usize) -> Built<B> {
        let mut queue = self.shared.lock();
        loop {
            if let Some(built) = queue.done.remove(&batch) {
                queue.wanted = batch + 1;
                self.shared.room.notify_all();
                return built;
            }
            if queue.alive == 0 {
                let batch = batch as u64;
                return Built::failed(DataError::WorkersGone { batch });
            }
            let waited = self.shared.finished.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<B> Drop for Workers<B> {
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

impl<B> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, Queue<B>> {
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
            if self.stop.load(Ordering::Relaxed) || queue.untaken >= self.batches {
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
struct Life<B>(Arc<Shared<B>>);

impl<B> Life<B> {
    fn new(shared: Arc<Shared<B>>) -> Self {
        shared.lock().alive += 1;
        Self(shared)
    }
}

impl<B> Drop for Life<B> {
    fn drop(&mut self) {
        self.0.lock().alive -= 1;
        self.0.finished.notify_all();
    }
}
