//! The values that a model gives one sample.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::named_batches::SampleName;

/// The values that a model gives one sample, beside those it should give.
///
/// What has more than one dimension lies in row-major order. A model of several tasks may have more
/// outputs than targets, such as scores of classes beside the class.
///
/// ```
/// use dl_core::train::ValuePrediction;
/// let sample = ValuePrediction {
///     index: 3,
///     name: "house 3".to_string(),
///     target: vec![2., 140.],
///     predicted: vec![2.5, 139.],
///     loss: 0.625,
/// };
/// let squares = sample.target.iter().zip(&sample.predicted).map(|(y, z)| (z - y).powi(2));
/// assert_eq!(squares.sum::<f64>() / 2., sample.loss);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ValuePrediction {
    /// Index in the data set.
    pub index: usize,
    /// What the data set calls the sample, such as its file.
    pub name: String,
    /// What the model should give.
    pub target: Vec<f64>,
    /// What the model gives.
    pub predicted: Vec<f64>,
    /// Loss of the sample: the mean, if each of its values has one.
    pub loss: f64,
}

/// Those of a batch whose samples have these names; all `(n, …)`.
pub(super) fn value_predictions(
    output: &Tensor,
    targets: &Tensor,
    losses: &Tensor,
    samples: Vec<SampleName>,
) -> Result<Vec<ValuePrediction>> {
    let all = [output, targets, losses];
    if all.iter().any(|t| t.dims().first() != Some(&samples.len())) {
        let [output, targets, losses] = all.map(Tensor::dims);
        bail!(
            "predictions want outputs, targets and losses (n, ..) for each of n = {} samples, came \
             outputs {output:?}, targets {targets:?} and losses {losses:?}",
            samples.len()
        );
    }
    let losses = rows(losses)?.into_iter().map(|losses| mean(&losses));
    let values = rows(targets)?.into_iter().zip(rows(output)?).zip(losses);
    let named = samples.into_iter().zip(values);
    let predictions = named.map(
        |((index, name), ((target, predicted), loss))| ValuePrediction {
            index,
            name,
            target,
            predicted,
            loss,
        },
    );
    Ok(predictions.collect())
}

/// `(n, …)` → n rows on the host.
fn rows(values: &Tensor) -> Result<Vec<Vec<f64>>> {
    let n = values.dim(0)?;
    let width = values.elem_count() / n.max(1);
    let values = values.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    values.reshape((n, width))?.to_vec2()
}

fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / losses.len() as f64
}
