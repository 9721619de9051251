//! Softmax and cross-entropy in one op.

use std::sync::{Arc, OnceLock};

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::Reduction;
use super::class_targets::ClassShape;
use crate::exp::Exp;
use crate::host::{by_dtype, cleared, has_kernel, narrow_to, read, tensor, widen};
use crate::many_inputs::CustomOpN;
use crate::simd::{Kernel, dispatch, row_max, row_sum};
use crate::softmax::{log_softmax, softmax};
use crate::tape::{apply_n, differentiable};
use crate::view::reshape;

/// Elements that one thread takes at a time: exponentials are dear.
const GRAIN: usize = 4096;

/// PyTorch's defaults.
#[derive(Clone, Debug)]
pub struct CrossEntropyOptions {
    /// Weight of each class, `(classes,)`, a constant. Default all 1.
    pub weight: Option<Tensor>,
    /// The class index that marks a target to be left out. Default `-100`.
    pub ignore_index: i64,
    /// Share of the target that is spread over all classes, in `[0, 1]`. Default `0`.
    pub label_smoothing: f64,
}

impl Default for CrossEntropyOptions {
    fn default() -> Self {
        Self {
            weight: None,
            ignore_index: -100,
            label_smoothing: 0.,
        }
    }
}

/// The cross-entropy between logits and classes or distributions over them, as
/// `torch.nn.functional.cross_entropy`.
///
/// `logits (n, classes, d1, …)` or `(classes,)`; `targets (n, d1, …)` of integers, or of floats in
/// the shape of the logits → a scalar, or `(n, d1, …)` unreduced
///
/// ```text
/// ℓᵢ = −Σ_c w_c qᵢ_c · log softmax(zᵢ)_c          q = (1 − ε)·target + ε/classes
/// ∂ℓᵢ/∂zᵢ = softmax(zᵢ)·Σ_c w_c qᵢ_c − w ⊙ qᵢ      ∂ℓᵢ/∂target = −(1 − ε)·w ⊙ log softmax(zᵢ)
/// mean = Σ ℓᵢ / Σ w[yᵢ]  of class indices         mean = Σ ℓᵢ / rows  of distributions
/// ```
///
/// An ignored target has no loss and no gradient, and is not counted by the mean. The mean of an
/// empty batch, or where every target is ignored, is NaN as PyTorch's. Stable for logits of any
/// size: the maximum is subtracted. The kernel keeps two numbers a row for backward, not the
/// softmax.
///
/// An error if the shapes or types do not fit, `label_smoothing` is outside `[0, 1]`, a target is no
/// class (it names which), or distributions come with an `ignore_index` that is not negative.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{Reduction, cross_entropy};
/// let logits = Tensor::new(&[[0f64, 0.]], &Device::Cpu)?;
/// let class = Tensor::new(&[1u32], &Device::Cpu)?;
/// let loss = cross_entropy(&logits, &class, &Default::default(), Reduction::Mean)?;
/// assert!((loss.to_scalar::<f64>()? - 2f64.ln()).abs() < 1e-15);
/// let half = Tensor::new(&[[0.5f64, 0.5]], &Device::Cpu)?;
/// let loss = cross_entropy(&logits, &half, &Default::default(), Reduction::Mean)?;
/// assert!((loss.to_scalar::<f64>()? - 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    let shape = ClassShape::new("cross_entropy", ("logits", logits))?;
    let op = CrossEntropy::new(logits, targets, &shape, options, reduction)?;
    let mut inputs = vec![shape.to_rows(&widen(logits.clone())?)?];
    if op.targets.is_none() {
        inputs.push(shape.to_rows(&widen(targets.clone())?)?);
    }
    let operands: Vec<&Tensor> = inputs.iter().collect();
    let y = apply_n(&operands, op.value(&inputs)?, op.clone())?;
    let y = differentiable(narrow_to(y, logits.dtype())?, move |inputs, _, dy| {
        op.gradients(inputs, &tracked(inputs), dy)
    });
    match reduction {
        Reduction::None => reshape(&y, shape.outer),
        _ => Ok(y),
    }
}

