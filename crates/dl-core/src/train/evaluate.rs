//! Loss and metrics of a model on a data set.

use std::time::Instant;

use candle_core::{Device, Tensor};
use candle_nn::ModuleT;

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
    let start = Instant::now();
    let mut mean = Mean::new();
    let mut confusion: Option<ConfusionMatrix> = None;
    for batch in batches {
        let (inputs, labels) = batch?;
        let (inputs, labels) = (inputs.to_device(device)?, labels.to_device(device)?);
        let logits = model.forward_t(&inputs, false)?.detach();
        let (losses, samples) = (loss(&logits, &labels)?, labels.elem_count());
        mean.update(mean_of(&losses)?, samples as f64);
        confusion
            .get_or_insert(ConfusionMatrix::new(logits.dim(1)?))
            .update(&logits, &labels)?;
    }
    let Some(confusion) = confusion else {
        return Err(TrainError::NoBatches {
            split: "evaluation",
        });
    };
    Ok(Evaluation {
        loss: mean.compute(),
        accuracy: confusion.accuracy(),
        confusion,
        samples: mean.weight() as usize,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// In f64, so that a mean of means over batches of any size is the mean over all samples.
fn mean_of(losses: &Tensor) -> candle_core::Result<f64> {
    let losses = losses.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>()?;
    Ok(losses.iter().sum::<f64>() / losses.len() as f64)
}
