//! The end of a run that no longer gets better.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{Callback, Evaluated, Flow, TrainError};
use crate::Params;
use crate::checkpoint::{Goal, Part};

/// Stops when a metric has not improved for some evaluations, as Keras' and Lightning's callbacks.
///
/// ```text
/// better = m < best − min_delta    (Minimize; Maximize: m > best + min_delta)
/// ```
///
/// A metric that is not finite is never better; with [`EarlyStopping::stop_on_non_finite`] it ends
/// the run at once.
///
/// ```
/// use dl_core::train::{Callback, EarlyStopping, Evaluated, Flow};
/// let mut stopping = EarlyStopping::minimize("eval_loss").patience(2);
/// let mut hear = |step, loss| {
///     let metrics = [("eval_loss".to_string(), loss)].into();
///     stopping.on_evaluation(&Evaluated { epoch: step, step, metrics, confusion: None })
/// };
/// assert_eq!(hear(1, 0.5)?, Flow::Continue);
/// assert_eq!(hear(2, 0.6)?, Flow::Continue);
/// assert_eq!(hear(3, 0.5)?, Flow::Stop);
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct EarlyStopping {
    watch: String,
    goal: Goal,
    patience: usize,
    min_delta: f64,
    stop_on_non_finite: bool,
    restore: Option<Params>,
    best_weights: BTreeMap<String, Tensor>,
    seen: Seen,
}

/// What it remembers over a resumption.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Seen {
    best: Option<f64>,
    best_step: usize,
    stale: usize,
}

impl EarlyStopping {
    /// Watches a metric that is to fall. Patience 3, min delta 0.
    pub fn minimize(watch: impl Into<String>) -> Self {
        Self::new(watch.into(), Goal::Minimize)
    }

    /// Watches a metric that is to rise. Patience 3, min delta 0.
    pub fn maximize(watch: impl Into<String>) -> Self {
        Self::new(watch.into(), Goal::Maximize)
    }

