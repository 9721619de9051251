//! Where a run stands between two steps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::resident_memory::resident_bytes;
use super::{Epoch, History, StepReport};
use crate::checkpoint::Values;
use crate::data::Position;

/// What the loop itself remembers over a resumption.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// The batch that comes next.
    pub(super) position: Position,
    /// Optimizer steps taken.
    pub(super) step: usize,
    pub(super) totals: Totals,
    pub(super) history: History,
    /// The last evaluation.
    pub(super) evaluated: Values,
    /// The step it was at.
    pub(super) evaluated_step: Option<usize>,
    /// A callback has ended the run.
    pub(super) stopped: bool,
}

/// What the current epoch has added up so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Totals {
    sums: Values,
    weights: Values,
    samples: usize,
    tokens: Option<usize>,
    skipped: usize,
    /// Of training, waiting for data among it.
    pub(super) seconds: f64,
    pub(super) data_seconds: f64,
    pub(super) eval_seconds: f64,
    pub(super) checkpoint_seconds: f64,
    lr: f64,
}

impl Totals {
    pub(super) fn add(&mut self, report: &StepReport) {
        self.samples += report.samples;
        if let Some(tokens) = report.tokens {
            *self.tokens.get_or_insert(0) += tokens;
        }
        self.lr = report.lr;
        if report.skipped {
            self.skipped += 1;
            return;
        }
        let samples = report.samples as f64;
        self.count("loss", report.loss * samples, samples);
        for (name, mean) in &report.metrics {
            self.count(name, mean.sum(), mean.weight());
        }
    }

    fn count(&mut self, name: &str, sum: f64, weight: f64) {
        *self.sums.0.entry(name.to_string()).or_default() += sum;
        *self.weights.0.entry(name.to_string()).or_default() += weight;
    }

    /// `train_loss` and the like.
    fn means(&self) -> BTreeMap<String, f64> {
        let pairs = self.sums.0.iter().zip(self.weights.0.values());
        pairs
            .map(|((name, sum), weight)| (format!("train_{name}"), sum / weight))
            .collect()
    }
}

impl State {
    /// Ends the epoch with what its evaluation found, if there was one.
    pub(super) fn end_epoch(&mut self, evaluated: Option<BTreeMap<String, f64>>) -> Epoch {
        let totals = std::mem::take(&mut self.totals);
        let mut values = totals.means();
        values.extend(evaluated.into_iter().flatten());
        let epoch = Epoch {
            epoch: self.position.epoch as usize + 1,
            step: self.step,
            values: Values(values),
            learning_rate: totals.lr,
            train_seconds: totals.seconds,
            train_samples_per_second: totals.samples as f64 / totals.seconds,
            train_tokens_per_second: totals.tokens.map(|n| n as f64 / totals.seconds),
            data_seconds: totals.data_seconds,
            eval_seconds: totals.eval_seconds,
            checkpoint_seconds: totals.checkpoint_seconds,
            skipped_steps: totals.skipped,
            resident_bytes: resident_bytes(),
        };
        self.position = Position {
            epoch: self.position.epoch + 1,
            batch: 0,
        };
        self.history.push(epoch.clone());
        epoch
    }
}
