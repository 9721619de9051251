//! What a dashboard knows.

use std::collections::BTreeMap;
use std::time::Instant;

use super::terminal::Wish;
use crate::train::curve::Curve;
use crate::train::resident_memory::resident_bytes;
use crate::train::{Epoch, Evaluated, Plan, Step};

/// How much of the speed that is shown comes from the steps before.
const KEPT: f64 = 0.95;

/// The numbers and curves of a run so far.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) name: String,
    pub(super) plan: Plan,
    begun: Instant,
    pub(super) last: Option<Step>,
    /// Samples, tokens, seconds, and seconds of waiting for data, of the last steps.
    recent: [f64; 4],
    /// `train_loss`, `learning_rate`, and what evaluations found.
    pub(super) curves: BTreeMap<String, Curve>,
    pub(super) epochs: Vec<Epoch>,
    /// What was asked for by a key.
    pub(super) wish: Wish,
    /// Bytes, and when they were looked up.
    memory: Option<(Instant, Option<u64>)>,
}

impl Screen {
    pub(super) fn new(name: &str, plan: &Plan) -> Self {
        Self {
            name: name.to_string(),
            plan: *plan,
            begun: Instant::now(),
            last: None,
            recent: [0.; 4],
            curves: BTreeMap::new(),
            epochs: vec![],
            wish: Wish::GoOn,
            memory: None,
        }
    }

    pub(super) fn step(&mut self, step: &Step) {
        let tokens = step.tokens.unwrap_or(0) as f64;
        let now = [step.samples as f64, tokens, step.seconds, step.data_seconds];
        for (sum, now) in self.recent.iter_mut().zip(now) {
            *sum = *sum * KEPT + now;
        }
        let at = step.step as f64;
        for (name, value) in [("train_loss", step.loss), ("learning_rate", step.lr)] {
            self.curves
                .entry(name.to_string())
                .or_default()
                .push(at, value);
        }
        self.last = Some(*step);
    }

    pub(super) fn evaluated(&mut self, found: &Evaluated) {
        for (name, value) in &found.metrics {
            let curve = self.curves.entry(name.clone()).or_default();
            curve.push(found.step as f64, *value);
        }
    }

    pub(super) fn epoch(&mut self, epoch: &Epoch) {
        self.epochs.push(epoch.clone());
    }

    /// The step that was taken last, over the whole run.
    pub(super) fn at(&self) -> usize {
        let before = self.plan.resumed.unwrap_or(0);
        self.last.map_or(before, |step| step.step)
    }

    pub(super) fn samples_per_second(&self) -> f64 {
        self.recent[0] / self.recent[2]
    }

    /// `None` where the batches do not know.
    pub(super) fn tokens_per_second(&self) -> Option<f64> {
        self.last?.tokens.map(|_| self.recent[1] / self.recent[2])
    }

    /// The share of the time that is spent waiting for data.
    pub(super) fn waiting(&self) -> f64 {
        self.recent[3] / self.recent[2]
    }

    pub(super) fn elapsed(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Seconds that are left at the speed so far, evaluations included.
    pub(super) fn left(&self, elapsed: f64) -> Option<f64> {
        let taken = self.at() - self.plan.resumed.unwrap_or(0);
        let to_come = self.plan.total_steps.saturating_sub(self.at());
        (taken > 0).then(|| elapsed / taken as f64 * to_come as f64)
    }

    /// Bytes of memory, looked up once a second.
    pub(super) fn memory(&mut self) -> Option<u64> {
        match self.memory {
            Some((when, bytes)) if when.elapsed().as_secs() < 1 => bytes,
            _ => {
                let bytes = resident_bytes();
                self.memory = Some((Instant::now(), bytes));
                bytes
            }
        }
    }
}
