//! Gradient clipping, by global norm and by value.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, Var};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::rule::require;
use crate::sweep::{BLOCK, Element, Source, split};

/// Elements whose squares one partial sum covers.
const CHUNK: usize = 32 * 1024;

/// Partial sums that run side by side in a chunk. Fixed, so that every CPU adds in the same order.
const LANES: usize = 16;

/// How gradients are limited before a step.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Clip, Optimizer, Sgd};
/// let x = Var::new(&[3.0_f64, 4.0], &Device::Cpu)?; // the gradient of x²/2 is x: norm 5
/// let params = [("x".to_string(), x.clone())];
/// let mut sgd = Optimizer::new(params, Sgd { lr: 1.0, ..Sgd::default() })?.clip(Clip::Norm(1.0))?;
/// sgd.step(&(x.sqr()?.sum_all()? * 0.5)?.backward()?)?;
/// assert_eq!(sgd.grad_norm(), Some(5.0));
/// assert!((x.to_vec1::<f64>()?[0] - 2.4).abs() < 1e-6);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Scales all gradients together so that their common norm is at most this, `> 0`.
    Norm(f64),
    /// Limits every element to ± this, `> 0`.
    Value(f64),
}

impl Clip {
    pub(crate) fn validate(self) -> crate::Result<()> {
        let (field, limit) = match self {
            Self::Norm(limit) => ("norm", limit),
            Self::Value(limit) => ("value", limit),
        };
        require(limit > 0.0, "clip", field, "> 0", limit)
    }
}

/// Scales the gradients of `params` so that their common norm is at most `max_norm`; returns the
/// norm they had.
///
/// ```text
/// g ← g · min(1, max_norm / (‖g‖₂ + 10⁻⁶))
/// ```
///
/// As `torch.nn.utils.clip_grad_norm_`: parameters without a gradient are skipped, and a norm that
/// is not a number spreads to every gradient. The norm is summed in f64 in name order and is
/// bit-identical for any number of threads. An optimizer with [`Clip::Norm`] does the same without
/// a pass over the gradients of its own.
///
/// Source: R. Pascanu, T. Mikolov, Y. Bengio, 2013, On the difficulty of training recurrent neural
/// networks.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::clip_grad_norm;
/// let x = Var::new(&[3.0_f64, 4.0], &Device::Cpu)?;
/// let mut grads = (x.sqr()?.sum_all()? * 0.5)?.backward()?;
/// assert_eq!(clip_grad_norm(&mut grads, [("x", &x)], 0.5)?, 5.0);
/// let clipped = grads.get(&x).expect("it has one").to_vec1::<f64>()?;
/// assert!((clipped[1] - 0.4).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn clip_grad_norm<'a, N: AsRef<str>>(
    grads: &mut GradStore,
    params: impl IntoIterator<Item = (N, &'a Var)>,
    max_norm: f64,
) -> Result<f64> {
    let params = sorted(params);
    let norm = global_norm(params.values().filter_map(|var| grads.get(var)))?;
    let coefficient = norm_coefficient(norm, max_norm);
    if coefficient != 1.0 {
        // Not in place: gradients may share memory with each other.
        replace(grads, params.into_values(), |g| g.affine(coefficient, 0.0))?;
    }
    Ok(norm)
}

/// Limits every element of the gradients of `params` to `[−limit, limit]`.
///
/// As `torch.nn.utils.clip_grad_value_`: parameters without a gradient are skipped.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::clip_grad_value;
/// let x = Var::new(&[3.0_f64, -0.25], &Device::Cpu)?;
/// let mut grads = x.sqr()?.sum_all()?.backward()?;
/// clip_grad_value(&mut grads, [("x", &x)], 1.0)?;
/// assert_eq!(grads.get(&x).expect("it has one").to_vec1::<f64>()?, [1.0, -0.5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn clip_grad_value<'a, N: AsRef<str>>(
    grads: &mut GradStore,
    params: impl IntoIterator<Item = (N, &'a Var)>,
    limit: f64,
) -> Result<()> {
    replace(grads, sorted(params).into_values(), |g| {
        g.clamp(-limit, limit)
    })
}

/// The common Euclidean norm of gradients, summed in f64 in the order given.
///
/// Every 32,768 elements give one partial sum, and those are added in order: the result is
/// bit-identical for any number of threads.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let a = Tensor::new(&[3.0_f32], &Device::Cpu)?;
/// let b = Tensor::new(&[0.0_f32, 4.0], &Device::Cpu)?;
/// assert_eq!(dl_optim::global_norm([&a, &b])?, 5.0);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn global_norm<'a>(gradients: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    let squares = gradients.into_iter().map(sum_of_squares);
    Ok(squares.sum::<Result<f64>>()?.sqrt())
}

/// PyTorch's factor, kept at 1 or below; not a number if the norm is not.
pub(crate) fn norm_coefficient(norm: f64, max_norm: f64) -> f64 {
    let coefficient = max_norm / (norm + 1e-6);
    if coefficient > 1.0 { 1.0 } else { coefficient }
}

fn sorted<'a, N: AsRef<str>>(
    params: impl IntoIterator<Item = (N, &'a Var)>,
) -> BTreeMap<String, &'a Var> {
    params
        .into_iter()
        .map(|(name, var)| (name.as_ref().to_string(), var))
        .collect()
}

fn replace<'a>(
    grads: &mut GradStore,
    vars: impl Iterator<Item = &'a Var>,
    change: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    for var in vars {
        if let Some(old) = grads.get(var) {
            let new = change(&old.detach())?;
            grads.insert(var, new);
        }
    }
    Ok(())
}

fn sum_of_squares(gradient: &Tensor) -> Result<f64> {
    let (storage, layout) = gradient.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(all)) => Ok(chunked(all, layout)),
        Storage::Cpu(CpuStorage::F64(all)) => Ok(chunked(all, layout)),
        _ => {
            drop(storage);
            let wide = gradient.detach().to_dtype(DType::F32)?;
            wide.sqr()?.sum_all()?.to_scalar::<f32>().map(f64::from)
        }
    }
}

fn chunked<F: Element>(all: &[F], layout: &Layout) -> f64 {
    let source = Source::new(all, layout);
    // The order in memory is as good as any, as long as it is always the same.
    let dense = source.dense();
    let chunk = |i: usize| {
        let range = i * CHUNK..source.len().min((i + 1) * CHUNK);
        match dense {
            Some(all) => Arch::new().dispatch(Squares(&all[range])),
            None => gathered(&source, range),
        }
    };
    let chunks = source.len().div_ceil(CHUNK);
    if split(source.len()).is_none() {
        return (0..chunks).map(chunk).sum();
    }
    let parts: Vec<f64> = (0..chunks).into_par_iter().map(chunk).collect();
    parts.iter().sum()
}

fn gathered<F: Element>(source: &Source<'_, F>, range: Range<usize>) -> f64 {
    let mut buffer = [F::default(); BLOCK];
    let mut sum = 0.0;
    let mut start = range.start;
    while start < range.end {
        let block = source.block(start..range.end, &mut buffer);
        sum += Arch::new().dispatch(Squares(block));
        start += block.len();
    }
    sum
}

/// The sum of squares of one chunk.
struct Squares<'a, F>(&'a [F]);

impl<F: Element> WithSimd for Squares<'_, F> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut lanes = [0.0; LANES];
        let mut rows = self.0.chunks_exact(LANES);
        for row in &mut rows {
            for lane in 0..LANES {
                lanes[lane] += row[lane].widen() * row[lane].widen();
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rows.remainder()) {
            *lane += x.widen() * x.widen();
        }
        lanes.iter().sum()
    }
}
