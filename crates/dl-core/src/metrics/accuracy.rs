//! The share of right predictions.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::scores::{Scores, argmax};

/// The share of rows whose highest score is that of the true class.
///
/// ```text
/// accuracy = #{i : argmaxₖ logitsᵢₖ = labelᵢ} / n
/// ```
///
/// The first of equal scores counts, and NaN is the highest, as in torch. This is torchmetrics'
/// `MulticlassAccuracy(average="micro")`; its default averages over classes, which is
/// [`ConfusionMatrix::macro_recall`](super::ConfusionMatrix::macro_recall).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::metrics::Accuracy;
/// let logits = Tensor::new(&[[0.1f32, 0.9], [0.8, 0.2], [0.3, 0.7]], &Device::Cpu)?;
/// let labels = Tensor::new(&[1u32, 0, 0], &Device::Cpu)?;
/// let mut accuracy = Accuracy::new();
/// accuracy.update(&logits, &labels)?;
/// assert_eq!(accuracy.compute(), 2. / 3.);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accuracy {
    correct: u64,
    total: u64,
}

impl Accuracy {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a batch: `(…, classes)` of any float type, integer `(…)`.
    pub fn update(&mut self, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let scores = Scores::new(logits, labels)?;
        let right = scores.rows().filter(|&(row, label)| argmax(row) == label);
        self.correct += right.count() as u64;
        self.total += scores.len();
        Ok(())
    }

    /// The share so far, in `[0, 1]`; NaN before anything was counted.
    pub fn compute(&self) -> f64 {
        self.correct as f64 / self.total as f64
    }

    /// Right predictions so far.
    pub fn correct(&self) -> u64 {
        self.correct
    }

    /// Predictions so far.
    pub fn total(&self) -> u64 {
        self.total
    }
}
