//! The share of predictions that name the true class among their first few.

use candle_core::{Result, Tensor, bail};
use serde::{Deserialize, Serialize};

use super::scores::{Scores, rank};

/// The share of rows whose true class is among the `k` highest scores.
///
/// ```text
/// top-k = #{i : #{j : logitsᵢⱼ ranks before logitsᵢ,labelᵢ} < k} / n
/// ```
///
/// Of equal scores the lower class ranks first. With `k` no smaller than the classes it is 1.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::metrics::TopKAccuracy;
/// let logits = Tensor::new(&[[0.1f32, 0.9, 0.5], [0.8, 0.2, 0.1]], &Device::Cpu)?;
/// let labels = Tensor::new(&[2u32, 2], &Device::Cpu)?;
/// let mut top2 = TopKAccuracy::new(2)?;
/// top2.update(&logits, &labels)?;
/// assert_eq!(top2.compute(), 0.5);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopKAccuracy {
    k: usize,
    correct: u64,
    total: u64,
}

impl TopKAccuracy {
    /// Nothing counted yet. Fails when `k` is 0.
    pub fn new(k: usize) -> Result<Self> {
        if k == 0 {
            bail!("the k of top-k accuracy must be above 0, came 0");
        }
        Ok(Self {
            k,
            correct: 0,
            total: 0,
        })
    }

    /// Counts a batch: `(…, classes)` of any float type, integer `(…)`.
    pub fn update(&mut self, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let scores = Scores::new(logits, labels)?;
        let right = scores
            .rows()
            .filter(|&(row, label)| rank(row, label) < self.k);
        self.correct += right.count() as u64;
        self.total += scores.len();
        Ok(())
    }

    /// The share so far, in `[0, 1]`; NaN before anything was counted.
    pub fn compute(&self) -> f64 {
        self.correct as f64 / self.total as f64
    }
}
