//! Where the loop takes its batches from.

use std::time::{Duration, Instant};

use crate::data::{
    Batches, Collate, DataError, DataLoader, Dataset, IterableDataset, Position, StreamLoader,
};

/// Batches that can be had again from any position; [`DataLoader`] and [`StreamLoader`] are two.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::data::{IterStream, StackTensors, StreamLoader};
/// use dl_core::{Params, layers::linear, train::{Trainer, TrainerConfig}};
/// use dl_optim::{Optimizer, Sgd};
/// // Points on the line y = 2x + 1, without end; every epoch has 8 batches of them.
/// let point = |n: u32| {
///     let x = Tensor::new(&[f64::from(n % 7) / 7.], &Device::Cpu)?.to_dtype(candle_core::DType::F32)?;
///     Ok((x.clone(), ((x * 2.)? + 1.)?))
/// };
/// let stream = move |epoch: u64| (epoch as u32..).map(point);
/// let train = StreamLoader::new(IterStream::new(stream), StackTensors).batch_size(4).epoch_batches(8);
/// let params = Params::new(0, &Device::Cpu);
/// let model = linear(1, 1, params.vb())?;
/// let optimizer = Optimizer::new(params.trainable(), Sgd { lr: 0.3, ..Sgd::default() })?;
/// let config = TrainerConfig { epochs: 20, ..Default::default() };
/// let history = Trainer::new(&model, optimizer, config)
///     .loss(|z, y| (z - y)?.sqr()?.sum(1))
///     .no_metrics()
///     .fit(&train, &train)?;
/// assert_eq!(history[19].step, 160);
/// assert!(history[19].metric("eval_loss")? < 1e-3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait BatchSource<B> {
    /// Batches of an epoch, if that is known before its end.
    fn len(&self) -> Option<usize>;

    /// Whether an epoch is known to have no batches.
    fn is_empty(&self) -> bool {
        self.len() == Some(0)
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
    fn len(&self) -> Option<usize> {
        Some(DataLoader::len(self))
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

impl<S, C> BatchSource<C::Batch> for StreamLoader<S, C>
where
    S: IterableDataset<Item: 'static> + 'static,
    C: Collate<S::Item, Batch: Send + 'static> + 'static,
{
    fn len(&self) -> Option<usize> {
        self.planned_batches()
    }

    fn batches(
        &self,
        position: Position,
    ) -> Result<Box<dyn BatchStream<C::Batch> + '_>, DataError> {
        Ok(Box::new(StreamLoader::batches(self, position)?))
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

/// A stream that reads a batch ahead when it is asked whether there is one.
///
/// Not sooner: a batch that is used as soon as it is made is still in the caches.
pub(super) struct Feed<'s, B> {
    stream: Box<dyn BatchStream<B> + 's>,
    /// What was read and not yet handed out.
    ahead: Option<Option<Read<B>>>,
    /// Behind the last batch that was handed out.
    position: Position,
    /// Batches that may still be read.
    left: usize,
    waited: Duration,
}

/// A batch with its place in the data, or what went wrong with it.
type Read<B> = (Position, Result<B, DataError>);

impl<'s, B> Feed<'s, B> {
    /// `limit` is how many batches the whole epoch may have.
    pub(super) fn new(stream: Box<dyn BatchStream<B> + 's>, limit: Option<usize>) -> Self {
        let position = stream.next_position();
        let limit = limit.unwrap_or(usize::MAX);
        Self {
            stream,
            ahead: None,
            position,
            left: limit.saturating_sub(position.batch as usize),
            waited: Duration::ZERO,
        }
    }

    pub(super) fn has_next(&mut self) -> bool {
        if self.ahead.is_none() {
            self.ahead = Some(self.read());
        }
        matches!(self.ahead, Some(Some(_)))
    }

    /// The batch that comes next.
    pub(super) fn next_position(&self) -> Position {
        self.position
    }

    /// The time that batches were waited for since the last call.
    pub(super) fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    fn read(&mut self) -> Option<Read<B>> {
        self.left = self.left.checked_sub(1)?;
        let begun = Instant::now();
        let batch = self.stream.next();
        self.waited += begun.elapsed();
        // A batch whose items were all skipped is not handed out, but is behind it.
        let after = self.stream.next_position().batch;
        let batch = batch?;
        let at = Position {
            epoch: self.position.epoch,
            batch: after.saturating_sub(u64::from(batch.is_ok())),
        };
        Some((at, batch))
    }
}

impl<B> Iterator for Feed<'_, B> {
    type Item = Result<(Position, B), DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (at, batch) = self.ahead.take().unwrap_or_else(|| self.read())?;
        match &batch {
            Ok(_) => self.position.batch = at.batch + 1,
            Err(_) => self.left = 0,
        }
        Some(batch.map(|batch| (at, batch)))
    }
}
