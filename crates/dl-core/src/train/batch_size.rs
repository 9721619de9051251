//! The largest batch that fits into memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sysinfo::System;

use super::TrainError;
use super::config::at_least_one;
use super::resident_memory::resident_bytes;

/// Doubles the batch until a step fails or memory would not hold it; Lightning's `BatchSizeFinder` in its
/// mode `power`.
///
/// ```text
/// bytes(2n) ≈ bytes(n) + 2·(bytes(n) − bytes(n/2))          tried if ≤ memory_limit
/// ```
///
/// A step's memory is a constant and a part for each sample, so two sizes foretell the third. On the
/// CPU this comes before the attempt: a system without memory kills the process instead of refusing an
/// allocation. A device that refuses one ends the search by its error. Used by
/// [`Trainer::find_batch_size`](super::Trainer::find_batch_size), or with steps of one's own:
///
/// ```
/// use dl_core::train::{BatchSizeEnd, BatchSizeFinder};
/// let data = 50;
/// let found = BatchSizeFinder::default().search(|size| {
///     // A step on a batch of `size`, or of what there is.
///     Ok(data.min(size))
/// })?;
/// assert_eq!((found.batch_size, found.end), (50, BatchSizeEnd::Data));
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSizeFinder {
    /// The first size that is tried, `≥ 1`. Default `2`.
    pub first: usize,
    /// Most sizes that are tried, `≥ 1`. Default `25`.
    pub trials: usize,
    /// Steps with each size, `≥ 1`: the first ones may allocate what stays. Default `3`.
    pub steps_per_trial: usize,
    /// Bytes that the process may hold in all. Default what it holds and nine tenths of what the system
    /// has left.
    pub memory_limit: Option<u64>,
}

/// What a [`BatchSizeFinder`] found.
///
/// ```
/// use dl_core::train::BatchSizeFinder;
/// let finder = BatchSizeFinder { trials: 2, ..Default::default() };
/// let found = finder.search(Ok)?;
/// assert_eq!((found.batch_size, found.trials[0].batch_size), (4, 2));
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundBatchSize {
    /// The largest size that worked.
    pub batch_size: usize,
    /// The sizes that worked, in order.
    pub trials: Vec<BatchSizeTrial>,
    /// Why no larger one was taken.
    pub end: BatchSizeEnd,
}

/// A size that worked.
///
/// ```
/// use dl_core::train::BatchSizeTrial;
/// let trial = BatchSizeTrial { batch_size: 8, peak_bytes: Some(1 << 20) };
/// assert_eq!(trial.peak_bytes, Some(1_048_576));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSizeTrial {
    /// The size.
    pub batch_size: usize,
    /// The most that the process held meanwhile, where the system says so.
    pub peak_bytes: Option<u64>,
}

/// Why a search ended.
///
/// ```
/// use dl_core::train::BatchSizeEnd;
/// assert_ne!(BatchSizeEnd::Trials, BatchSizeEnd::Data);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchSizeEnd {
    /// Twice the size would need more than the limit, or the size itself did.
    Memory {
        /// Bytes that it would need or needed.
        needed: u64,
        /// Bytes that were allowed.
        limit: u64,
    },
    /// A step failed with twice the size, such as an allocation on a device.
    Failed(String),
    /// All data are in one batch.
    Data,
    /// So many sizes were to be tried.
    Trials,
}

impl Default for BatchSizeFinder {
    fn default() -> Self {
        Self {
            first: 2,
            trials: 25,
            steps_per_trial: 3,
            memory_limit: None,
        }
    }
}

impl BatchSizeFinder {
    /// Calls `step` with growing sizes, as often as each is to be tried; it says how many samples the
    /// batch had. An error of the first size is returned, as is a first size beyond the limit.
    pub fn search(
        &self,
        mut step: impl FnMut(usize) -> Result<usize, TrainError>,
    ) -> Result<FoundBatchSize, TrainError> {
        self.validate()?;
        let limit = self.memory_limit.or_else(memory_left);
        self.search_within(limit, |size| {
            let peak = Peak::watch();
            let mut samples = 0;
            for _ in 0..self.steps_per_trial {
                samples = step(size)?;
            }
            Ok((samples, peak.end()))
        })
    }

    fn validate(&self) -> Result<(), TrainError> {
        at_least_one("first", self.first)?;
        at_least_one("trials", self.trials)?;
        at_least_one("steps_per_trial", self.steps_per_trial)
    }

