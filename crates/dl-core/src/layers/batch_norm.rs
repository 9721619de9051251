//! Batch normalisation with running statistics.

use candle_core::{Result, Tensor};
use candle_nn::{Init, Module, ModuleT, VarBuilder};
use dl_autograd::{Activation, BatchStatistics, Epilogue, Prologue};

use super::conv2d::Conv2d;
use crate::summary;

/// PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormConfig {
    /// Added to the variance, `≥ 0`. Default `1e-5`.
    pub eps: f64,
    /// Weight of the newest batch in the running statistics, in `[0, 1]`. Default `0.1`.
    pub momentum: f64,
    /// Applied to the result in the same pass. Default none.
    pub activation: Activation,
}

impl Default for BatchNormConfig {
    fn default() -> Self {
        Self {
            eps: 1e-5,
            momentum: 0.1,
            activation: Activation::Identity,
        }
    }
}

/// Normalises each channel of `(n, c, …)`: by the batch in training, by running statistics otherwise.
///
/// Weights `weight`, `bias`, `running_mean`, `running_var`, each `(c,)`.
///
/// ```text
/// running ← (1 − momentum)·running + momentum·batch          with the unbiased variance
/// ```
///
/// A layer whose `weight` is frozen uses and keeps its running statistics in training too. PyTorch
/// goes on updating them, which spoils a frozen backbone unless one remembers `eval()`. Its options
/// `affine=False`, `track_running_stats=False` and `momentum=None` are left out.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::{Params, layers::batch_norm};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = batch_norm(1, Default::default(), params.vb())?;
/// layer.forward_t(&Tensor::new(&[[0f32], [2.]], &Device::Cpu)?, true)?;
/// let mean = params.get("running_mean").unwrap().to_vec1::<f32>()?;
/// assert!((mean[0] - 0.1).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchNorm {
    name: String,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    config: BatchNormConfig,
}

/// Batch normalisation of `channels` channels.
pub fn batch_norm(channels: usize, config: BatchNormConfig, vb: VarBuilder) -> Result<BatchNorm> {
    let get = |name, value| vb.get_with_hints(channels, name, Init::Const(value));
    Ok(BatchNorm {
        name: vb.prefix(),
        weight: get("weight", 1.)?,
        bias: get("bias", 0.)?,
        running_mean: get("running_mean", 0.)?,
        running_var: get("running_var", 1.)?,
        config,
    })
}

impl BatchNorm {
    /// The layer with `residual` added before the activation: the end of a residual block in one
    /// pass over memory.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor, train: bool) -> Result<Tensor> {
        self.run(x, Some(residual), train)
    }

    fn run(&self, x: &Tensor, residual: Option<&Tensor>, train: bool) -> Result<Tensor> {
        let end = Epilogue {
            residual,
            activation: self.config.activation,
        };
        let y = self.normalise(x, end, train)?;
        summary::record(Some(&self.name), "BatchNorm", &y, || 0);
        Ok(y)
    }

    fn normalise(&self, x: &Tensor, end: Epilogue, train: bool) -> Result<Tensor> {
        let eps = self.config.eps;
        if self.keeps_statistics(train) {
            return dl_autograd::batch_norm_with(
                x,
                &self.weight,
                &self.bias,
                &self.running_mean,
                &self.running_var,
                eps,
                end,
            );
        }
        let (y, batch) = dl_autograd::batch_norm(x, &self.weight, &self.bias, eps, end)?;
        self.update(&batch)?;
        Ok(y)
    }

    fn keeps_statistics(&self, train: bool) -> bool {
        !train || !self.weight.track_op()
    }

    /// The layer and the convolution behind it, which for a depthwise one is a single pass over memory.
    ///
    /// `x (n, c, h, w)` → what `conv.forward` makes of this layer's result, bit for bit.
    pub fn forward_conv(&self, x: &Tensor, conv: &Conv2d, train: bool) -> Result<Tensor> {
        let running = (&self.running_mean, &self.running_var);
        let norm = Prologue {
            gamma: &self.weight,
            beta: &self.bias,
            eps: self.config.eps,
            activation: self.config.activation,
            statistics: self.keeps_statistics(train).then_some(running),
        };
        // One that listens is shown the result of every layer.
        let together = match summary::listens() {
            true => None,
            false => conv.forward_behind(&norm, x)?,
        };
        let Some((y, batch)) = together else {
            return conv.forward(&self.run(x, None, train)?);
        };
        if let Some(batch) = batch {
            self.update(&batch)?;
        }
        Ok(y)
    }

    fn update(&self, batch: &BatchStatistics) -> Result<()> {
        if dl_autograd::is_recomputing() {
            return Ok(());
        }
        let unbiased = batch.count as f64 / (batch.count - 1) as f64;
        let variance = (&batch.variance * unbiased)?;
        for (running, batch) in [
            (&self.running_mean, &batch.mean),
            (&self.running_var, &variance),
        ] {
            let kept = (running.detach() * (1. - self.config.momentum))?;
            running.slice_set(&(kept + (batch * self.config.momentum)?)?, 0, 0)?;
        }
        Ok(())
    }
}