#[derive(Clone)]
struct CrossEntropy {
    /// The class of each row, or nothing if the targets are an operand.
    targets: Option<Arc<[Option<u32>]>>,
    weights: Arc<[f64]>,
    smoothing: f64,
    divisor: Option<f64>,
    kernel: bool,
    /// The maximum of each row of logits, and the logarithm of the sum of `exp(z − max)`.
    saved: Arc<OnceLock<Vec<[f64; 2]>>>,
}

impl CrossEntropy {
    fn new(
        logits: &Tensor,
        targets: &Tensor,
        shape: &ClassShape,
        options: &CrossEntropyOptions,
        reduction: Reduction,
    ) -> Result<Self> {
        let smoothing = options.label_smoothing;
        if !(0. ..=1.).contains(&smoothing) {
            bail!("cross_entropy needs a label_smoothing in [0, 1], got {smoothing}")
        }
        let weights = shape.weights("cross_entropy", options.weight.as_ref())?;
        let classes = match targets.dtype().is_float() {
            false => Some(shape.indices("cross_entropy", targets, options.ignore_index)?),
            true => {
                check_distributions(logits, targets, options)?;
                None
            }
        };
        let count = match &classes {
            Some(classes) => classes.iter().flatten().map(|c| weights[*c as usize]).sum(),
            None => shape.rows() as f64,
        };
        Ok(Self {
            targets: classes.map(Into::into),
            weights: weights.into(),
            smoothing,
            divisor: reduction.divisor(count, shape.batch),
            kernel: has_kernel(logits),
            saved: Arc::default(),
        })
    }

    /// The losses of the rows or what they are reduced to, without a graph.
    fn value(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let z = &inputs[0].detach();
        let t = inputs.get(1).map(|t| t.detach());
        match self.kernel {
            true => by_dtype!(z.dtype(), "cross_entropy", self.forward::<T>(z, t.as_ref())),
            false => self.composed(z, t.as_ref()),
        }
    }

    fn rows<'a, T: Exp>(&'a self, z: &'a [T], t: &'a [T], weights: &'a [T]) -> Rows<'a, T> {
        let classes = weights.len();
        Rows {
            targets: match &self.targets {
                Some(targets) => Targets::Classes(targets),
                None => Targets::Distributions(t),
            },
            z,
            weights,
            total_weight: weights.iter().copied().sum(),
            keep: T::from_f64(1. - self.smoothing),
            spread: T::from_f64(self.smoothing / classes as f64),
        }
    }

    fn weights<T: Exp>(&self) -> Vec<T> {
        self.weights.iter().map(|w| T::from_f64(*w)).collect()
    }

    fn min_rows(&self) -> usize {
        GRAIN.div_ceil(self.weights.len())
    }

    fn forward<T: Exp>(&self, z: &Tensor, t: Option<&Tensor>) -> Result<Tensor> {
        let (rows, weights) = (z.dim(0)?, self.weights::<T>());
        let (losses, saved): (Vec<T>, Vec<[f64; 2]>) = read::<T, _>(z, |z| {
            read_or_empty(t, |t| {
                let all = self.rows(z, t, &weights);
                let rows = (0..rows).into_par_iter().with_min_len(self.min_rows());
                Ok(rows.map(|row| all.loss(row)).unzip())
            })
        })?;
        // Set once: the op is made for one forward.
        let _ = self.saved.set(saved);
        match self.divisor {
            Some(divisor) => {
                let total: f64 = losses.iter().map(|l| l.wide()).sum();
                tensor(vec![T::from_f64(total / divisor)], ())
            }
            None => tensor(losses, rows),
        }
    }

