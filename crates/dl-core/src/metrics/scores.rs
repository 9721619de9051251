//! Scores of classes and the true classes, brought to the host and checked.

use std::cmp::Ordering;

use candle_core::{DType, Result, Tensor, bail};

/// One row of scores for each true class.
pub(crate) struct Scores {
    classes: usize,
    scores: Vec<f32>,
    labels: Vec<usize>,
}

impl Scores {
    /// `(…, classes)` and integer `(…)`; every label must be below `classes`.
    pub fn new(logits: &Tensor, labels: &Tensor) -> Result<Self> {
        let classes = match logits.dims().split_last() {
            Some((&classes, rows)) if rows == labels.dims() && classes > 0 => classes,
            _ => bail!(
                "a metric wants logits (.., classes) and labels (..), came {:?} and {:?}",
                logits.dims(),
                labels.dims()
            ),
        };
        if !labels.dtype().is_int() {
            bail!("a metric wants integer labels, came {:?}", labels.dtype());
        }
        let scores = logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let labels = labels.to_dtype(DType::I64)?.flatten_all()?.to_vec1()?;
        Ok(Self {
            classes,
            scores,
            labels: checked(labels, classes)?,
        })
    }

    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of rows.
    pub fn len(&self) -> u64 {
        self.labels.len() as u64
    }

    /// Each row of scores with its true class.
    pub fn rows(&self) -> impl Iterator<Item = (&[f32], usize)> {
        let rows = self.scores.chunks_exact(self.classes);
        rows.zip(self.labels.iter().copied())
    }
}

fn checked(labels: Vec<i64>, classes: usize) -> Result<Vec<usize>> {
    let check = |(row, label): (usize, i64)| match usize::try_from(label) {
        Ok(label) if label < classes => Ok(label),
        _ => bail!("label {label} of row {row} is not a class of 0..{classes}"),
    };
    labels.into_iter().enumerate().map(check).collect()
}

/// How many classes come before class `label`: higher scores, and equal ones of lower classes.
///
/// NaN is the highest score, as in torch, so that a broken model has a prediction too.
pub(super) fn rank(scores: &[f32], label: usize) -> usize {
    let own = scores[label];
    let before = |(class, &score): (usize, &f32)| match compare(score, own) {
        Ordering::Greater => true,
        Ordering::Equal => class < label,
        Ordering::Less => false,
    };
    scores.iter().enumerate().filter(|&s| before(s)).count()
}

/// The class of rank 0.
pub(crate) fn argmax(scores: &[f32]) -> usize {
    let mut best = 0;
    for (class, &score) in scores.iter().enumerate() {
        if compare(score, scores[best]) == Ordering::Greater {
            best = class;
        }
    }
    best
}

fn compare(a: f32, b: f32) -> Ordering {
    let by_nan = a.is_nan().cmp(&b.is_nan());
    a.partial_cmp(&b).unwrap_or(by_nan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_and_nan_come_first() {
        // Both zeros are equal although their bits differ.
        for (scores, best) in [
            ([1.0, 3.0, 3.0], 1),
            ([-0.0, 0.0, 0.0], 0),
            ([f32::NAN, f32::INFINITY, 0.0], 0),
            ([0.0, f32::NAN, f32::NAN], 1),
            ([f32::NEG_INFINITY; 3], 0),
        ] {
            assert_eq!(argmax(&scores), best, "{scores:?}");
            assert_eq!(rank(&scores, best), 0, "{scores:?}");
            let mut ranks = [0, 1, 2].map(|class| rank(&scores, class));
            ranks.sort_unstable();
            assert_eq!(ranks, [0, 1, 2], "{scores:?}");
        }
    }
}
