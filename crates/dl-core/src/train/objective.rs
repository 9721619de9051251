//! What a model's outputs are judged by: a loss, or several, and metrics.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor};

use super::trainer::Loss;
use crate::losses::{MultiTaskLoss, Reduction, cross_entropy};
use crate::metrics::{Accuracy, Mean};

/// Counts what a model said about a batch: (output, target) → the mean over its samples.
pub type Metric<'a> = dyn Fn(&Tensor, &Tensor) -> Result<Mean> + 'a;

/// Metrics by name.
pub(super) type Metrics<'a> = Vec<(String, Box<Metric<'a>>)>;

/// The loss to be made small.
pub(super) enum Objective<'a> {
    One(Box<Loss<'a>>),
    Tasks(MultiTaskLoss<'a>),
}

impl Objective<'_> {
    /// The loss of each sample, and the means of the parts that have names.
    pub(super) fn of(
        &self,
        output: &Tensor,
        targets: &Tensor,
    ) -> Result<(Tensor, Vec<(String, Mean)>)> {
        match self {
            Self::One(loss) => Ok((loss(output, targets)?, vec![])),
            Self::Tasks(loss) => {
                let found = loss.forward(output, targets)?;
                let parts = found.parts.iter();
                let parts = parts.map(|(name, part)| Ok((part_name(name), mean_of(part)?)));
                Ok((found.total, parts.collect::<Result<_>>()?))
            }
        }
    }

    /// The names of the parts.
    pub(super) fn part_names(&self) -> Vec<String> {
        match self {
            Self::One(_) => vec![],
            Self::Tasks(loss) => loss.names().map(part_name).collect(),
        }
    }
}

/// What the loss of a task is called among the metrics.
fn part_name(task: &str) -> String {
    format!("loss_{task}")
}

/// Cross-entropy of logits and classes.
pub(super) fn classes<'a>() -> Objective<'a> {
    Objective::One(Box::new(|z, y| {
        cross_entropy(z, y, &Default::default(), Reduction::None)
    }))
}

/// The share of right classes, under its name.
pub(super) fn accuracy<'a>() -> Metrics<'a> {
    vec![("accuracy".to_string(), Box::new(right_classes))]
}

/// Of targets that are shares of classes, the largest counts.
fn right_classes(output: &Tensor, labels: &Tensor) -> Result<Mean> {
    let mut accuracy = Accuracy::new();
    match labels.dtype().is_float() && labels.rank() == output.rank() {
        true => accuracy.update(output, &labels.argmax(1)?)?,
        false => accuracy.update(output, labels)?,
    }
    Ok(Mean::of(accuracy.correct() as f64, accuracy.total() as f64))
}

/// Means by name, over batches of any size.
#[derive(Default)]
pub(super) struct Means(BTreeMap<String, Mean>);

impl Means {
    pub(super) fn merge(&mut self, name: &str, mean: &Mean) {
        self.0.entry(name.to_string()).or_default().merge(mean);
    }

    pub(super) fn add_metrics(
        &mut self,
        metrics: &Metrics,
        output: &Tensor,
        targets: &Tensor,
    ) -> Result<()> {
        for (name, metric) in metrics {
            self.merge(name, &metric(output, targets)?);
        }
        Ok(())
    }

    /// Adds the loss, its parts and the metrics of a batch that is not trained on, and gives the loss
    /// of each sample.
    pub(super) fn add_batch(
        &mut self,
        objective: &Objective,
        metrics: &Metrics,
        output: &Tensor,
        targets: &Tensor,
    ) -> Result<Tensor> {
        let (losses, parts) = objective.of(output, targets)?;
        self.merge("loss", &mean_of(&losses)?);
        for (name, mean) in &parts {
            self.merge(name, mean);
        }
        self.add_metrics(metrics, output, targets)?;
        Ok(losses)
    }

    pub(super) fn into_inner(self) -> BTreeMap<String, Mean> {
        self.0
    }

    pub(super) fn compute(self) -> BTreeMap<String, f64> {
        let value = |(name, mean): (String, Mean)| (name, mean.compute());
        self.0.into_iter().map(value).collect()
    }
}

/// In f64, so that a mean of means over batches of any size is the mean over all samples.
fn mean_of(losses: &Tensor) -> Result<Mean> {
    let losses = losses.flatten_all()?.to_dtype(DType::F64)?;
    let losses = losses.to_vec1::<f64>()?;
    Ok(Mean::of(losses.iter().sum(), losses.len() as f64))
}