    /// `trial` gives the samples of a batch and the most bytes that were held.
    fn search_within(
        &self,
        limit: Option<u64>,
        mut trial: impl FnMut(usize) -> Result<(usize, Option<u64>), TrainError>,
    ) -> Result<FoundBatchSize, TrainError> {
        let (mut trials, mut size) = (Vec::new(), self.first);
        let end = loop {
            let (samples, peak_bytes) = match trial(size) {
                Ok(found) => found,
                Err(error) if trials.is_empty() => return Err(error),
                Err(error) => break BatchSizeEnd::Failed(error.to_string()),
            };
            if let Some(end) = beyond(peak_bytes, limit) {
                break end;
            }
            let batch_size = size.min(samples);
            trials.push(BatchSizeTrial {
                batch_size,
                peak_bytes,
            });
            if samples < size {
                break BatchSizeEnd::Data;
            }
            if trials.len() == self.trials {
                break BatchSizeEnd::Trials;
            }
            if let Some(end) = beyond(foretold(&trials), limit) {
                break end;
            }
            size = size.saturating_mul(2);
        };
        let batch_size = trials.last().map(|trial| trial.batch_size);
        match (batch_size, end) {
            (Some(batch_size), end) => Ok(FoundBatchSize {
                batch_size,
                trials,
                end,
            }),
            (None, end) => Err(TrainError::Option {
                field: "memory_limit",
                wanted: "enough for the first batch size",
                came: format!("{end:?}"),
            }),
        }
    }
}

/// What twice the last size will need; unknown before there are two.
fn foretold(trials: &[BatchSizeTrial]) -> Option<u64> {
    let [.., before, last] = trials else {
        return None;
    };
    let (before, last) = (before.peak_bytes?, last.peak_bytes?);
    Some(last + 2 * last.saturating_sub(before))
}

fn beyond(needed: Option<u64>, limit: Option<u64>) -> Option<BatchSizeEnd> {
    let (needed, limit) = (needed?, limit?);
    (needed > limit).then_some(BatchSizeEnd::Memory { needed, limit })
}

/// What the process holds and nine tenths of what the system, or its control group, has left.
fn memory_left() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory();
    let group = system.cgroup_limits().map(|group| group.free_memory);
    let left = system.available_memory().min(group.unwrap_or(u64::MAX));
    resident_bytes().map(|own| own + left / 10 * 9)
}

/// A thread that looks again and again at how much memory the process holds.
struct Peak {
    most: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peak {
    fn watch() -> Self {
        let (most, done) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, ended) = (Arc::clone(&most), Arc::clone(&done));
        let look = move || {
            while !ended.load(Ordering::Relaxed) {
                seen.fetch_max(resident_bytes().unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let thread = std::thread::Builder::new().name("memory".to_string());
        // Without the thread there is still the reading at the end.
        let thread = thread.spawn(look).ok();
        Self { most, done, thread }
    }

    fn end(self) -> Option<u64> {
        let last = resident_bytes()?;
        Some(self.most.load(Ordering::Relaxed).max(last))
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A process that holds 1,000 bytes and 10 for each sample.
    fn found(
        limit: Option<u64>,
        data: usize,
        fails_at: usize,
    ) -> (usize, Vec<usize>, BatchSizeEnd) {
        let mut tried = vec![];
        let found = BatchSizeFinder::default().search_within(limit, |size| {
            tried.push(size);
            match size < fails_at {
                true => Ok((size.min(data), Some(1000 + 10 * size as u64))),
                false => Err(TrainError::NoParams),
            }
        });
        let found = found.unwrap();
        (found.batch_size, tried, found.end)
    }

    #[test]
    fn the_search_ends_at_the_limit_at_a_failure_or_with_the_data() {
        const ALL: usize = usize::MAX;
        let memory = |needed, limit| BatchSizeEnd::Memory { needed, limit };
        // Sizes beyond the limit are not tried, except the second, of which nothing is known.
        let (size, tried, end) = found(Some(1400), ALL, ALL);
        assert_eq!((size, tried), (32, vec![2, 4, 8, 16, 32]));
        assert_eq!(end, memory(1640, 1400));
        let (size, tried, end) = found(Some(1035), ALL, ALL);
        assert_eq!((size, tried), (2, vec![2, 4]));
        assert_eq!(end, memory(1040, 1035));
        let (size, tried, end) = found(None, ALL, 16);
        assert_eq!((size, tried), (8, vec![2, 4, 8, 16]));
        assert_eq!(end, BatchSizeEnd::Failed(TrainError::NoParams.to_string()));
        let (size, tried, end) = found(None, 22, ALL);
        assert_eq!((size, tried), (22, vec![2, 4, 8, 16, 32]));
        assert_eq!(end, BatchSizeEnd::Data);
        assert_eq!(found(None, ALL, ALL).2, BatchSizeEnd::Trials);
    }

    #[test]
    fn a_first_size_that_fails_or_is_beyond_the_limit_is_an_error() {
        let finder = BatchSizeFinder::default();
        let failed = finder.search(|_| Err(TrainError::NoParams));
        assert!(matches!(failed, Err(TrainError::NoParams)));
        let small = BatchSizeFinder {
            memory_limit: Some(1),
            ..finder.clone()
        };
        // Nothing is measured where the system does not say.
        if resident_bytes().is_some() {
            let error = small.search(Ok).unwrap_err().to_string();
            assert!(
                error.starts_with("`memory_limit` must be enough"),
                "{error}"
            );
        }
        let none = BatchSizeFinder { first: 0, ..finder };
        assert!(none.search(Ok).is_err());
    }
}
