//! What a model says about one sample.

use std::cmp::Ordering;

use candle_core::{Result, bail};

use super::evaluate::Answer;
use super::named_batches::SampleName;
use crate::metrics::{Scores, argmax};

/// What a model says about one sample.
///
/// ```
/// use dl_core::train::Prediction;
/// let sample = Prediction {
///     index: 3,
///     name: "pets/dog/2.png".to_string(),
///     target: 1,
///     predicted: 2,
///     loss: 1.2,
///     probabilities: vec![0.1, 0.3, 0.6],
/// };
/// assert_eq!(sample.top(2), [(2, 0.6), (1, 0.3)]);
/// assert!(!sample.is_right());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Index in the data set.
    pub index: usize,
    /// What the data set calls the sample, such as its file.
    pub name: String,
    /// The true class.
    pub target: usize,
    /// The class of the highest score; of equal ones the first, and NaN is the highest.
    pub predicted: usize,
    /// Loss of the sample.
    pub loss: f64,
    /// Probability of each class: the softmax of the scores.
    pub probabilities: Vec<f32>,
}

impl Prediction {
    /// Whether the predicted class is the true one.
    pub fn is_right(&self) -> bool {
        self.predicted == self.target
    }

    /// The `k` likeliest classes with their probabilities; of equal ones the lower class first.
    pub fn top(&self, k: usize) -> Vec<(usize, f32)> {
        let mut classes: Vec<_> = self.probabilities.iter().copied().enumerate().collect();
        classes.sort_by(|a, b| b.1.total_cmp(&a.1));
        classes.truncate(k);
        classes
    }

    /// Greater losses first, NaN before all, then in the order of the data.
    pub(super) fn worse(&self, other: &Self) -> Ordering {
        let by_loss = match (self.loss.is_nan(), other.loss.is_nan()) {
            (false, false) => other.loss.total_cmp(&self.loss),
            (a, b) => b.cmp(&a),
        };
        by_loss.then(self.index.cmp(&other.index))
    }
}

/// The predictions of a batch whose samples have these names.
pub(super) fn predictions(answer: &Answer, samples: Vec<SampleName>) -> Result<Vec<Prediction>> {
    let scores = Scores::new(&answer.logits, &answer.labels)?;
    let (rows, losses) = (scores.len() as usize, answer.losses.len());
    if rows != samples.len() || losses != rows {
        bail!(
            "predictions want one row of logits and one loss for each of {} samples, came {rows} \
             rows and {losses} losses",
            samples.len()
        );
    }
    let rows = scores.rows().zip(samples).zip(&answer.losses);
    let prediction = |(((row, target), (index, name)), &loss): ((_, _), &f64)| Prediction {
        index,
        name,
        target,
        predicted: argmax(row),
        loss,
        probabilities: softmax(row),
    };
    Ok(rows.map(prediction).collect())
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps = scores.iter().map(|score| f64::from(score - most).exp());
    let exps: Vec<f64> = exps.collect();
    let sum: f64 = exps.iter().sum();
    exps.into_iter().map(|exp| (exp / sum) as f32).collect()
}
