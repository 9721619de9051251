//! A model of any kind on several data sets, and sample by sample.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::{Device, Result as CandleResult, Tensor};
use candle_nn::ModuleT;

use super::callback::named;
use super::inference::Inference;
use super::named_batches::NamedBatches;
use super::objective::{Means, Metrics, Objective};
use super::value_prediction::value_predictions;
use super::{Batch, BatchSource, Evaluations, MixedPrecision, TrainError, ValuePrediction};
use crate::data::Position;
use crate::losses::MultiTaskLoss;
use crate::metrics::Mean;

/// Evaluates any model by a loss and metrics with names: on named test sets, and sample by sample.
///
/// For regressions, several tasks, several outputs; of a classifier [`Evaluator`](super::Evaluator)
/// tells more. On the CPU unless told otherwise.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::func;
/// use dl_core::data::{DataLoader, StackTensors, TensorDataset};
/// use dl_core::losses::{Reduction, l1_loss, mse_loss};
/// use dl_core::metrics::Mean;
/// use dl_core::train::MetricEvaluator;
/// let x = Tensor::new(&[[1f64], [2.], [4.]], &Device::Cpu)?;
/// let y = Tensor::new(&[[1f64], [3.], [1.]], &Device::Cpu)?;
/// let test = DataLoader::new(TensorDataset::new(x, y)?, StackTensors).batch_size(2);
/// let model = func(|x| Ok(x.clone()));
/// let evaluator = MetricEvaluator::new(&model, |z, y| mse_loss(z, y, Reduction::None))
///     .metric("mae", |z, y| {
///         let sum = l1_loss(z, y, Reduction::Sum)?.to_scalar::<f64>()?;
///         Ok(Mean::of(sum, z.elem_count() as f64))
///     });
/// let found = evaluator.evaluate_sets(&[("test", &test)])?;
/// assert_eq!(found.metrics()["test_loss"], 10. / 3.);
/// assert_eq!(found.metrics()["test_mae"], 4. / 3.);
/// let mut losses = vec![];
/// evaluator.predict(&test, |sample| {
///     losses.push(sample.loss);
///     Ok(())
/// })?;
/// assert_eq!(losses, [0., 1., 9.]);
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
pub struct MetricEvaluator<'a> {
    inference: Inference<'a>,
    objective: Objective<'a>,
    metrics: Metrics<'a>,
}

/// What a [`MetricEvaluator`] found.
///
/// ```
/// use dl_core::train::MetricEvaluation;
/// let metrics = [("loss".to_string(), 0.5), ("mae".to_string(), 0.6)].into();
/// let found = MetricEvaluation { metrics, samples: 8, seconds: 0.1 };
/// assert_eq!(found.metric("mae")?, 0.6);
/// let error = found.metric("mse").unwrap_err();
/// assert_eq!(error.to_string(), "no metric `mse`; there are loss, mae");
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct MetricEvaluation {
    /// Means over all samples: `loss`, the `loss_TASK` of each task without its weight, and the
    /// metrics by name.
    pub metrics: BTreeMap<String, f64>,
    /// Number of samples.
    pub samples: usize,
    /// Seconds it took.
    pub seconds: f64,
}

impl MetricEvaluation {
    /// The value of a metric by its name. Fails on a name that is not there.
    pub fn metric(&self, name: &str) -> Result<f64, TrainError> {
        named(&self.metrics, name)
    }
}

impl<'a> MetricEvaluator<'a> {
    /// By the loss of each sample: (outputs, targets) → `(n,)`, or `(n, …)` of which the mean counts.
    pub fn new(
        model: &'a dyn ModuleT,
        loss: impl Fn(&Tensor, &Tensor) -> CandleResult<Tensor> + 'a,
    ) -> Self {
        Self::by(model, Objective::One(Box::new(loss)))
    }

    /// By several losses with weights, of which each is a metric `loss_TASK` as well.
    pub fn multi_task(model: &'a dyn ModuleT, loss: MultiTaskLoss<'a>) -> Self {
        Self::by(model, Objective::Tasks(loss))
    }

    fn by(model: &'a dyn ModuleT, objective: Objective<'a>) -> Self {
        Self {
            inference: Inference::new(model),
            objective,
            metrics: vec![],
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

    /// Adds what is averaged besides the loss, as [`Trainer::metric`](super::Trainer::metric).
    pub fn metric(
        mut self,
        name: impl Into<String>,
        metric: impl Fn(&Tensor, &Tensor) -> CandleResult<Mean> + 'a,
    ) -> Self {
        self.metrics.push((name.into(), Box::new(metric)));
        self
    }

    /// Loss and metrics on a data set. Fails on one without a batch, on a name that two metrics have,
    /// and where the loss or a metric does.
    pub fn evaluate(&self, data: &dyn BatchSource<Batch>) -> Result<MetricEvaluation, TrainError> {
        let mut counts = self.counts()?;
        for batch in data.batches(Position::default())? {
            let batch = batch?;
            let judge = |output: &Tensor, targets: &Tensor| counts.add(self, output, targets);
            self.inference.judged(&batch, judge)?;
        }
        counts.finish()
    }

    /// The same, and `each` is told what the model says about every sample, in the order of the
    /// data. Wants outputs `(n, …)`, targets `(n, …)` and losses `(n, …)`.
    pub fn predict(
        &self,
        data: &dyn BatchSource<Batch>,
        mut each: impl FnMut(ValuePrediction) -> Result<(), TrainError>,
    ) -> Result<MetricEvaluation, TrainError> {
        let mut counts = self.counts()?;
        for batch in NamedBatches::of(data)? {
            let (batch, samples) = batch?;
            let found = self.inference.judged(&batch, |output, targets| {
                let losses = counts.add(self, output, targets)?;
                value_predictions(output, targets, &losses, samples)
            })?;
            found.into_iter().try_for_each(&mut each)?;
        }
        counts.finish()
    }

    /// Evaluates on each data set under its name. Fails on a name that comes twice and on a data set
    /// without a batch.
    pub fn evaluate_sets(
        &self,
        sets: &[(&str, &dyn BatchSource<Batch>)],
    ) -> Result<Evaluations<MetricEvaluation>, TrainError> {
        Evaluations::of(sets, |data| self.evaluate(data))
    }

    fn counts(&self) -> Result<Counts, TrainError> {
        let mut known = vec!["loss".to_string()];
        known.extend(self.objective.part_names());
        for (name, _) in &self.metrics {
            if known.contains(name) {
                let name = name.clone();
                return Err(TrainError::DuplicateMetric { name });
            }
            known.push(name.clone());
        }
        Ok(Counts::new())
    }
}

/// What the batches have added up so far.
struct Counts {
    begun: Instant,
    means: Means,
    samples: usize,
}

impl Counts {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            means: Means::default(),
            samples: 0,
        }
    }

    /// Counts a batch and gives its losses.
    fn add(
        &mut self,
        by: &MetricEvaluator,
        output: &Tensor,
        targets: &Tensor,
    ) -> CandleResult<Tensor> {
        self.samples += targets.dim(0)?;
        self.means
            .add_batch(&by.objective, &by.metrics, output, targets)
    }

    fn finish(self) -> Result<MetricEvaluation, TrainError> {
        if self.samples == 0 {
            let split = "evaluation";
            return Err(TrainError::NoBatches { split });
        }
        Ok(MetricEvaluation {
            metrics: self.means.compute(),
            samples: self.samples,
            seconds: self.begun.elapsed().as_secs_f64(),
        })
    }
}
