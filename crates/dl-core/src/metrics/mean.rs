//! A weighted mean.

use serde::{Deserialize, Serialize};

/// The mean of values that come batch by batch, such as losses; torchmetrics' `MeanMetric`.
///
/// ```text
/// mean = Σ wᵢ xᵢ / Σ wᵢ
/// ```
///
/// A batch loss is the mean over its rows, so its weight is their number; then a smaller last batch
/// does not count too much. NaN is kept: it says that the model broke.
///
/// ```
/// use dl_core::metrics::Mean;
/// let mut loss = Mean::new();
/// loss.update(2., 64.);
/// loss.update(5., 32.);
/// assert_eq!(loss.compute(), 3.);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Values that are summed up already, and the rows they stand for.
    pub fn of(sum: f64, weight: f64) -> Self {
        Self { sum, weight }
    }

    /// Counts what another mean counted.
    pub fn merge(&mut self, other: &Self) {
        self.sum += other.sum;
        self.weight += other.weight;
    }

    /// Counts a value, with the number of rows it stands for as its weight.
    pub fn update(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    /// The mean so far; NaN before anything was counted.
    pub fn compute(&self) -> f64 {
        self.sum / self.weight
    }

    /// The weighted sum of the values so far.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The sum of the weights so far.
    pub fn weight(&self) -> f64 {
        self.weight
    }
}
