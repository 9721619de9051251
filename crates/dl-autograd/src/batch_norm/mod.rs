//! Batch normalisation, fused with the residual sum and the activation behind it.

mod add;
mod cpu;
mod differentiable;

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};

use crate::activation::Activation;
use crate::epilogue::Epilogue;
use crate::host::{by_dtype, has_kernel, is_half, one_float_type, read, slice, tensor, widen};
use crate::simd::Scalar;
use crate::tape::{self, apply3};
use crate::view::contiguous;

/// Mean and biased variance of each channel of one batch, without a graph.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// `(c,)`.
    pub mean: Tensor,
    /// `(c,)`, divided by the number of values, not by one less.
    pub variance: Tensor,
    /// Values per channel, n·h·w.
    pub count: usize,
}

/// Normalises each channel by the statistics of the batch, then scales and shifts it, and what the
/// epilogue says: nothing, an [`Activation`], or the end of a residual block.
///
/// `x (n, c, …)`, `gamma (c,)`, `beta (c,)` → `(n, c, …)`
///
/// ```text
/// y = act(γ·(x − μ)/√(σ² + ε) + β + residual)          μ, σ² over n and all dimensions behind c
/// ```
///
/// The statistics are returned for the running averages of the layer, which PyTorch updates with
/// the unbiased variance σ²·m/(m−1). An error if the shapes do not fit or a channel has one value.
///
/// Source: Ioffe, Szegedy, "Batch normalization", 2015.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{Activation, batch_norm};
/// let x = Tensor::new(&[[1f64], [3.]], &Device::Cpu)?;
/// let (one, zero) = (Tensor::new(&[1f64], &Device::Cpu)?, Tensor::new(&[0f64], &Device::Cpu)?);
/// let (y, batch) = batch_norm(&x, &one, &zero, 0., Activation::Relu)?;
/// assert_eq!(y.to_vec2::<f64>()?, [[0.], [1.]]);
/// assert_eq!(batch.mean.to_vec1::<f64>()?, [2.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn batch_norm<'a>(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    epilogue: impl Into<Epilogue<'a>>,
) -> Result<(Tensor, BatchStatistics)> {
    let end = epilogue.into();
    let count = check("batch_norm", x, &[("gamma", gamma), ("beta", beta)])?;
    if count < 2 {
        bail!(
            "batch_norm needs 2 or more values a channel to train, x {:?} has {count}",
            x.shape()
        )
    }
    end.check("batch_norm", x)?;
    if !has_kernel(x) {
        return composed(x, gamma, beta, eps, end);
    }
    let saved = Arc::new(OnceLock::new());
    let op = BatchNorm {
        statistics: Source::Batch(saved.clone()),
        eps,
        activation: end.activation,
    };
    let y = apply(x, gamma, beta, op, end.residual)?;
    let Some((mean, variance)) = saved.get().cloned() else {
        bail!("batch_norm left no statistics")
    };
    let statistics = BatchStatistics {
        mean,
        variance,
        count,
    };
    Ok((y, statistics))
}

/// Normalises each channel by given statistics, which get no gradient: batch norm in evaluation.
///
/// `x (n, c, …)`, the others `(c,)` → `(n, c, …)`
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{Activation, batch_norm_with};
/// let at = |v: f64| Tensor::new(&[v], &Device::Cpu);
/// let x = Tensor::new(&[[7f64]], &Device::Cpu)?;
/// let y = batch_norm_with(&x, &at(2.)?, &at(1.)?, &at(3.)?, &at(4.)?, 0., Activation::Identity)?;
/// assert_eq!(y.to_vec2::<f64>()?, [[2. * (7. - 3.) / 2. + 1.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn batch_norm_with<'a>(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
    eps: f64,
    epilogue: impl Into<Epilogue<'a>>,
) -> Result<Tensor> {
    let end = epilogue.into();
    let (mean, variance) = (mean.detach(), variance.detach());
    check(
        "batch_norm_with",
        x,
        &[
            ("gamma", gamma),
            ("beta", beta),
            ("mean", &mean),
            ("variance", &variance),
        ],
    )?;
    end.check("batch_norm_with", x)?;
    if !has_kernel(x) {
        let [mean, variance] = [mean, variance].map(|t| t.to_dtype(x.dtype()));
        return end.composed(&normalise(x, gamma, beta, &mean?, &variance?, eps)?);
    }
    let op = BatchNorm {
        // A copy: the running averages are updated in place while this graph may still live.
        statistics: Source::Given(widen(mean.copy()?)?, widen(variance.copy()?)?),
        eps,
        activation: end.activation,
    };
    apply(x, gamma, beta, op, end.residual)
}