    fn new(watch: String, goal: Goal) -> Self {
        Self {
            watch,
            goal,
            patience: 3,
            min_delta: 0.,
            stop_on_non_finite: false,
            restore: None,
            best_weights: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    /// Evaluations without an improvement after which the run ends, `≥ 1`. Default 3.
    pub fn patience(self, patience: usize) -> Self {
        Self { patience, ..self }
    }

    /// What counts as an improvement is more than this, `≥ 0`. Default 0.
    pub fn min_delta(self, min_delta: f64) -> Self {
        Self { min_delta, ..self }
    }

    /// Ends the run at the first value that is NaN or infinite. Default off.
    pub fn stop_on_non_finite(self) -> Self {
        Self {
            stop_on_non_finite: true,
            ..self
        }
    }

    /// Puts the weights and buffers of the best evaluation back at the end of the run. They are kept
    /// in memory, and in the checkpoints.
    pub fn restore_best(self, params: &Params) -> Self {
        Self {
            restore: Some(params.clone()),
            ..self
        }
    }

    /// The best value so far and the step it was found at.
    pub fn best(&self) -> Option<(f64, usize)> {
        self.seen.best.map(|best| (best, self.seen.best_step))
    }

    fn improves(&self, now: f64) -> bool {
        let delta = match self.goal {
            Goal::Minimize => -self.min_delta,
            Goal::Maximize => self.min_delta,
        };
        let better = |best| self.goal.improves(now, best + delta);
        now.is_finite() && self.seen.best.is_none_or(better)
    }

    fn keep(&mut self) -> Result<(), TrainError> {
        if let Some(params) = &self.restore {
            let copies = params.all().into_iter();
            let copies = copies.map(|(name, var)| Ok((name, var.as_detached_tensor().copy()?)));
            self.best_weights = copies.collect::<candle_core::Result<_>>()?;
        }
        Ok(())
    }
}

impl Callback for EarlyStopping {
    fn on_evaluation(&mut self, found: &Evaluated) -> Result<Flow, TrainError> {
        let now = found.metric(&self.watch)?;
        if self.improves(now) {
            self.seen = Seen {
                best: Some(now),
                best_step: found.step,
                stale: 0,
            };
            self.keep()?;
        } else {
            self.seen.stale += 1;
        }
        let broken = self.stop_on_non_finite && !now.is_finite();
        Ok(match broken || self.seen.stale >= self.patience.max(1) {
            true => Flow::Stop,
            false => Flow::Continue,
        })
    }

    fn on_train_end(&mut self) -> Result<(), TrainError> {
        if let Some(params) = &self.restore {
            for (name, tensor) in &self.best_weights {
                params.set(name, tensor)?;
            }
        }
        Ok(())
    }

    fn state(&self) -> Result<Option<(String, Part)>, TrainError> {
        let part = Part {
            tensors: self.best_weights.clone(),
            ..Part::values(&self.seen)?
        };
        Ok(Some((format!("early_stopping.{}", self.watch), part)))
    }

    fn load_state(&mut self, part: &Part) -> Result<(), TrainError> {
        self.seen = part.read("early_stopping")?;
        self.best_weights = part.tensors.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hear(stopping: &mut EarlyStopping, step: usize, value: f64) -> Flow {
        let metrics = [("m".to_string(), value)].into();
        let found = Evaluated {
            epoch: step,
            step,
            metrics,
            confusion: None,
        };
        stopping.on_evaluation(&found).unwrap()
    }

    /// Value, whether it stops, why.
    type Row = (f64, bool, &'static str);

    #[test]
    fn the_table_of_values_and_stops() {
        let tables: [(EarlyStopping, &[Row]); 5] = [
            (
                EarlyStopping::minimize("m").patience(2),
                &[
                    (1.0, false, "the first is the best"),
                    (1.0, false, "equal is not better: 1 of 2"),
                    (0.9, false, "better"),
                    (0.95, false, "1 of 2"),
                    (0.91, true, "2 of 2"),
                ],
            ),
            (
                EarlyStopping::maximize("m").patience(1),
                &[
                    (0.1, false, "first"),
                    (0.2, false, "better"),
                    (0.2, true, "1 of 1"),
                ],
            ),
            (
                EarlyStopping::minimize("m").patience(2).min_delta(0.1),
                &[
                    (1.0, false, "first"),
                    (0.95, false, "better by less than 0.1: 1 of 2"),
                    (
                        0.85,
                        false,
                        "better by 0.15 than the best, which is still 1",
                    ),
                    (0.8, false, "1 of 2"),
                    (0.76, true, "2 of 2"),
                ],
            ),
            (
                EarlyStopping::minimize("m").patience(2),
                &[
                    (f64::NAN, false, "not better than nothing: 1 of 2"),
                    (1.0, false, "better"),
                    (f64::NAN, false, "1 of 2"),
                    (f64::NEG_INFINITY, true, "not finite, so not better: 2 of 2"),
                ],
            ),
            (
                EarlyStopping::minimize("m").stop_on_non_finite(),
                &[(1.0, false, "first"), (f64::NAN, true, "not finite")],
            ),
        ];
        for (mut stopping, table) in tables {
            for (step, (value, stop, why)) in table.iter().enumerate() {
                let stopped = hear(&mut stopping, step, *value) == Flow::Stop;
                assert_eq!(stopped, *stop, "{value}: {why}");
            }
        }
    }

    #[test]
    fn a_metric_that_is_not_there_is_an_error_that_lists_those_that_are() {
        let metrics = [("eval_loss".to_string(), 1.)].into();
        let found = Evaluated {
            epoch: 1,
            step: 1,
            metrics,
            confusion: None,
        };
        let error = EarlyStopping::minimize("loss").on_evaluation(&found);
        assert_eq!(
            error.unwrap_err().to_string(),
            "no metric `loss`; there are eval_loss"
        );
    }
}
