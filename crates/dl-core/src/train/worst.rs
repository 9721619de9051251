//! The samples that a model is most wrong about.

use super::Prediction;

/// Keeps the wrong predictions of greatest loss, the greatest first.
///
/// A NaN loss is the greatest of all; of equal ones the sample that comes first in the data is kept.
///
/// ```
/// use dl_core::train::{Prediction, Worst};
/// let mut worst = Worst::new(2);
/// for (index, loss) in [0.9, 0.1, f64::NAN, 2.5].into_iter().enumerate() {
///     let (name, probabilities) = (format!("#{index}"), vec![0.8, 0.2]);
///     worst.see(Prediction { index, name, target: 1, predicted: 0, loss, probabilities });
/// }
/// let kept: Vec<usize> = worst.kept().iter().map(|sample| sample.index).collect();
/// assert_eq!(kept, [2, 3]);
/// ```
#[derive(Clone, Debug)]
pub struct Worst {
    most: usize,
    kept: Vec<Prediction>,
}

impl Worst {
    /// Keeps so many.
    pub fn new(most: usize) -> Self {
        Self { most, kept: vec![] }
    }

    /// Looks at a prediction.
    pub fn see(&mut self, prediction: Prediction) {
        if prediction.is_right() {
            return;
        }
        let place = self.kept.partition_point(|k| k.worse(&prediction).is_lt());
        if place < self.most {
            self.kept.truncate(self.most - 1);
            self.kept.insert(place, prediction);
        }
    }

    /// Those that were kept, the worst first.
    pub fn kept(&self) -> &[Prediction] {
        &self.kept
    }
}
