//! Where the loop takes its batches from.

use crate::data::{Batches, Collate, DataError, DataLoader, Dataset, Position};

/// Batches that can be had again from any position; [`DataLoader`] is one.
pub trait BatchSource<B> {
    /// Batches of an epoch.
    fn len(&self) -> usize;

    /// Whether an epoch has no batches.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches from a position to the end of its epoch.
    fn batches(&self, position: Position) -> Result<Box<dyn BatchStream<B> + '_>, DataError>;

    /// The items of a batch by their indices in the data set, for messages. Default none.
    fn indices(&self, position: Position) -> Result<Vec<usize>, DataError> {
        let _ = position;
        Ok(Vec::new())
    }

    /// What the data set calls an item, such as its file. Default `#index`.
    fn name(&self, index: usize) -> String {
        format!("#{index}")
    }
}

/// The rest of an epoch.
pub trait BatchStream<B>: Iterator<Item = Result<B, DataError>> {
    /// The batch that comes next.
    fn next_position(&self) -> Position;

    /// The items that were left out so far, by their indices in the data set. Default none.
    fn skipped(&self) -> Vec<usize> {
        Vec::new()
    }
}

impl<D, C> BatchSource<C::Batch> for DataLoader<D, C>
where
    D: Dataset<Item: 'static> + 'static,
    C: Collate<D::Item, Batch: Send + 'static> + 'static,
{
    fn len(&self) -> usize {
        DataLoader::len(self)
    }

    fn batches(
        &self,
        position: Position,
    ) -> Result<Box<dyn BatchStream<C::Batch> + '_>, DataError> {
        Ok(Box::new(DataLoader::batches(self, position)?))
    }

    fn indices(&self, position: Position) -> Result<Vec<usize>, DataError> {
        DataLoader::indices(self, position)
    }

    fn name(&self, index: usize) -> String {
        self.dataset().name(index)
    }
}

impl<B> BatchStream<B> for Batches<B> {
    fn next_position(&self) -> Position {
        self.position()
    }

    fn skipped(&self) -> Vec<usize> {
        let index = |error: &DataError| match error {
            DataError::Item { index, .. } => Some(*index),
            _ => None,
        };
        self.skipped().iter().filter_map(index).collect()
    }
}

/// A stream that is one batch ahead, to know whether there is another.
pub(super) struct Feed<'s, B> {
    stream: Box<dyn BatchStream<B> + 's>,
    ahead: Option<(Position, Result<B, DataError>)>,
    /// Behind the last batch that was handed out.
    position: Position,
    /// Batches that may still be handed out.
    left: usize,
}

impl<'s, B> Feed<'s, B> {
    /// `limit` is how many batches the whole epoch may have.
    pub(super) fn new(stream: Box<dyn BatchStream<B> + 's>, limit: Option<usize>) -> Self {
        let position = stream.next_position();
        let limit = limit.unwrap_or(usize::MAX);
        let mut feed = Self {
            stream,
            ahead: None,
            position,
            left: limit.saturating_sub(position.batch as usize),
        };
        feed.look_ahead();
        feed
    }

    pub(super) fn has_next(&self) -> bool {
        self.ahead.is_some()
    }

    /// The batch that comes next.
    pub(super) fn next_position(&self) -> Position {
        self.position
    }

    fn look_ahead(&mut self) {
        self.ahead = match self.left {
            0 => None,
            _ => self.stream.next().map(|batch| {
                // A batch whose items were all skipped is not handed out, but is behind it.
                let after = self.stream.next_position().batch;
                let batch_number = after.saturating_sub(u64::from(batch.is_ok()));
                let epoch = self.position.epoch;
                (
                    Position {
                        epoch,
                        batch: batch_number,
                    },
                    batch,
                )
            }),
        };
        self.left = self.left.saturating_sub(1);
    }
}

impl<B> Iterator for Feed<'_, B> {
    type Item = Result<(Position, B), DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (at, batch) = self.ahead.take()?;
        if batch.is_ok() {
            self.position.batch = at.batch + 1;
            self.look_ahead();
        }
        Some(batch.map(|batch| (at, batch)))
    }
}
