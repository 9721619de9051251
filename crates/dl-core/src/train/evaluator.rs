//! A model on several data sets, and sample by sample.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{Device, Result as CandleResult, Tensor};
use candle_nn::ModuleT;

use super::batch_source::BatchSource;
use super::evaluate::{Answer, Counts};
use super::prediction::predictions;
use super::trainer::Loss;
use super::{Batch, BatchStream, Evaluation, MixedPrecision, Prediction, TrainError};
use crate::data::Position;
use crate::losses::{Reduction, cross_entropy};
use crate::text_table::TextTable;

/// Evaluates a classifier: on named test sets, and sample by sample.
///
/// Cross-entropy on the CPU unless told otherwise.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::func;
/// use dl_core::data::{DataLoader, StackTensors, TensorDataset};
/// use dl_core::train::Evaluator;
/// let x = Tensor::new(&[[2f32, 1.], [2., 1.], [0., 3.]], &Device::Cpu)?;
/// let y = Tensor::new(&[0u32, 1, 1], &Device::Cpu)?;
/// let test = DataLoader::new(TensorDataset::new(x, y)?, StackTensors).batch_size(2);
/// let model = func(|x| Ok(x.clone()));
/// let evaluator = Evaluator::new(&model);
/// let found = evaluator.evaluate_sets(&[("test", &test), ("again", &test)])?;
/// assert_eq!(found.metrics()["test_accuracy"], 2. / 3.);
/// let mut wrong = vec![];
/// evaluator.predict(&test, |sample| {
///     wrong.extend((!sample.is_right()).then_some(sample.name));
///     Ok(())
/// })?;
/// assert_eq!(wrong, ["#1"]);
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
pub struct Evaluator<'a> {
    model: &'a dyn ModuleT,
    device: Device,
    mixed_precision: MixedPrecision,
    loss: Box<Loss<'a>>,
}

impl<'a> Evaluator<'a> {
    /// Cross-entropy of logits and classes, on the CPU.
    pub fn new(model: &'a dyn ModuleT) -> Self {
        Self {
            model,
            device: Device::Cpu,
            mixed_precision: MixedPrecision::No,
            loss: Box::new(|z, y| cross_entropy(z, y, &Default::default(), Reduction::None)),
        }
    }

    /// The device that batches are moved to: the model's. Default the CPU.
    pub fn device(mut self, device: &Device) -> Self {
        self.device = device.clone();
        self
    }

    /// The precision of the model's products. Default that of the weights.
    pub fn mixed_precision(mut self, precision: MixedPrecision) -> Self {
        self.mixed_precision = precision;
        self
    }

    /// The loss of each sample. Default cross-entropy.
    pub fn loss(mut self, loss: impl Fn(&Tensor, &Tensor) -> CandleResult<Tensor> + 'a) -> Self {
        self.loss = Box::new(loss);
        self
    }

    /// Loss, accuracy and confusion matrix on a data set.
    pub fn evaluate(&self, data: &dyn BatchSource<Batch>) -> Result<Evaluation, TrainError> {
        let mut counts = Counts::new();
        for batch in data.batches(Position::default())? {
            self.answer(&batch?)?.count(&mut counts)?;
        }
        counts.finish()
    }

    /// The same, and `each` is told what the model says about every sample, in the order of the
    /// data. Wants logits `(n, classes)` and one class for each sample.
    pub fn predict(
        &self,
        data: &dyn BatchSource<Batch>,
        mut each: impl FnMut(Prediction) -> Result<(), TrainError>,
    ) -> Result<Evaluation, TrainError> {
        let mut counts = Counts::new();
        let mut batches = data.batches(Position::default())?;
        while let Some(batch) = batches.next() {
            let answer = self.answer(&batch?)?;
            let first = counts.samples();
            answer.count(&mut counts)?;
            let indices = indices(data, batches.as_ref(), first, counts.samples())?;
            let named = indices.into_iter().map(|i| (i, data.name(i))).collect();
            predictions(&answer, named)?
                .into_iter()
                .try_for_each(&mut each)?;
        }
        counts.finish()
    }

    /// Evaluates on each data set under its name. Fails on a name that comes twice.
    pub fn evaluate_sets(
        &self,
        sets: &[(&str, &dyn BatchSource<Batch>)],
    ) -> Result<Evaluations, TrainError> {
        let mut found = Evaluations::default();
        for (name, data) in sets {
            found.push(name, self.evaluate(*data)?)?;
        }
        Ok(found)
    }

    fn answer(&self, batch: &Batch) -> CandleResult<Answer> {
        let _products = self.mixed_precision.scope()?;
        Answer::of(self.model, batch, &self.loss, &self.device)
    }
}

/// The items of the batch that came last, without those that were left out; where the data do not
/// know them, they are counted.
fn indices(
    data: &dyn BatchSource<Batch>,
    batches: &dyn BatchStream<Batch>,
    first: usize,
    end: usize,
) -> Result<Vec<usize>, TrainError> {
    let next = batches.next_position();
    let batch = next.batch.saturating_sub(1);
    let mut indices = data.indices(Position { batch, ..next })?;
    if indices.is_empty() {
        return Ok((first..end).collect());
    }
    let skipped = batches.skipped();
    indices.retain(|index| !skipped.contains(index));
    Ok(indices)
}

/// Evaluations by the name of the data set, in the order they were made; printed as a table.
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
#[derive(Clone, Debug, Default)]
pub struct Evaluations {
    sets: Vec<(String, Evaluation)>,
}

impl Evaluations {
    /// Adds one. Fails on a name that is there already.
    pub fn push(&mut self, name: &str, found: Evaluation) -> Result<(), TrainError> {
        let name = name.to_string();
        if self.sets.iter().any(|(known, _)| *known == name) {
            return Err(TrainError::DuplicateSet { name });
        }
        self.sets.push((name, found));
        Ok(())
    }

    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Evaluation)> {
        self.sets.iter().map(|(name, found)| (name.as_str(), found))
    }

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
