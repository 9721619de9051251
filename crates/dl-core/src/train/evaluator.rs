//! A trained model on named test sets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Result as CandleResult, Tensor};
use candle_nn::ModuleT;

use super::objective::{Means, Metrics, Objective, accuracy, classes};
use super::predictions::Predictions;
use super::{Batch, BatchSource, MixedPrecision, TrainError};
use crate::data::Position;
use crate::losses::MultiTaskLoss;
use crate::metrics::Mean;

/// Runs a model without training it over named test sets: loss and metrics of each, and its predictions
/// in a file.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::data::{DataLoader, StackTensors, TensorDataset};
/// use dl_core::{Params, layers::linear, train::Evaluator};
/// let params = Params::new(0, &Device::Cpu);
/// let model = linear(2, 2, params.vb())?;
/// params.set("weight", &Tensor::new(&[[2f32, 0.], [0., 2.]], &Device::Cpu)?)?;
/// params.set("bias", &Tensor::new(&[0f32, 0.], &Device::Cpu)?)?;
/// let test = |labels: [u32; 2]| {
///     let x = Tensor::new(&[[1f32, 0.], [0., 1.]], &Device::Cpu)?;
///     let data = TensorDataset::new(x, Tensor::new(&labels, &Device::Cpu)?)?;
///     Ok::<_, dl_core::train::TrainError>(DataLoader::new(data, StackTensors))
/// };
/// let evaluator = Evaluator::new(&model);
/// assert_eq!(evaluator.evaluate("clean", &test([0, 1])?)?.metrics["accuracy"], 1.);
/// assert_eq!(evaluator.evaluate("noisy", &test([1, 1])?)?.metrics["accuracy"], 0.5);
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
pub struct Evaluator<'a> {
    model: &'a dyn ModuleT,
    objective: Objective<'a>,
    metrics: Metrics<'a>,
    device: Device,
    mixed_precision: MixedPrecision,
    folder: Option<PathBuf>,
}

/// What a model does on one test set.
///
/// ```
/// use dl_core::train::TestResult;
/// let result = TestResult { name: "clean".to_string(), ..Default::default() };
/// assert_eq!((result.samples, result.predictions), (0, None));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestResult {
    /// The name of the set.
    pub name: String,
    /// `loss`, `accuracy` and what else was asked for: means over the samples.
    pub metrics: BTreeMap<String, f64>,
    /// Number of samples.
    pub samples: usize,
    /// Seconds it took.
    pub seconds: f64,
    /// The file of the predictions, if they were asked for.
    pub predictions: Option<PathBuf>,
}

impl<'a> Evaluator<'a> {
    /// Cross-entropy and accuracy, on the CPU, without a file.
    pub fn new(model: &'a dyn ModuleT) -> Self {
        Self {
            model,
            objective: classes(),
            metrics: accuracy(),
            device: Device::Cpu,
            mixed_precision: MixedPrecision::No,
            folder: None,
        }
    }

    /// The loss of each sample. Default cross-entropy of logits and classes.
    pub fn loss(mut self, loss: impl Fn(&Tensor, &Tensor) -> CandleResult<Tensor> + 'a) -> Self {
        self.objective = Objective::One(Box::new(loss));
        self
    }

    /// Several losses, of which each is a metric `loss_NAME` as well.
    pub fn multi_task_loss(mut self, loss: MultiTaskLoss<'a>) -> Self {
        self.objective = Objective::Tasks(loss);
        self
    }

    /// Adds what is averaged over the samples besides the loss.
    pub fn metric(
        mut self,
        name: impl Into<String>,
        metric: impl Fn(&Tensor, &Tensor) -> CandleResult<Mean> + 'a,
    ) -> Self {
        self.metrics.push((name.into(), Box::new(metric)));
        self
    }

    /// Takes all metrics away, `accuracy` among them: for what is not a classification.
    pub fn no_metrics(mut self) -> Self {
        self.metrics.clear();
        self
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

    /// Writes the predictions on each set into this folder, as `NAME.csv` with a row a sample.
    ///
    /// ```text
    /// item        the sample's index in the data set; empty where the source does not say
    /// target      or target_0, target_1, … of several numbers
    /// prediction  the class of the largest output, for targets that are classes
    /// output_0, output_1, …
    /// ```
    pub fn predictions(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// The model on one test set, whose name becomes a file name: letters, digits, `_`, `-` and `.`.
    pub fn evaluate(
        &self,
        name: &str,
        data: &dyn BatchSource<Batch>,
    ) -> Result<TestResult, TrainError> {
        let begun = Instant::now();
        let file = self.folder.as_deref().map(|folder| file(folder, name));
        let mut file = file.transpose()?;
        let (mut means, mut samples) = (Means::default(), 0);
        let mut batches = data.batches(Position::default())?;
        while let Some(batch) = batches.next() {
            let (inputs, targets) = batch?;
            let output = self.output(&inputs)?;
            let targets = targets.to_device(&self.device)?;
            means.add_batch(&self.objective, &self.metrics, &output, &targets)?;
            samples += targets.dim(0)?;
            if let Some(file) = &mut file {
                let batch = batches.next_position().batch.saturating_sub(1);
                let items = data.indices(Position { epoch: 0, batch })?;
                file.write(&items, &targets, &output)?;
            }
        }
        if samples == 0 {
            return Err(TrainError::NoBatches { split: "test" });
        }
        Ok(TestResult {
            name: name.to_string(),
            metrics: means.compute(),
            samples,
            predictions: file.map(Predictions::commit).transpose()?,
            seconds: begun.elapsed().as_secs_f64(),
        })
    }

    fn output(&self, inputs: &Tensor) -> CandleResult<Tensor> {
        let _products = self.mixed_precision.scope()?;
        let inputs = inputs.to_device(&self.device)?;
        Ok(self.model.forward_t(&inputs, false)?.detach())
    }
}

fn file(folder: &Path, name: &str) -> Result<Predictions, TrainError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    match !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) {
        true => Predictions::create(folder.join(format!("{name}.csv"))),
        false => Err(TrainError::Option {
            field: "name",
            wanted: "letters, digits, `_`, `-` and `.`",
            came: format!("`{name}`"),
        }),
    }
}
