//! Dropout of elements, channels and samples, whose masks are generated again in backward instead of
//! being stored.

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::host::{by_dtype, cleared, float, has_kernel, read, slice, tensor};
use crate::rng::Rng;
use crate::simd::Scalar;
use crate::sum::add;
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// Sets each element to zero with probability `p` and divides the others by `1 − p`.
///
/// Element `i` is kept when `rng.uniform(i) ≥ p`: the mask is a function of the stream alone, so it
/// is the same for any number of threads and in a resumed run. `p` lies in `[0, 1]`; at 0 the input
/// is returned as it is.
///
/// Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout", 2014.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{Purpose, Rng, dropout};
/// let x = Tensor::ones(1000, DType::F32, &Device::Cpu)?;
/// let y = dropout(&x, 0.5, Rng::new(0, Purpose::Dropout, 0))?.to_vec1::<f32>()?;
/// assert!(y.iter().all(|&y| y == 0. || y == 2.));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn dropout(x: &Tensor, p: f64, rng: Rng) -> Result<Tensor> {
    Dropout::new("dropout", x, p, 1, rng)?.call(x)
}

/// Sets whole channels to zero with probability `p` and divides the others by `1 − p`, as
/// `torch.nn.functional.dropout1d`, `dropout2d` and `dropout3d`.
///
/// `x (n, channels, d…)` → its shape. Channel `c` of sample `i` is kept when
/// `rng.uniform(i·channels + c) ≥ p`. An error if x has fewer than three dimensions.
///
/// Source: Tompson et al., "Efficient object localization using convolutional networks", 2015.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{Purpose, Rng, dropout_channels};
/// let x = Tensor::ones((1, 50, 4), DType::F32, &Device::Cpu)?;
/// let y = dropout_channels(&x, 0.5, Rng::new(0, Purpose::Dropout, 0))?.to_vec3::<f32>()?;
/// assert!(y[0].iter().all(|c| *c == [0.; 4] || *c == [2.; 4]));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn dropout_channels(x: &Tensor, p: f64, rng: Rng) -> Result<Tensor> {
    let &[_, _, _, ..] = x.dims() else {
        bail!(
            "dropout_channels takes x (n, channels, d…), got {:?}",
            x.shape()
        )
    };
    let channel = x.dims()[2..].iter().product();
    Dropout::new("dropout_channels", x, p, channel, rng)?.call(x)
}

/// Sets whole samples to zero with probability `p` and divides the others by `1 − p`: stochastic
/// depth, on the branch of a residual sum; timm's `DropPath`.
///
/// `x (n, d…)` → its shape. Sample `i` is kept when `rng.uniform(i) ≥ p`.
///
/// Source: Huang, Sun, Liu, Sedra, Weinberger, "Deep networks with stochastic depth", 2016.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{Purpose, Rng, drop_path};
/// let x = Tensor::ones((50, 4), DType::F32, &Device::Cpu)?;
/// let y = drop_path(&x, 0.5, Rng::new(0, Purpose::DropPath, 0))?.to_vec2::<f32>()?;
/// assert!(y.iter().all(|s| *s == [0.; 4] || *s == [2.; 4]));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn drop_path(x: &Tensor, p: f64, rng: Rng) -> Result<Tensor> {
    if x.rank() == 0 {
        bail!("drop_path takes x (n, d…), got {:?}", x.shape())
    }
    let sample = x.dims()[1..].iter().product();
    Dropout::new("drop_path", x, p, sample, rng)?.call(x)
}

/// Dropout that keeps mean and variance of what comes out of [`selu`](crate::selu), as
/// `torch.nn.functional.alpha_dropout`.
///
/// ```text
/// α′ = −1.7580993408473766          a = 1/√((1 − p)·(1 + p·α′²))          b = −a·α′·p
/// y = a·x + b where kept            y = a·α′ + b elsewhere
/// ```
///
/// Elements are kept as by [`dropout`]; `p` lies in `[0, 1)`.
///
/// Source: Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks", 2017.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{Purpose, Rng, alpha_dropout};
/// let x = Tensor::zeros(1, DType::F64, &Device::Cpu)?;
/// let y = alpha_dropout(&x, 0.5, Rng::new(0, Purpose::Dropout, 0))?.to_vec1::<f64>()?[0];
/// assert!((y - 0.779194).abs() < 1e-6 || (y + 0.779194).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn alpha_dropout(x: &Tensor, p: f64, rng: Rng) -> Result<Tensor> {
    const ALPHA: f64 = -1.758_099_340_847_376_6;
    if !(0. ..1.).contains(&p) {
        bail!("alpha_dropout needs a p in [0, 1), got {p}")
    }
    let op = Dropout::new("alpha_dropout", x, p, 1, rng)?;
    let scale = 1. / ((1. - p) * (1. + p * ALPHA * ALPHA)).sqrt();
    let shift = -scale * ALPHA * p;
    Dropout {
        scale,
        kept: shift,
        dropped: scale * ALPHA + shift,
        ..op
    }
    .call(x)
}

