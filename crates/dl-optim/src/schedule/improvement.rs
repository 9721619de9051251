//! When a metric counts as better.

use serde::{Deserialize, Serialize};

/// Which way a metric is better.
///
/// ```
/// assert_eq!(dl_optim::Mode::default(), dl_optim::Mode::Min);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Lower, as a loss. The default.
    #[default]
    Min,
    /// Higher, as an accuracy.
    Max,
}

/// What a threshold is measured against.
///
/// ```
/// assert_eq!(dl_optim::ThresholdMode::default(), dl_optim::ThresholdMode::Rel);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdMode {
    /// The best value so far. The default.
    #[default]
    Rel,
    /// Nothing.
    Abs,
}

/// Whether `now` is better than the best so far by more than the threshold. What is not a finite
/// number never is (in PyTorch −∞ is a lower loss, and a state with it cannot be written as JSON).
pub(super) fn improves(
    mode: Mode,
    threshold: f64,
    threshold_mode: ThresholdMode,
    now: f64,
    best: Option<f64>,
) -> bool {
    let Some(best) = best else {
        return now.is_finite();
    };
    now.is_finite()
        && match (mode, threshold_mode) {
            (Mode::Min, ThresholdMode::Rel) => now < best * (1.0 - threshold),
            (Mode::Min, ThresholdMode::Abs) => now < best - threshold,
            (Mode::Max, ThresholdMode::Rel) => now > best * (threshold + 1.0),
            (Mode::Max, ThresholdMode::Abs) => now > best + threshold,
        }
}