    fn backward<T: Exp>(&self, inputs: &[Tensor], dy: &Tensor, of: Operand) -> Result<Tensor> {
        let (z, classes) = (&inputs[0], self.weights.len());
        let (Some(saved), weights) = (self.saved.get(), self.weights::<T>()) else {
            bail!("cross_entropy left nothing for its backward")
        };
        let mut out = cleared(z.elem_count());
        let divisor = T::from_f64(self.safe_divisor());
        read::<T, _>(z, |z| {
            read_or_empty(inputs.get(1), |t| {
                read::<T, _>(dy, |dy| {
                    let all = self.rows(z, t, &weights);
                    let upstream = |row: usize| match self.divisor {
                        Some(_) => dy[0] / divisor,
                        None => dy[row],
                    };
                    out.par_chunks_exact_mut(classes)
                        .enumerate()
                        .with_min_len(self.min_rows())
                        .for_each(|(row, out)| {
                            all.gradient(row, saved[row], upstream(row), of, out);
                        });
                    Ok(())
                })
            })
        })?;
        tensor(out, z.dims())
    }

    /// Where no target counts, no gradient is made NaN by a division by 0.
    fn safe_divisor(&self) -> f64 {
        match self.divisor {
            Some(divisor) if divisor != 0. => divisor,
            _ => 1.,
        }
    }

    fn composed(&self, z: &Tensor, t: Option<&Tensor>) -> Result<Tensor> {
        let log_p = log_softmax(z, 1)?;
        let losses = match &self.targets {
            None => (log_p * self.distribution(z, t)?)?.sum(1)?.neg()?,
            Some(targets) => {
                let (index, keep, spread) = self.per_row(z, targets)?;
                let hit = (log_p.gather(&index, 1)? * keep)?.neg()?;
                let losses = match self.smoothing == 0. {
                    true => hit,
                    false => {
                        let all = log_p.broadcast_mul(&self.weight_row(z)?)?.sum_keepdim(1)?;
                        (hit - (all * spread)?)?
                    }
                };
                let kept: Vec<u8> = targets.iter().map(|t| u8::from(t.is_some())).collect();
                let kept = Tensor::from_vec(kept, losses.shape(), z.device())?;
                kept.where_cond(&losses, &losses.zeros_like()?)?
                    .squeeze(1)?
            }
        };
        match self.divisor {
            Some(divisor) => {
                let total = losses.to_dtype(DType::F64)?.sum_all()?;
                (total / divisor)?.to_dtype(z.dtype())
            }
            None => Ok(losses),
        }
    }

    fn weight_row(&self, z: &Tensor) -> Result<Tensor> {
        let weights = Tensor::from_slice(&self.weights, (1, self.weights.len()), z.device())?;
        weights.to_dtype(z.dtype())
    }

    /// Of each row `(rows, 1)`: its class, what the class keeps and what each class gets.
    fn per_row(&self, z: &Tensor, targets: &[Option<u32>]) -> Result<(Tensor, Tensor, Tensor)> {
        let column = |f: &dyn Fn(u32) -> f64| {
            let values: Vec<f64> = targets.iter().map(|t| t.map_or(0., f)).collect();
            Tensor::from_vec(values, (targets.len(), 1), z.device())?.to_dtype(z.dtype())
        };
        let index: Vec<u32> = targets.iter().map(|t| t.unwrap_or(0)).collect();
        let index = Tensor::from_vec(index, (targets.len(), 1), z.device())?;
        let keep = column(&|c| (1. - self.smoothing) * self.weights[c as usize])?;
        let spread = column(&|_| self.smoothing / self.weights.len() as f64)?;
        Ok((index, keep, spread))
    }

    /// `w ⊙ q`, `(rows, classes)`.
    fn distribution(&self, z: &Tensor, t: Option<&Tensor>) -> Result<Tensor> {
        let weights = self.weight_row(z)?;
        if let (None, Some(t)) = (&self.targets, t) {
            let spread = self.smoothing / self.weights.len() as f64;
            return t
                .affine(1. - self.smoothing, spread)?
                .broadcast_mul(&weights);
        }
        let (index, keep, spread) = self.per_row(z, self.targets.as_deref().unwrap_or(&[]))?;
        spread
            .broadcast_mul(&weights)?
            .scatter_add(&index, &keep, 1)
    }