/// `x` with independent normal noise of mean 0 and the given standard deviation, `≥ 0`. The gradient
/// passes as it is.
///
/// ```text
/// y = x + std·ε          ε ~ N(0, 1), element i from rng
/// ```
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{Purpose, Rng, gaussian_noise};
/// let x = Tensor::zeros(10_000, DType::F64, &Device::Cpu)?;
/// let y = gaussian_noise(&x, 0.5, Rng::new(0, Purpose::Noise, 0))?;
/// assert!((y.sqr()?.mean_all()?.to_scalar::<f64>()? - 0.25).abs() < 0.01);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn gaussian_noise(x: &Tensor, std: f64, rng: Rng) -> Result<Tensor> {
    if !(std >= 0. && std.is_finite()) {
        bail!("gaussian_noise needs a finite std ≥ 0, got {std}")
    }
    float("gaussian_noise", ("x", x))?;
    let mut noise = vec![0f32; x.elem_count()];
    rng.fill_normal(&mut noise);
    let noise = (Tensor::from_vec(noise, x.shape(), x.device())? * std)?;
    add(x, &noise.to_dtype(x.dtype())?)
}

/// `y = scale·x + kept` where a run of elements is kept, `dropped` elsewhere.
#[derive(Clone, Copy)]
struct Dropout {
    name: &'static str,
    p: f64,
    rng: Rng,
    /// Elements that share one number of the generator.
    run: usize,
    scale: f64,
    kept: f64,
    dropped: f64,
}

impl Dropout {
    fn new(name: &'static str, x: &Tensor, p: f64, run: usize, rng: Rng) -> Result<Self> {
        if !(0. ..=1.).contains(&p) {
            bail!("{name} needs a p in [0, 1], got {p}")
        }
        float(name, ("x", x))?;
        Ok(Self {
            name,
            p,
            rng,
            run: run.max(1),
            scale: if p == 1. { 0. } else { 1. / (1. - p) },
            kept: 0.,
            dropped: 0.,
        })
    }

    fn call(self, x: &Tensor) -> Result<Tensor> {
        if self.p == 0. {
            return Ok(x.clone());
        }
        if !has_kernel(x) {
            return self.composed(x);
        }
        let y = apply1(&contiguous(x)?, self)?;
        Ok(differentiable(y, move |_, _, dy| {
            Ok(vec![Some(self.slope().call(dy)?)])
        }))
    }

    /// The map of a change of the input.
    fn slope(self) -> Self {
        Self {
            kept: 0.,
            dropped: 0.,
            ..self
        }
    }

    fn composed(self, x: &Tensor) -> Result<Tensor> {
        let to = |values: Vec<f64>| {
            let values = Tensor::from_vec(values, x.shape(), &Device::Cpu)?;
            // On the CPU, where all types are: Metal has no f64.
            values.to_dtype(x.dtype())?.to_device(x.device())
        };
        let count = x.elem_count();
        let slope = to(self.slope().apply(&vec![1f64; count]))?;
        match (self.kept, self.dropped) {
            (0., 0.) => x * slope,
            // What is left of a zero is what is added.
            _ => (x * slope)? + to(self.apply(&vec![0f64; count]))?,
        }
    }

    fn apply<T: Scalar>(&self, x: &[T]) -> Vec<T> {
        let mut y = cleared(x.len());
        // As many runs as fill a task; the generator starts at multiples of 4.
        let runs = GRAIN.div_ceil(self.run).next_multiple_of(4);
        let task = runs * self.run;
        y.par_chunks_mut(task)
            .zip(x.par_chunks(task))
            .enumerate()
            .for_each_init(
                || vec![0f32; runs],
                |uniform, (i, (y, x))| {
                    let uniform = &mut uniform[..x.len().div_ceil(self.run)];
                    self.rng.fill_uniform((i * runs) as u64, uniform);
                    match self.run {
                        1 => self.elements(x, uniform, y),
                        _ => self.runs(x, uniform, y),
                    }
                },
            );
        y
    }

    fn elements<T: Scalar>(&self, x: &[T], uniform: &[f32], y: &mut [T]) {
        let [scale, kept, dropped] = [self.scale, self.kept, self.dropped].map(T::from_f64);
        let threshold = self.p as f32;
        for ((y, x), u) in y.iter_mut().zip(x).zip(uniform) {
            *y = if *u < threshold {
                dropped
            } else {
                *x * scale + kept
            };
        }
    }

    fn runs<T: Scalar>(&self, x: &[T], uniform: &[f32], y: &mut [T]) {
        let runs = y.chunks_mut(self.run).zip(x.chunks(self.run));
        for ((y, x), u) in runs.zip(uniform) {
            if *u < self.p as f32 {
                y.fill(T::from_f64(self.dropped));
                continue;
            }
            let [scale, kept] = [self.scale, self.kept].map(T::from_f64);
            let pairs = y.iter_mut().zip(x);
            pairs.for_each(|(y, x)| *y = *x * scale + kept);
        }
    }

    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.apply(slice::<T>(s, l)?);
        Ok((T::to_cpu_storage_owned(y), l.shape().clone()))
    }

    fn backward<T: Scalar>(&self, dy: &Tensor) -> Result<Tensor> {
        let slope = self.slope();
        tensor(read::<T, _>(dy, |dy| Ok(slope.apply(dy)))?, dy.dims())
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s);
        by_dtype!(dtype, "dropout", self.forward::<T>(s, l))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(dy.dtype(), "dropout", self.backward::<T>(dy)).map(Some)
    }
}