fn check(op: &str, x: &Tensor, per_channel: &[(&str, &Tensor)]) -> Result<usize> {
    if x.rank() < 2 {
        bail!("{op} takes x (n, c, …), got {:?}", x.shape())
    }
    let channels = x.dim(1)?;
    for (name, tensor) in per_channel {
        if tensor.dims() != [channels] {
            bail!(
                "{op} of {channels} channels got {name} {:?}",
                tensor.shape()
            )
        }
    }
    // Statistics of a batch in half precision are f32.
    let is_wide = |(name, t): &&(&str, &Tensor)| {
        matches!(*name, "mean" | "variance") && is_half(x.dtype()) && t.dtype() == DType::F32
    };
    let typed: Vec<_> = per_channel
        .iter()
        .filter(|t| !is_wide(t))
        .copied()
        .collect();
    one_float_type(op, ("x", x), &typed)?;
    Ok(x.elem_count() / channels.max(1))
}

fn apply(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    op: BatchNorm,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let (x, gamma, beta) = (contiguous(x)?, contiguous(gamma)?, contiguous(beta)?);
    if let Some(residual) = residual {
        return add::apply(&x, residual, (&gamma, &beta), op);
    }
    let forward = op.differentiable();
    let y = apply3(&x, &gamma, &beta, op)?;
    Ok(tape::differentiable(y, move |inputs, y, dy| {
        forward.pull(inputs, y, dy)
    }))
}

fn composed(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    end: Epilogue,
) -> Result<(Tensor, BatchStatistics)> {
    let flat = x.transpose(0, 1)?.flatten_from(1)?;
    let mean = flat.mean(1)?;
    let variance = flat.broadcast_sub(&mean.unsqueeze(1)?)?.sqr()?.mean(1)?;
    let y = end.composed(&normalise(x, gamma, beta, &mean, &variance, eps)?)?;
    let statistics = BatchStatistics {
        mean: mean.detach(),
        variance: variance.detach(),
        count: flat.dim(1)?,
    };
    Ok((y, statistics))
}

fn normalise(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    shape[1] = x.dim(1)?;
    let scale = (gamma / (variance + eps)?.sqrt()?)?;
    x.broadcast_sub(&mean.reshape(shape.as_slice())?)?
        .broadcast_mul(&scale.reshape(shape.as_slice())?)?
        .broadcast_add(&beta.reshape(shape.as_slice())?)
}

/// Mean and biased variance, `(c,)` each.
type Statistics = (Tensor, Tensor);

enum Source {
    /// Computed in forward, kept for backward.
    Batch(Arc<OnceLock<Statistics>>),
    Given(Tensor, Tensor),
}

struct BatchNorm {
    statistics: Source,
    eps: f64,
    activation: Activation,
}

/// Scale and shift of each channel.
type Affine<'a, T> = (&'a [T], &'a [T]);

impl BatchNorm {
    fn differentiable(&self) -> differentiable::Forward {
        differentiable::Forward {
            given: match &self.statistics {
                Source::Given(mean, variance) => Some((mean.clone(), variance.clone())),
                Source::Batch(_) => None,
            },
            eps: self.eps,
            activation: self.activation,
        }
    }

