//! Softmax and cross-entropy in one op.

use candle_core::{CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::exp::Exp;
use crate::host::{by_dtype, float, has_kernel, read, slice, tensor};
use crate::simd::{Kernel, dispatch, row_max, row_sum};
use crate::softmax::softmax;
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// The cross-entropy of each sample between its logits and its class.
///
/// `logits (n, classes)`, `targets (n,)` of u8, u32 or i64 → `(n,)`
///
/// ```text
/// ℓᵢ = −Σ_c qᵢ_c · log softmax(zᵢ)_c          q = (1 − ε)·onehot(target) + ε/classes
/// ∂ℓᵢ/∂zᵢ_c = softmax(zᵢ)_c − qᵢ_c
/// ```
///
/// `label_smoothing` ε lies in `[0, 1]`. Stable for logits of any size: the maximum is subtracted.
/// An error if the shapes do not fit or a target is not below the number of classes.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let logits = Tensor::new(&[[0f64, 0.]], &Device::Cpu)?;
/// let loss = dl_autograd::cross_entropy(&logits, &Tensor::new(&[1u32], &Device::Cpu)?, 0.)?;
/// assert!((loss.to_vec1::<f64>()?[0] - 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn cross_entropy(logits: &Tensor, targets: &Tensor, label_smoothing: f64) -> Result<Tensor> {
    let op = CrossEntropy::new(logits, targets, label_smoothing)?;
    if has_kernel(logits) {
        let targets = targets.clone();
        let y = apply1(&contiguous(logits)?, op)?;
        Ok(differentiable(y, move |z, _, dy| {
            let wanted = distribution(&z[0], &targets, label_smoothing)?;
            let difference = (softmax(&z[0], 1)? - wanted)?;
            Ok(vec![Some(difference.broadcast_mul(&dy.unsqueeze(1)?)?)])
        }))
    } else {
        composed(logits, targets, label_smoothing)
    }
}

fn composed(logits: &Tensor, targets: &Tensor, label_smoothing: f64) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let log_p = shifted.broadcast_sub(&log_sum)?;
    let index = targets.to_device(logits.device())?.to_dtype(DType::U32)?;
    let hit = log_p.gather(&index.unsqueeze(1)?, 1)?.squeeze(1)?;
    let spread = log_p.mean(D::Minus1)?;
    (hit * (label_smoothing - 1.))? - (spread * label_smoothing)?
}

/// q, without a graph.
fn distribution(logits: &Tensor, targets: &Tensor, label_smoothing: f64) -> Result<Tensor> {
    let (n, classes) = logits.dims2()?;
    let index = targets.to_dtype(DType::U32)?.unsqueeze(1)?;
    let hit = Tensor::ones((n, 1), logits.dtype(), logits.device())?;
    let onehot = logits.detach().zeros_like()?.scatter_add(&index, &hit, 1)?;
    onehot.affine(1. - label_smoothing, label_smoothing / classes as f64)
}

struct CrossEntropy {
    targets: Vec<u32>,
    classes: usize,
    smoothing: f64,
}

impl CrossEntropy {
    fn new(logits: &Tensor, targets: &Tensor, smoothing: f64) -> Result<Self> {
        let &[n, classes] = logits.dims() else {
            bail!(
                "cross_entropy takes logits (n, classes), got {:?}",
                logits.shape()
            )
        };
        float("cross_entropy", ("logits", logits))?;
        if targets.dims() != [n] || !targets.dtype().is_int() {
            bail!(
                "cross_entropy of logits ({n}, {classes}) takes targets ({n},) of an integer type, got {:?} of {:?}",
                targets.shape(),
                targets.dtype()
            )
        }
        if !(0. ..=1.).contains(&smoothing) {
            bail!("cross_entropy needs a label_smoothing in [0, 1], got {smoothing}")
        }
        let wide = targets.to_dtype(DType::I64)?.to_vec1::<i64>()?;
        if let Some((i, t)) = wide
            .iter()
            .enumerate()
            .find(|(_, t)| !(0..classes as i64).contains(*t))
        {
            bail!("cross_entropy of logits with {classes} classes got class {t} as target {i}")
        }
        Ok(Self {
            targets: wide.into_iter().map(|t| t as u32).collect(),
            classes,
            smoothing,
        })
    }

    fn forward<T: Exp>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let z = slice::<T>(s, l)?;
        let losses: Vec<T> = z
            .par_chunks_exact(self.classes.max(1))
            .with_min_len(256)
            .zip(&self.targets)
            .map(|(z, &target)| self.loss(z, target as usize))
            .collect();
        let n = losses.len();
        Ok((T::to_cpu_storage_owned(losses), n.into()))
    }

    fn loss<T: Exp>(&self, z: &[T], target: usize) -> T {
        let log_sum = log_sum_exp(z);
        let mean = z.iter().copied().sum::<T>() / T::from_f64(self.classes as f64);
        let smoothing = T::from_f64(self.smoothing);
        log_sum - (T::one() - smoothing) * z[target] - smoothing * mean
    }

    fn backward<T: Exp>(&self, logits: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let dz = read::<T, _>(logits, |z| {
            read::<T, _>(dy, |dy| {
                let mut dz = vec![T::zero(); z.len()];
                dz.par_chunks_exact_mut(self.classes)
                    .with_min_len(256)
                    .zip(z.par_chunks_exact(self.classes))
                    .zip(dy.par_iter().zip(&self.targets))
                    .for_each(|((dz, z), (&dy, &target))| {
                        self.grad(z, target as usize, dy, dz);
                    });
                Ok(dz)
            })
        })?;
        tensor(dz, logits.dims())
    }

    fn grad<T: Exp>(&self, z: &[T], target: usize, dy: T, dz: &mut [T]) {
        let log_sum = log_sum_exp(z);
        let spread = T::from_f64(self.smoothing / self.classes as f64);
        dispatch(Gradient {
            z,
            dz: &mut *dz,
            log_sum,
            spread,
            dy,
        });
        dz[target] -= dy * T::from_f64(1. - self.smoothing);
    }
}

fn log_sum_exp<T: Exp>(z: &[T]) -> T {
    let mut log_sum = T::zero();
    dispatch(LogSumExp {
        z,
        log_sum: &mut log_sum,
    });
    log_sum
}

struct LogSumExp<'a, T> {
    z: &'a [T],
    log_sum: &'a mut T,
}

impl<T: Exp> Kernel for LogSumExp<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (z, max) = (self.z, row_max(self.z));
        let sum = row_sum(z.len(), |i| (z[i] - max).exp_below::<FMA>());
        *self.log_sum = max + sum.ln();
    }
}

/// `dz = dy·(exp(z − log_sum) − spread)`.
struct Gradient<'a, T> {
    z: &'a [T],
    dz: &'a mut [T],
    log_sum: T,
    spread: T,
    dy: T,
}

impl<T: Exp> Kernel for Gradient<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (dz, z) in self.dz.iter_mut().zip(self.z) {
            *dz = self.dy * ((*z - self.log_sum).exp_below::<FMA>() - self.spread);
        }
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s);
        by_dtype!(dtype, "cross_entropy", self.forward::<T>(s, l))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(
            logits.dtype(),
            "cross_entropy",
            self.backward::<T>(logits, dy)
        )
        .map(Some)
    }
}