    /// The gradients as operations of their own.
    fn gradients(
        &self,
        inputs: &[Tensor],
        wanted: &[bool],
        dy: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let (z, t) = (&inputs[0], inputs.get(1));
        let dy = (dy.reshape(((), 1))? / self.safe_divisor())?;
        let dz = || -> Result<Tensor> {
            let q = self.distribution(z, t)?;
            let p = softmax(z, 1)?.broadcast_mul(&q.sum_keepdim(1)?)?;
            (p - q)?.broadcast_mul(&dy)
        };
        let dt = || -> Result<Tensor> {
            let log_p = log_softmax(z, 1)?.broadcast_mul(&self.weight_row(z)?)?;
            (log_p * (self.smoothing - 1.))?.broadcast_mul(&dy)
        };
        let mut grads = vec![wanted[0].then(dz).transpose()?];
        if let Some(wanted) = wanted.get(1) {
            grads.push(wanted.then(dt).transpose()?);
        }
        Ok(grads)
    }
}

fn tracked(inputs: &[Tensor]) -> Vec<bool> {
    inputs.iter().map(Tensor::track_op).collect()
}

fn check_distributions(
    logits: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
) -> Result<()> {
    if targets.shape() != logits.shape() || targets.dtype() != logits.dtype() {
        bail!(
            "cross_entropy of logits {:?} in {:?} takes targets of integers, or distributions alike, got {:?} in {:?}",
            logits.shape(),
            logits.dtype(),
            targets.shape(),
            targets.dtype()
        )
    }
    if options.ignore_index >= 0 {
        bail!(
            "cross_entropy of distributions takes a negative ignore_index, got {}",
            options.ignore_index
        )
    }
    Ok(())
}

fn read_or_empty<T: Exp, R>(x: Option<&Tensor>, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    match x {
        Some(x) => read::<T, _>(x, f),
        None => f(&[]),
    }
}

#[derive(Clone, Copy)]
enum Operand {
    Logits,
    Targets,
}

impl CustomOpN for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn bwd(&self, inputs: &[Tensor], _: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let wanted = tracked(inputs);
        let inputs: Vec<Tensor> = inputs.iter().map(Tensor::detach).collect();
        let dy = dy.detach();
        if !self.kernel {
            return self.gradients(&inputs, &wanted, &dy);
        }
        let of = |operand| {
            by_dtype!(
                dy.dtype(),
                "cross_entropy",
                self.backward::<T>(&inputs, &dy, operand)
            )
        };
        let operands = [Operand::Logits, Operand::Targets];
        let pairs = operands.into_iter().zip(wanted);
        pairs
            .map(|(operand, wanted)| wanted.then(|| of(operand)).transpose())
            .collect()
    }
}

enum Targets<'a, T> {
    Classes(&'a [Option<u32>]),
    Distributions(&'a [T]),
}

/// All rows of a batch, and what holds for each of them.
struct Rows<'a, T> {
    z: &'a [T],
    targets: Targets<'a, T>,
    weights: &'a [T],
    total_weight: T,
    keep: T,
    spread: T,
}

