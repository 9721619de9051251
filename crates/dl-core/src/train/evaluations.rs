//! What was found on several data sets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::sizes::number;
use super::{Batch, BatchSource, Evaluation, MetricEvaluation, TrainError};
use crate::text_table::TextTable;

/// Evaluations by the name of the data set, in the order they were made; printed as a table.
///
/// Those of a classifier, or with [`MetricEvaluation`] those of any model.
///
/// ```
/// use dl_core::metrics::ConfusionMatrix;
/// use dl_core::train::{Evaluation, Evaluations};
/// let confusion = ConfusionMatrix::new(2);
/// let found = Evaluation { loss: 0.5, accuracy: 0.75, confusion, samples: 8, seconds: 2. };
/// let mut all = Evaluations::default();
/// all.push("test", found)?;
/// assert_eq!(all.metrics()["test_loss"], 0.5);
/// assert_eq!(all.to_string(), "\
/// set   samples    loss  accuracy  macro F1  samples/s
/// test        8  0.5000    0.7500       NaN          4
/// ");
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Evaluations<E = Evaluation> {
    sets: Vec<(String, E)>,
}

impl<E> Default for Evaluations<E> {
    fn default() -> Self {
        Self { sets: vec![] }
    }
}

impl<E> Evaluations<E> {
    /// Evaluates on each data set under its name.
    pub(super) fn of(
        sets: &[(&str, &dyn BatchSource<Batch>)],
        evaluate: impl Fn(&dyn BatchSource<Batch>) -> Result<E, TrainError>,
    ) -> Result<Self, TrainError> {
        let mut found = Self::default();
        for (name, data) in sets {
            found.check_new(name)?;
            found.push(name, evaluate(*data).map_err(|e| e.of_set(name))?)?;
        }
        Ok(found)
    }

    /// Adds one. Fails on a name that is there already.
    pub fn push(&mut self, name: &str, found: E) -> Result<(), TrainError> {
        self.check_new(name)?;
        self.sets.push((name.to_string(), found));
        Ok(())
    }

    fn check_new(&self, name: &str) -> Result<(), TrainError> {
        match self.sets.iter().any(|(known, _)| known == name) {
            true => Err(TrainError::DuplicateSet {
                name: name.to_string(),
            }),
            false => Ok(()),
        }
    }

    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &E)> {
        self.sets.iter().map(|(name, found)| (name.as_str(), found))
    }
}

impl Evaluations {
    /// `test_loss`, `test_accuracy`, `test_macro_f1` for each name.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let values = |(name, found): (&str, &Evaluation)| {
            let values = [
                ("loss", found.loss),
                ("accuracy", found.accuracy),
                ("macro_f1", found.confusion.macro_f1()),
            ];
            values.map(|(metric, value)| (format!("{name}_{metric}"), value))
        };
        self.iter().flat_map(values).collect()
    }
}

impl Evaluations<MetricEvaluation> {
    /// `test_loss`, the `test_loss_TASK` of a loss of several tasks and `test_METRIC`, for each name.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let values = self
            .iter()
            .flat_map(|(name, found)| found.metrics.iter().map(move |metric| (name, metric)));
        let named = values.map(|(name, (metric, value))| (format!("{name}_{metric}"), *value));
        named.collect()
    }

    /// The names of all metrics, the loss first.
    fn metric_names(&self) -> Vec<&str> {
        let names = self.iter().flat_map(|(_, found)| found.metrics.keys());
        let names: BTreeSet<&str> = names.map(String::as_str).collect();
        let mut names = Vec::from_iter(names);
        names.sort_by_key(|name| *name != "loss");
        names
    }
}

impl fmt::Display for Evaluations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = [
            "set",
            "samples",
            "loss",
            "accuracy",
            "macro F1",
            "samples/s",
        ];
        let mut table = TextTable::new(header, 1);
        for (name, found) in self.iter() {
            table.push([
                name.to_string(),
                found.samples.to_string(),
                format!("{:.4}", found.loss),
                format!("{:.4}", found.accuracy),
                format!("{:.4}", found.confusion.macro_f1()),
                format!("{:.0}", found.samples as f64 / found.seconds),
            ]);
        }
        table.fmt(f)
    }
}

impl fmt::Display for Evaluations<MetricEvaluation> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = self.metric_names();
        let header = ["set", "samples"]
            .into_iter()
            .chain(metrics.iter().copied());
        let mut table = TextTable::new(header.chain(["samples/s"]), 1);
        for (name, found) in self.iter() {
            let value = |metric: &&str| found.metrics.get(*metric).copied();
            let values = metrics.iter().map(value);
            let values = values.map(|value| value.map_or("–".to_string(), number));
            let rate = format!("{:.0}", found.samples as f64 / found.seconds);
            let row = [name.to_string(), found.samples.to_string()].into_iter();
            table.push(row.chain(values).chain([rate]));
        }
        table.fmt(f)
    }
}