    fn forward<T: Scalar>(
        &self,
        (x, layout): (&CpuStorage, &Layout),
        (gamma, beta): Affine<T>,
        residual: Option<&[T]>,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, shape) = (slice::<T>(x, layout)?, layout.dims());
        let planes = cpu::Planes::new(shape);
        let bounds = self.activation.bounds();
        let y = match &self.statistics {
            Source::Batch(saved) => {
                let map_of = |channel: usize| {
                    let statistics = cpu::statistics(&planes, x, channel);
                    let affine = (gamma[channel], beta[channel]);
                    (self.map(statistics, affine), statistics)
                };
                let (y, statistics) = cpu::normalise(&planes, x, residual, map_of, bounds);
                let (mean, variance): (Vec<T>, Vec<T>) = statistics.into_iter().unzip();
                let channels = mean.len();
                // The op is created for one call, so the cell is empty.
                let _ = saved.set((tensor(mean, channels)?, tensor(variance, channels)?));
                y
            }
            Source::Given(..) => {
                let maps = self.maps::<T>((gamma, beta))?;
                cpu::normalise(&planes, x, residual, |channel| (maps[channel], ()), bounds).0
            }
        };
        Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
    }

    /// `dy` arrives behind the activation.
    fn backward<T: Scalar>(
        &self,
        x: &Tensor,
        affine: Affine<T>,
        activation: Activation,
        dy: &Tensor,
        wanted: cpu::Wanted,
    ) -> Result<cpu::Gradients<T>> {
        let planes = cpu::Planes::new(x.dims());
        let maps = self.maps(affine)?;
        let batch = matches!(self.statistics, Source::Batch(_));
        let bounds = activation.bounds();
        read::<T, _>(x, |x| {
            read::<T, _>(dy, |dy| {
                let saved = cpu::Saved { x, dy };
                Ok(cpu::backward(&planes, saved, &maps, bounds, batch, wanted))
            })
        })
    }

    fn maps<T: Scalar>(&self, (gamma, beta): Affine<T>) -> Result<Vec<cpu::Map<T>>> {
        let (mean, variance) = match &self.statistics {
            Source::Given(mean, variance) => (mean, variance),
            Source::Batch(saved) => match saved.get() {
                Some((mean, variance)) => (mean, variance),
                None => bail!("backward of batch_norm came before its forward"),
            },
        };
        let (mean, variance) = (mean.to_vec1::<T>()?, variance.to_vec1::<T>()?);
        let map = |c: usize| self.map((mean[c], variance[c]), (gamma[c], beta[c]));
        Ok((0..mean.len()).map(map).collect())
    }

    fn map<T: Scalar>(&self, (mean, variance): (T, T), (gamma, beta): (T, T)) -> cpu::Map<T> {
        cpu::Map {
            mean,
            rstd: (variance + T::from_f64(self.eps)).sqrt().recip(),
            gamma,
            beta,
        }
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s1);
        by_dtype!(
            dtype,
            "batch_norm",
            run::<T>(self, (s1, l1), (s2, l2), (s3, l3))
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        by_dtype!(
            x.dtype(),
            "batch_norm",
            gradients::<T>(self, x, gamma, beta, dy)
        )
    }
}

fn run<T: Scalar>(
    op: &BatchNorm,
    x: (&CpuStorage, &Layout),
    gamma: (&CpuStorage, &Layout),
    beta: (&CpuStorage, &Layout),
) -> Result<(CpuStorage, Shape)> {
    let affine = (slice(gamma.0, gamma.1)?, slice(beta.0, beta.1)?);
    op.forward::<T>(x, affine, None)
}

fn gradients<T: Scalar>(
    op: &BatchNorm,
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    dy: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
    let wanted = cpu::Wanted {
        x: x.track_op(),
        affine: gamma.track_op() || beta.track_op(),
    };
    let grads = read::<T, _>(gamma, |gamma| {
        read::<T, _>(beta, |beta| {
            op.backward(x, (gamma, beta), op.activation, dy, wanted)
        })
    })?;
    let channels = grads.gamma.len();
    let dx = grads.x.map(|dx| tensor(dx, x.dims())).transpose()?;
    let dgamma = gamma.track_op().then(|| tensor(grads.gamma, channels));
    let dbeta = beta.track_op().then(|| tensor(grads.beta, channels));
    Ok((dx, dgamma.transpose()?, dbeta.transpose()?))
}