impl<T: Exp> Rows<'_, T> {
    fn row<'b>(&self, all: &'b [T], row: usize) -> &'b [T] {
        let classes = self.weights.len();
        &all[row * classes..][..classes]
    }

    fn loss(&self, row: usize) -> (T, [f64; 2]) {
        let (mut loss, mut max, mut log_sum) = (T::zero(), T::zero(), T::zero());
        let z = self.row(self.z, row);
        dispatch(LogSumExp {
            z,
            max: &mut max,
            log_sum: &mut log_sum,
        });
        match self.targets {
            Targets::Classes(targets) => {
                if let Some(class) = targets[row] {
                    loss = self.of_class(z, class as usize, max, log_sum);
                }
            }
            Targets::Distributions(t) => dispatch(OfDistribution {
                z,
                t: self.row(t, row),
                rows: self,
                shift: (max, log_sum),
                loss: &mut loss,
            }),
        }
        (loss, [max.wide(), log_sum.wide()])
    }

    fn of_class(&self, z: &[T], class: usize, max: T, log_sum: T) -> T {
        let kept = self.keep * self.weights[class];
        let hit = kept * (log_sum - (z[class] - max));
        // Not with a spread of 0: a logit of −∞ would make it NaN.
        if self.spread == T::zero() {
            return hit;
        }
        let below = |i: usize| self.weights[i] * (z[i] - max);
        let rest = self.total_weight * log_sum - row_sum(z.len(), below);
        hit + self.spread * rest
    }

    fn gradient(&self, row: usize, [max, log_sum]: [f64; 2], dy: T, of: Operand, out: &mut [T]) {
        let shift = (T::from_f64(max), T::from_f64(log_sum));
        let z = self.row(self.z, row);
        match (&self.targets, of) {
            (Targets::Classes(targets), _) => {
                let Some(class) = targets[row].map(|c| c as usize) else {
                    return;
                };
                let kept = self.keep * self.weights[class];
                let total = kept + self.spread * self.total_weight;
                self.softmax(z, shift, dy * total, dy * self.spread, out);
                out[class] -= dy * kept;
            }
            (Targets::Distributions(t), Operand::Logits) => dispatch(LogitsGradient {
                z,
                t: self.row(t, row),
                rows: self,
                shift,
                dy,
                out,
            }),
            (Targets::Distributions(_), Operand::Targets) => {
                let scale = -dy * self.keep;
                for ((out, z), w) in out.iter_mut().zip(z).zip(self.weights) {
                    *out = scale * *w * (*z - shift.0 - shift.1);
                }
            }
        }
    }

    fn softmax(&self, z: &[T], shift: (T, T), scale: T, spread: T, out: &mut [T]) {
        let weights = self.weights;
        dispatch(Softmax {
            z,
            weights,
            shift,
            scale,
            spread,
            out,
        });
    }
}

struct LogSumExp<'a, T> {
    z: &'a [T],
    max: &'a mut T,
    log_sum: &'a mut T,
}

impl<T: Exp> Kernel for LogSumExp<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (z, max) = (self.z, row_max(self.z));
        let sum = row_sum(z.len(), |i| (z[i] - max).exp_below::<FMA>());
        (*self.max, *self.log_sum) = (max, sum.ln());
    }
}

struct OfDistribution<'a, T> {
    z: &'a [T],
    t: &'a [T],
    rows: &'a Rows<'a, T>,
    shift: (T, T),
    loss: &'a mut T,
}

impl<T: Exp> Kernel for OfDistribution<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (z, (max, log_sum)) = (self.z, self.shift);
        let len = z.len();
        let (t, w) = (&self.t[..len], &self.rows.weights[..len]);
        let (keep, spread) = (self.rows.keep, self.rows.spread);
        *self.loss = row_sum(len, |i| {
            let q = w[i] * t[i].multiply_add::<FMA>(keep, spread);
            q * (log_sum - (z[i] - max))
        });
    }
}

/// `out = scale·softmax(z) − spread·w`.
struct Softmax<'a, T> {
    z: &'a [T],
    weights: &'a [T],
    shift: (T, T),
    scale: T,
    spread: T,
    out: &'a mut [T],
}

impl<T: Exp> Kernel for Softmax<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (max, log_sum) = self.shift;
        for ((out, z), w) in self.out.iter_mut().zip(self.z).zip(self.weights) {
            let p = (*z - max - log_sum).exp_below::<FMA>();
            *out = self.scale * p - self.spread * *w;
        }
    }
}

struct LogitsGradient<'a, T> {
    z: &'a [T],
    t: &'a [T],
    rows: &'a Rows<'a, T>,
    shift: (T, T),
    dy: T,
    out: &'a mut [T],
}

impl<T: Exp> Kernel for LogitsGradient<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (z, (max, log_sum)) = (self.z, self.shift);
        let len = z.len();
        let (t, w) = (&self.t[..len], &self.rows.weights[..len]);
        let (keep, spread) = (self.rows.keep, self.rows.spread);
        let q = |i: usize| w[i] * t[i].multiply_add::<FMA>(keep, spread);
        let total = row_sum(len, q);
        for (i, (out, z)) in self.out.iter_mut().zip(z).enumerate() {
            let p = (*z - max - log_sum).exp_below::<FMA>();
            *out = self.dy * (total * p - q(i));
        }
    }
}
