//! Which class was taken for which.

use candle_core::{Result, Tensor, bail};
use serde::{Deserialize, Serialize};

use super::scores::{Scores, argmax};

/// Counts of true class × predicted class, and what follows from them.
///
/// ```text
/// Cₜₚ = #{i : labelᵢ = t, argmax logitsᵢ = p}
/// precisionₖ = Cₖₖ / Σₜ Cₜₖ      recallₖ = Cₖₖ / Σₚ Cₖₚ      F1ₖ = 2 Cₖₖ / (Σₜ Cₜₖ + Σₚ Cₖₚ)
/// ```
///
/// As in torchmetrics, 0 / 0 is 0, and a macro average passes over classes that were neither true
/// nor predicted. Of equal scores the first counts, and NaN is the highest.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::metrics::ConfusionMatrix;
/// let logits = Tensor::new(&[[2f32, 1.], [2., 1.], [0., 1.]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 1, 1], &Device::Cpu)?;
/// let mut matrix = ConfusionMatrix::new(2);
/// matrix.update(&logits, &labels)?;
/// assert_eq!(matrix.rows().collect::<Vec<_>>(), [[1, 0], [1, 1]]);
/// assert_eq!(matrix.precision(), [0.5, 1.]);
/// assert_eq!(matrix.recall(), [1., 0.5]);
/// assert_eq!(matrix.macro_f1(), 2. / 3.);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// All counts 0.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            counts: vec![0; classes * classes],
        }
    }

    /// Counts a batch: `(…, classes)` of any float type, integer `(…)`.
    pub fn update(&mut self, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let scores = Scores::new(logits, labels)?;
        if scores.classes() != self.classes {
            let (wanted, came) = (self.classes, scores.classes());
            bail!("the confusion matrix has {wanted} classes, came logits of {came}");
        }
        for (row, label) in scores.rows() {
            self.counts[label * self.classes + argmax(row)] += 1;
        }
        Ok(())
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// For each true class, the counts of the predicted classes.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u64]> {
        self.counts.chunks_exact(self.classes.max(1))
    }

    /// How often `truth` was taken for `predicted`; 0 for what is no class.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        let row = self.rows().nth(truth).unwrap_or_default();
        row.get(predicted).copied().unwrap_or(0)
    }

    /// Of the predictions of each class, the share that is right.
    pub fn precision(&self) -> Vec<f64> {
        self.each(|c| ratio(c.right, c.predicted))
    }

    /// Of each class, the share that was found.
    pub fn recall(&self) -> Vec<f64> {
        self.each(|c| ratio(c.right, c.real))
    }

    /// The harmonic mean of precision and recall of each class.
    pub fn f1(&self) -> Vec<f64> {
        self.each(|c| ratio(2 * c.right, c.predicted + c.real))
    }

    /// How often each class was true.
    pub fn support(&self) -> Vec<u64> {
        self.tallies().map(|tally| tally.real).collect()
    }

    /// The mean precision of the classes.
    pub fn macro_precision(&self) -> f64 {
        self.mean(&self.precision())
    }

    /// The mean recall of the classes: torchmetrics' accuracy with its default, macro, average.
    pub fn macro_recall(&self) -> f64 {
        self.mean(&self.recall())
    }

    /// The mean F1 of the classes.
    pub fn macro_f1(&self) -> f64 {
        self.mean(&self.f1())
    }

    /// The share of right predictions; NaN before anything was counted.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = self.tallies().map(|tally| tally.right).sum();
        right as f64 / self.counts.iter().sum::<u64>() as f64
    }

    fn tallies(&self) -> impl Iterator<Item = Tally> {
        (0..self.classes).map(|class| Tally {
            right: self.counts[class * self.classes + class],
            real: self.rows().nth(class).unwrap_or_default().iter().sum(),
            predicted: self.rows().map(|row| row[class]).sum(),
        })
    }

    fn each(&self, value: impl Fn(Tally) -> f64) -> Vec<f64> {
        self.tallies().map(value).collect()
    }

    fn mean(&self, values: &[f64]) -> f64 {
        let seen = self.tallies().map(|c| c.real + c.predicted > 0);
        let seen: Vec<f64> = (values.iter().zip(seen))
            .filter_map(|(&value, seen)| seen.then_some(value))
            .collect();
        seen.iter().sum::<f64>() / seen.len() as f64
    }
}

struct Tally {
    right: u64,
    real: u64,
    predicted: u64,
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}
