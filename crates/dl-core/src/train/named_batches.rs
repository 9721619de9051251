//! Batches whose samples are known by index and name.

use super::{Batch, BatchSource, BatchStream, TrainError};
use crate::data::Position;

/// The index of a sample in its data set, and what the data set calls it.
pub(super) type SampleName = (usize, String);

/// The first epoch of a data set, each batch with the names of its samples in their order.
pub(super) struct NamedBatches<'d> {
    data: &'d dyn BatchSource<Batch>,
    batches: Box<dyn BatchStream<Batch> + 'd>,
    /// Samples of the batches so far.
    samples: usize,
}

impl<'d> NamedBatches<'d> {
    pub(super) fn of(data: &'d dyn BatchSource<Batch>) -> Result<Self, TrainError> {
        Ok(Self {
            data,
            batches: data.batches(Position::default())?,
            samples: 0,
        })
    }

    fn named(&mut self, batch: Batch) -> Result<(Batch, Vec<SampleName>), TrainError> {
        let first = self.samples;
        self.samples += batch.1.dim(0)?;
        let indices = self.indices(first)?.into_iter();
        let names = indices.map(|index| (index, self.data.name(index)));
        Ok((batch, names.collect()))
    }

    /// The items of the batch that came last, without those that were left out; where the data do not
    /// know them, they are counted from `first`.
    fn indices(&self, first: usize) -> Result<Vec<usize>, TrainError> {
        let next = self.batches.next_position();
        let batch = next.batch.saturating_sub(1);
        let mut indices = self.data.indices(Position { batch, ..next })?;
        if indices.is_empty() {
            return Ok((first..self.samples).collect());
        }
        let skipped = self.batches.skipped();
        indices.retain(|index| !skipped.contains(index));
        Ok(indices)
    }
}

impl Iterator for NamedBatches<'_> {
    type Item = Result<(Batch, Vec<SampleName>), TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?.map_err(TrainError::from);
        Some(batch.and_then(|batch| self.named(batch)))
    }
}
