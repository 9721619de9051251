//! What a report remembers of a training.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metrics::ConfusionMatrix;
use crate::train::curve::Curve;
use crate::train::{Epoch, Evaluated, Plan, Step};

/// One training: a fit, or several under one name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) name: String,
    /// When it began, in seconds since 1970.
    pub(super) begun: u64,
    /// Steps of the fits before the present one.
    before: usize,
    /// Steps so far.
    pub(super) step: usize,
    /// Steps that it is to have.
    pub(super) planned: usize,
    /// Scalars that train.
    pub(super) trainable: usize,
    /// The steps of checkpoints that it went on from.
    pub(super) resumed: Vec<usize>,
    /// `train_loss`, `learning_rate`, `grad_norm`, `eval_accuracy` and the like.
    pub(super) by_step: BTreeMap<String, Curve>,
    pub(super) epochs: Vec<Epoch>,
    /// That of the latest evaluation which had one, and its step.
    #[serde(default)]
    pub(super) confusion: Option<(usize, ConfusionMatrix)>,
}

impl Run {
    pub(super) fn new(name: &str, begun: u64) -> Self {
        Self {
            name: name.to_string(),
            begun,
            ..Self::default()
        }
    }

    pub(super) fn begin(&mut self, plan: &Plan) {
        match plan.resumed {
            Some(step) => self.resumed.push(step),
            None => self.before = self.step,
        }
        self.planned = self.before + plan.total_steps;
        self.trainable = plan.trainable;
    }

    pub(super) fn step(&mut self, step: &Step) {
        self.step = self.before + step.step;
        if !step.skipped {
            self.push("train_loss", step.loss);
        }
        self.push("learning_rate", step.lr);
        if let Some(norm) = step.grad_norm {
            self.push("grad_norm", norm);
        }
    }

    pub(super) fn evaluated(&mut self, found: &Evaluated) {
        for (name, value) in &found.metrics {
            self.push(name, *value);
        }
        if let Some(confusion) = &found.confusion {
            self.confusion = Some((self.step, confusion.clone()));
        }
    }

    fn push(&mut self, name: &str, value: f64) {
        let curve = self.by_step.entry(name.to_string()).or_default();
        curve.push(self.step as f64, value);
    }

    /// The sum of a field of the epochs.
    pub(super) fn total(&self, field: impl Fn(&Epoch) -> f64) -> f64 {
        self.epochs.iter().map(field).sum()
    }

    /// Training samples a second, over all epochs.
    pub(super) fn samples_per_second(&self) -> f64 {
        let samples = self.total(|e| e.train_seconds * e.train_samples_per_second);
        samples / self.total(|e| e.train_seconds)
    }
}