impl ModuleT for BatchNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.run(x, None, train)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Params;
    use crate::layers::{Conv2dOptions, Padding, PaddingMode, conv2d};
    use crate::summary::Summary;
    use candle_core::Device;
    use dl_autograd::{Purpose, Rng};

    #[test]
    fn a_frozen_layer_keeps_its_running_statistics_in_training() {
        let params = Params::new(0, &Device::Cpu);
        let build = || batch_norm(1, BatchNormConfig::default(), params.vb()).unwrap();
        build();
        params.freeze("*").unwrap();
        let x = Tensor::new(&[[3f32], [5.]], &Device::Cpu).unwrap();
        let y = build().forward_t(&x, true).unwrap();
        // mean 0 and variance 1: the identity but for eps.
        assert!((y.to_vec2::<f32>().unwrap()[0][0] - 3.).abs() < 1e-4);
        let mean = params.get("running_mean").unwrap();
        assert_eq!(mean.to_vec1::<f32>().unwrap(), [0.]);
    }

    #[test]
    fn a_residual_is_added_behind_the_norm_and_before_the_activation() {
        let params = Params::new(0, &Device::Cpu);
        let relu = BatchNormConfig {
            activation: Activation::Relu,
            ..Default::default()
        };
        let fused = batch_norm(2, relu, params.vb()).unwrap();
        let plain = batch_norm(2, BatchNormConfig::default(), params.vb()).unwrap();
        let x = Tensor::new(&[[3f32, -1.], [5., 4.], [2., 2.]], &Device::Cpu).unwrap();
        let r = Tensor::new(&[[1f32, 0.], [-4., 1.], [0., -1.]], &Device::Cpu).unwrap();
        for train in [false, true] {
            let sum = (plain.forward_t(&x, train).unwrap() + &r).unwrap();
            let apart = sum.relu().unwrap().to_vec2::<f32>().unwrap();
            let together = fused.forward_add(&x, &r, train).unwrap();
            // In training the plain layer has moved the statistics once before: they are not used.
            assert_eq!(together.to_vec2::<f32>().unwrap(), apart);
        }
    }

    /// In both modes, with every kind of padding, and under a listener, which is shown the layer's result.
    #[test]
    fn a_convolution_behind_the_norm_has_the_bits_of_two_layers() {
        let rng = Rng::new(1, Purpose::Other(0), 0);
        let mut values = vec![0f32; 2 * 3 * 5 * 6];
        rng.fill_normal(&mut values);
        let x = Tensor::from_vec(values, (2, 3, 5, 6), &Device::Cpu).unwrap();
        for (groups, bias, padding_mode) in [
            (3, false, PaddingMode::Zeros),
            (3, true, PaddingMode::Zeros),
            (1, false, PaddingMode::Reflect),
        ] {
            let options = Conv2dOptions {
                padding: Padding::Explicit(1.into()),
                padding_mode,
                groups,
                bias,
                ..Default::default()
            };
            let build = || {
                let params = Params::new(0, &Device::Cpu);
                let conv = conv2d(3, 3, options, params.vb().pp("conv")).unwrap();
                let relu = BatchNormConfig {
                    activation: Activation::Relu,
                    ..Default::default()
                };
                let norm = batch_norm(3, relu, params.vb().pp("norm")).unwrap();
                (params, norm, conv)
            };
            let ((ours, norm, conv), (theirs, first, second)) = (build(), build());
            for train in [true, false] {
                let together = norm.forward_conv(&x, &conv, train).unwrap();
                let apart = second
                    .forward(&first.forward_t(&x, train).unwrap())
                    .unwrap();
                let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(values(&together), values(&apart), "{options:?}, {train}");
                for name in ["norm.running_mean", "norm.running_var"] {
                    let [ours, theirs] = [&ours, &theirs].map(|p| values(&p.get(name).unwrap()));
                    assert_eq!(ours, theirs, "{name}");
                }
            }
            let forward = || norm.forward_conv(&x, &conv, false);
            let kinds = Summary::of(&ours, forward).unwrap().rows;
            let kinds: Vec<_> = kinds.iter().map(|row| row.kind).collect();
            assert_eq!(kinds, ["BatchNorm", "Conv2d"]);
        }
    }

    #[test]
    fn running_variance_is_the_unbiased_one() {
        let params = Params::new(0, &Device::Cpu);
        let layer = batch_norm(1, BatchNormConfig::default(), params.vb()).unwrap();
        let x = Tensor::new(&[[0f32], [2.]], &Device::Cpu).unwrap();
        layer.forward_t(&x, true).unwrap();
        let variance = params.get("running_var").unwrap().to_vec1::<f32>().unwrap();
        // Two values at distance 1 from their mean: 2/(2 − 1); 0.9·1 + 0.1·2.
        assert!((variance[0] - 1.1).abs() < 1e-6);
    }
}
