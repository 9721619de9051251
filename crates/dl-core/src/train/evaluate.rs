//! Loss and metrics of a model on a data set.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_nn::ModuleT;

use super::inference::Inference;
use super::trainer::Loss;
use super::{Batch, TrainError};
use crate::data::DataError;
use crate::metrics::{ConfusionMatrix, Mean};

/// What an evaluation found.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Mean loss.
    pub loss: f64,
    /// Share of right predictions in `[0, 1]`.
    pub accuracy: f64,
    /// Predictions by true class.
    pub confusion: ConfusionMatrix,
    /// Number of samples.
    pub samples: usize,
    /// Seconds it took.
    pub seconds: f64,
}

/// Runs the model without training it over batches `(inputs, labels)` and counts what it says.
///
/// No graph is built beyond the logits of a batch.
pub fn evaluate(
    model: &dyn ModuleT,
    batches: impl Iterator<Item = Result<Batch, DataError>>,
    loss: &Loss,
    device: &Device,
) -> Result<Evaluation, TrainError> {
    let mut inference = Inference::new(model);
    inference.device = device.clone();
    let mut counts = Counts::new();
    for batch in batches {
        Answer::of(&inference, &batch?, loss)?.count(&mut counts)?;
    }
    counts.finish()
}

/// What a model says about a batch.
pub(super) struct Answer {
    pub(super) logits: Tensor,
    pub(super) labels: Tensor,
    pub(super) losses: Vec<f64>,
}

impl Answer {
    pub(super) fn of(
        inference: &Inference,
        batch: &Batch,
        loss: &Loss,
    ) -> candle_core::Result<Self> {
        inference.judged(batch, |logits, labels| {
            // In f64, so that a mean over batches of any size is the mean over all samples.
            let losses = loss(logits, labels)?.flatten_all()?;
            Ok(Self {
                losses: losses.to_dtype(DType::F64)?.to_vec1()?,
                logits: logits.clone(),
                labels: labels.clone(),
            })
        })
    }

    pub(super) fn count(&self, counts: &mut Counts) -> candle_core::Result<()> {
        let loss = self.losses.iter().sum::<f64>() / self.losses.len() as f64;
        let classes = self.logits.dims().last().copied().unwrap_or(0);
        let samples = self.labels.elem_count();
        counts.loss.update(loss, samples as f64);
        counts.samples += samples;
        let confusion = &mut counts.confusion;
        confusion
            .get_or_insert_with(|| ConfusionMatrix::new(classes))
            .update(&self.logits, &self.labels)
    }
}

/// What the batches have added up so far.
pub(super) struct Counts {
    begun: Instant,
    loss: Mean,
    samples: usize,
    confusion: Option<ConfusionMatrix>,
}

impl Counts {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            loss: Mean::new(),
            samples: 0,
            confusion: None,
        }
    }

    pub(super) fn finish(self) -> Result<Evaluation, TrainError> {
        let split = "evaluation";
        let confusion = self.confusion.ok_or(TrainError::NoBatches { split })?;
        Ok(Evaluation {
            loss: self.loss.compute(),
            accuracy: confusion.accuracy(),
            confusion,
            samples: self.samples,
            seconds: self.begun.elapsed().as_secs_f64(),
        })
    }
}
