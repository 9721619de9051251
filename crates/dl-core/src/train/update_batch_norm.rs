//! Running statistics of batch norms, recomputed.

use candle_core::{Result, Tensor, Var};
use candle_nn::ModuleT;
use dl_autograd::RngScope;

use super::TrainError;
use crate::Params;

/// Recomputes the running statistics of every batch norm that trains, as the plain mean over
/// batches: what averaged weights need before they are evaluated, since the statistics in the model
/// are those of other weights. PyTorch's `torch.optim.swa_utils.update_bn`.
///
/// `momentum` is that of the layers, PyTorch's default is 0.1. Returns the number of batches. Batches
/// count alike, as in PyTorch; frozen layers, whose statistics do not move in training, keep them.
///
/// Fails where the model or a batch does, without batches, and on a momentum outside `(0, 1]`; the
/// statistics are then as they were.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::{Params, layers::batch_norm, train::update_batch_norm};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = batch_norm(1, Default::default(), params.vb())?;
/// let batches = [[1f32, 3.], [5., 7.]].map(|x| Tensor::new(&x, &Device::Cpu)?.reshape((2, 1)));
/// assert_eq!(update_batch_norm(&layer, &params, 0.1, batches)?, 2);
/// let mean = params.get("running_mean").unwrap().to_vec1::<f32>()?;
/// assert!((mean[0] - 4.).abs() < 1e-6);
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
pub fn update_batch_norm(
    model: &dyn ModuleT,
    params: &Params,
    momentum: f64,
    batches: impl IntoIterator<Item = Result<Tensor>>,
) -> std::result::Result<usize, TrainError> {
    if !(momentum > 0. && momentum <= 1.) {
        return Err(TrainError::Option {
            field: "momentum",
            wanted: "in (0, 1]",
            came: momentum.to_string(),
        });
    }
    let mut statistics = moving(params)?;
    let count = collect(model, &mut statistics, momentum, batches);
    for (var, own, sum) in &statistics {
        match &count {
            Ok(count) if *count > 0 => var.set(&(sum / *count as f64)?)?,
            _ => var.set(own)?,
        }
    }
    match count? {
        0 => Err(TrainError::NoBatches { split: "training" }),
        count => Ok(count),
    }
}

/// A running statistic, what it held, and its sum over batches.
type Statistic = (Var, Tensor, Tensor);

/// Those of layers whose weight trains.
fn moving(params: &Params) -> Result<Vec<Statistic>> {
    let own_and_sum = |(_, var): (String, Var)| {
        let (own, sum) = (var.detach().copy()?, var.zeros_like()?);
        Ok((var, own, sum))
    };
    statistics(params).into_iter().map(own_and_sum).collect()
}

/// The running statistics by name.
pub(super) fn statistics(params: &Params) -> Vec<(String, Var)> {
    let mut all = params.all();
    all.retain(|(name, _)| {
        let mut kinds = ["running_mean", "running_var"].iter();
        let prefix = kinds.find_map(|last| name.strip_suffix(last));
        prefix.is_some_and(|prefix| params.is_trainable(&format!("{prefix}weight")))
    });
    all
}

fn collect(
    model: &dyn ModuleT,
    statistics: &mut [Statistic],
    momentum: f64,
    batches: impl IntoIterator<Item = Result<Tensor>>,
) -> Result<usize> {
    let mut count = 0;
    for batch in batches {
        // From 0 a layer goes to `momentum` times the statistic of the batch.
        for (var, ..) in statistics.iter() {
            var.set(&var.zeros_like()?)?;
        }
        let _streams = RngScope::new(0, count as u64);
        model.forward_t(&batch?, true)?;
        for (var, _, sum) in statistics.iter_mut() {
            *sum = (&*sum + (var.detach() / momentum)?)?;
        }
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::layers::batch_norm;
    use candle_core::Device;

    fn values(params: &Params, name: &str) -> Vec<f32> {
        params.get(name).unwrap().to_vec1::<f32>().unwrap()
    }

    fn batch(values: [f32; 3]) -> Result<Tensor> {
        Tensor::new(&values, &Device::Cpu)?.reshape((3, 1))
    }

    fn model(params: &Params) -> impl ModuleT {
        batch_norm(1, Default::default(), params.vb()).unwrap()
    }

    #[test]
    fn the_statistics_are_the_plain_mean_over_batches_whatever_was_there() {
        let params = Params::new(0, &Device::Cpu);
        let model = model(&params);
        params
            .set(
                "running_mean",
                &Tensor::new(&[99f32], &Device::Cpu).unwrap(),
            )
            .unwrap();
        let batches = [batch([0., 3., 6.]), batch([2., 2., 2.])];
        update_batch_norm(&model, &params, 0.1, batches).unwrap();
        // Means 3 and 2, unbiased variances 9 and 0.
        assert!((values(&params, "running_mean")[0] - 2.5).abs() < 1e-5);
        assert!((values(&params, "running_var")[0] - 4.5).abs() < 1e-5);
    }

    #[test]
    fn nothing_changes_without_batches_after_a_bad_one_or_in_a_frozen_layer() {
        let params = Params::new(0, &Device::Cpu);
        let model = model(&params);
        let fails = |batches: Vec<Result<Tensor>>| {
            update_batch_norm(&model, &params, 0.1, batches).unwrap_err();
            assert_eq!(values(&params, "running_mean"), [0.]);
            assert_eq!(values(&params, "running_var"), [1.]);
        };
        fails(vec![]);
        let bad = Tensor::zeros((2, 7), candle_core::DType::F32, &Device::Cpu);
        fails(vec![batch([0., 3., 6.]), bad]);
        assert!(update_batch_norm(&model, &params, 0., [batch([0., 3., 6.])]).is_err());
        params.freeze("*").unwrap();
        let frozen = batch_norm(1, Default::default(), params.vb()).unwrap();
        update_batch_norm(&frozen, &params, 0.1, [batch([0., 3., 6.])]).unwrap();
        assert_eq!(values(&params, "running_mean"), [0.]);
    }
}
