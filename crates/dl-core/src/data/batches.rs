//! The batches of one epoch, built ahead on threads.

use std::sync::atomic::AtomicBool;

use super::workers::Workers;
use super::{DataError, Position};

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
pub struct Batches<B> {
    source: Source<B>,
    epoch: u64,
    next: usize,
    batches: usize,
    over: bool,
    skipped: Vec<DataError>,
}

/// Builds any batch of an epoch, on any thread. Batches are asked for in ascending order, each once.
pub(super) trait Build<B>: Send + Sync {
    /// Builds batch number `batch`, in a hurry once `stop` is set.
    fn build(&self, batch: usize, stop: &AtomicBool) -> Built<B>;
}

pub(super) struct Built<B> {
    /// `None` when every item was skipped, and behind the end.
    pub batch: Result<Option<B>, DataError>,
    pub skipped: Vec<DataError>,
    /// The data ended before this batch.
    pub end: bool,
}

impl<B> Built<B> {
    pub fn end() -> Self {
        Self {
            batch: Ok(None),
            skipped: Vec::new(),
            end: true,
        }
    }

    pub fn failed(error: DataError) -> Self {
        Self {
            batch: Err(error),
            skipped: Vec::new(),
            end: false,
        }
    }
}

enum Source<B> {
    Here(Box<dyn Build<B>>),
    Threads(Workers<B>),
}

/// How the batches of an epoch are run through.
pub(super) struct Pace {
    pub first: Position,
    /// The end of the epoch, unless the data end sooner.
    pub batches: usize,
    pub workers: usize,
    pub prefetch: usize,
}

impl<B: Send + 'static> Batches<B> {
    pub(super) fn start(job: Box<dyn Build<B>>, pace: Pace) -> Result<Self, DataError> {
        let first = pace.first.batch as usize;
        let useful = pace.workers.min(pace.batches.saturating_sub(first));
        let source = match useful {
            0 => Source::Here(job),
            n => Source::Threads(Workers::start(job, first..pace.batches, n, pace.prefetch)?),
        };
        Ok(Self {
            source,
            epoch: pace.first.epoch,
            next: first,
            batches: pace.batches,
            over: false,
            skipped: Vec::new(),
        })
    }
}

impl<B> Batches<B> {
    /// The batch that comes next; save it to go on from here.
    pub fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            batch: self.next as u64,
        }
    }

    /// What went wrong with each item left out so far, under [`OnError::Skip`](super::OnError::Skip).
    pub fn skipped(&self) -> &[DataError] {
        &self.skipped
    }
}

impl<B> Iterator for Batches<B> {
    type Item = Result<B, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over && self.next < self.batches {
            let built = match &self.source {
                Source::Here(job) => job.build(self.next, &AtomicBool::new(false)),
                Source::Threads(workers) => workers.wait_for(self.next),
            };
            for error in &built.skipped {
                tracing::warn!("skipped {error}");
            }
            self.skipped.extend(built.skipped);
            // A position saved after an error asks for the failing batch again.
            self.over = built.end || built.batch.is_err();
            self.next += usize::from(!self.over);
            if let Some(batch) = built.batch.transpose() {
                return Some(batch);
            }
        }
        None
    }
}
