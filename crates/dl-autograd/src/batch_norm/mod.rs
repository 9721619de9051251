//! Batch normalisation, fused with the residual sum and the activation behind it.

mod add;
pub(crate) mod cpu;
mod differentiable;

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};

use crate::activation::Activation;
use crate::epilogue::Epilogue;
use crate::host::{by_dtype, has_kernel, is_half, one_float_type, read, slice, tensor, widen};
use crate::prologue::Prologue;
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
    let count = check_batch("batch_norm", x, gamma, beta)?;
    end.check("batch_norm", x)?;
    if !has_kernel(x) {
        return composed(x, gamma, beta, eps, end);
    }
    let op = BatchNorm {
        statistics: Source::batch(),
        eps,
        activation: end.activation,
    };
    let statistics = op.statistics.clone();
    let y = apply(x, gamma, beta, op, end.residual)?;
    Ok((y, statistics.of_batch(count)?))
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
    check_given("batch_norm_with", x, (gamma, beta), (&mean, &variance))?;
    end.check("batch_norm_with", x)?;
    if !has_kernel(x) {
        let [mean, variance] = [mean, variance].map(|t| t.to_dtype(x.dtype()));
        return end.composed(&normalise(x, gamma, beta, &mean?, &variance?, eps)?);
    }
    let op = BatchNorm {
        statistics: Source::given(&mean, &variance)?,
        eps,
        activation: end.activation,
    };
    apply(x, gamma, beta, op, end.residual)
}

pub(crate) fn check_batch(op: &str, x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<usize> {
    let count = check(op, x, &[("gamma", gamma), ("beta", beta)])?;
    if count < 2 {
        bail!(
            "{op} needs 2 or more values a channel to train, x {:?} has {count}",
            x.shape()
        )
    }
    Ok(count)
}

pub(crate) fn check_given(
    op: &str,
    x: &Tensor,
    (gamma, beta): (&Tensor, &Tensor),
    (mean, variance): (&Tensor, &Tensor),
) -> Result<usize> {
    let per_channel = [
        ("gamma", gamma),
        ("beta", beta),
        ("mean", mean),
        ("variance", variance),
    ];
    check(op, x, &per_channel)
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

#[derive(Clone)]
pub(crate) enum Source {
    /// Computed in forward, kept for backward.
    Batch(Arc<OnceLock<Statistics>>),
    Given(Tensor, Tensor),
}

impl Source {
    fn batch() -> Self {
        Self::Batch(Default::default())
    }

    /// A copy: the running averages are updated in place while the graph may still live.
    fn given(mean: &Tensor, variance: &Tensor) -> Result<Self> {
        Ok(Self::Given(widen(mean.copy()?)?, widen(variance.copy()?)?))
    }

    fn get(&self) -> Result<Statistics> {
        match self {
            Self::Given(mean, variance) => Ok((mean.clone(), variance.clone())),
            Self::Batch(saved) => match saved.get() {
                Some(statistics) => Ok(statistics.clone()),
                None => bail!("batch_norm has no statistics before its forward"),
            },
        }
    }

    pub(crate) fn of_batch(&self, count: usize) -> Result<BatchStatistics> {
        let (mean, variance) = self.get()?;
        Ok(BatchStatistics {
            mean,
            variance,
            count,
        })
    }
}

pub(crate) struct BatchNorm {
    pub(crate) statistics: Source,
    eps: f64,
    pub(crate) activation: Activation,
}

/// What happens to a channel, with its mean and variance.
type Mapped<T> = (cpu::Map<T>, (T, T));

/// Scale and shift of each channel.
pub(crate) type Affine<'a, T> = (&'a [T], &'a [T]);

impl BatchNorm {
    /// In front of another op.
    pub(crate) fn of(norm: &Prologue) -> Result<Self> {
        let statistics = match norm.statistics {
            None => Source::batch(),
            Some((mean, variance)) => Source::given(&mean.detach(), &variance.detach())?,
        };
        Ok(Self {
            statistics,
            eps: norm.eps,
            activation: norm.activation,
        })
    }

    pub(crate) fn differentiable(&self) -> differentiable::Forward {
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
        affine: Affine<T>,
        residual: Option<&[T]>,
    ) -> Result<(CpuStorage, Shape)> {
        let x = slice::<T>(x, layout)?;
        let planes = cpu::Planes::new(layout.dims());
        let map_of = self.map_of(&planes, x, affine)?;
        let (y, statistics) = cpu::normalise(&planes, x, residual, map_of);
        self.keep(statistics)?;
        Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
    }

    /// What happens to a channel of `x`, with its statistics.
    pub(crate) fn map_of<'a, T: Scalar>(
        &'a self,
        planes: &'a cpu::Planes,
        x: &'a [T],
        (gamma, beta): Affine<'a, T>,
    ) -> Result<impl Fn(usize) -> Mapped<T> + Sync> {
        let bounds = self.activation.bounds();
        let given = match &self.statistics {
            Source::Given(mean, variance) => Some((mean.to_vec1()?, variance.to_vec1()?)),
            Source::Batch(_) => None,
        };
        Ok(move |channel: usize| {
            let statistics = match &given {
                Some((mean, variance)) => (mean[channel], variance[channel]),
                None => cpu::statistics(planes, x, channel),
            };
            let map = self.map(statistics, (gamma[channel], beta[channel]), bounds);
            (map, statistics)
        })
    }

    /// Keeps the statistics of the batch for backward and for the caller.
    pub(crate) fn keep<T: Scalar>(&self, statistics: Vec<(T, T)>) -> Result<()> {
        if let Source::Batch(saved) = &self.statistics {
            let (mean, variance): (Vec<T>, Vec<T>) = statistics.into_iter().unzip();
            let channels = mean.len();
            // The op is created for one call, so the cell is empty.
            let _ = saved.set((tensor(mean, channels)?, tensor(variance, channels)?));
        }
        Ok(())
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
        let maps = self.maps(affine, activation)?;
        let batch = self.is_of_batch();
        read::<T, _>(x, |x| {
            read::<T, _>(dy, |dy| {
                let saved = cpu::Saved { x, dy };
                Ok(cpu::backward(&planes, saved, &maps, batch, wanted))
            })
        })
    }

    pub(crate) fn is_of_batch(&self) -> bool {
        matches!(self.statistics, Source::Batch(_))
    }

    /// Of every channel, after forward.
    pub(crate) fn maps<T: Scalar>(
        &self,
        (gamma, beta): Affine<T>,
        activation: Activation,
    ) -> Result<Vec<cpu::Map<T>>> {
        let (mean, variance) = self.statistics.get()?;
        let (mean, variance) = (mean.to_vec1::<T>()?, variance.to_vec1::<T>()?);
        let bounds = activation.bounds();
        let map = |c: usize| self.map((mean[c], variance[c]), (gamma[c], beta[c]), bounds);
        Ok((0..mean.len()).map(map).collect())
    }

    fn map<T: Scalar>(
        &self,
        (mean, variance): (T, T),
        (gamma, beta): (T, T),
        bounds: (T, T),
    ) -> cpu::Map<T> {
        cpu::Map {
            mean,
            rstd: (variance + T::from_f64(self.eps)).sqrt().recip(),
            gamma,
            beta,
            bounds,
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
