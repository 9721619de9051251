//! A classifier on several data sets, and sample by sample.

use candle_core::{Device, Result as CandleResult, Tensor};
use candle_nn::ModuleT;

use super::evaluate::{Answer, Counts};
use super::inference::Inference;
use super::named_batches::NamedBatches;
use super::prediction::predictions;
use super::trainer::Loss;
use super::{Batch, BatchSource, Evaluation, Evaluations, MixedPrecision, Prediction, TrainError};
use crate::data::Position;
use crate::losses::{Reduction, cross_entropy};

/// Evaluates a classifier: on named test sets, and sample by sample.
///
/// Cross-entropy on the CPU unless told otherwise. For what is not a classification, see
/// [`MetricEvaluator`](super::MetricEvaluator).
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
    inference: Inference<'a>,
    loss: Box<Loss<'a>>,
}

impl<'a> Evaluator<'a> {
    /// Cross-entropy of logits and classes, on the CPU.
    pub fn new(model: &'a dyn ModuleT) -> Self {
        Self {
            inference: Inference::new(model),
            loss: Box::new(|z, y| cross_entropy(z, y, &Default::default(), Reduction::None)),
        }
    }

    /// The device that batches are moved to: the model's. Default the CPU.
    pub fn device(mut self, device: &Device) -> Self {
        self.inference.device = device.clone();
        self
    }

    /// The precision of the model's products. Default that of the weights.
    pub fn mixed_precision(mut self, precision: MixedPrecision) -> Self {
        self.inference.mixed_precision = precision;
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
        for batch in NamedBatches::of(data)? {
            let (batch, samples) = batch?;
            let answer = self.answer(&batch)?;
            answer.count(&mut counts)?;
            let found = predictions(&answer, samples)?;
            found.into_iter().try_for_each(&mut each)?;
        }
        counts.finish()
    }

    /// Evaluates on each data set under its name. Fails on a name that comes twice and on a data set
    /// without a batch.
    pub fn evaluate_sets(
        &self,
        sets: &[(&str, &dyn BatchSource<Batch>)],
    ) -> Result<Evaluations, TrainError> {
        Evaluations::of(sets, |data| self.evaluate(data))
    }

    fn answer(&self, batch: &Batch) -> CandleResult<Answer> {
        Answer::of(&self.inference, batch, &self.loss)
    }
}
