//! Norms of gradients, the same for any number of threads.

use std::marker::PhantomData;
use std::ops::Range;

use candle_core::{CpuStorage, DType, Device, Layout, Result, Storage, Tensor};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::sweep::{BLOCK, Element, Source, split};

/// Elements that one partial result covers.
const CHUNK: usize = 32 * 1024;

/// Partial results that run side by side in a chunk. Fixed, so that every CPU adds in the same order.
const LANES: usize = 16;

/// Which norm; PyTorch's `norm_type` of 1, 2 and ∞.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_optim::NormType;
/// let g = Tensor::new(&[3.0_f32, -4.0], &Device::Cpu)?;
/// let norms = [NormType::L1, NormType::L2, NormType::Infinity].map(|norm| norm.of([&g]));
/// assert_eq!(norms.map(|norm| norm.unwrap_or(f64::NAN)), [7.0, 5.0, 4.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormType {
    /// The sum of absolute values.
    L1,
    /// The root of the sum of squares. The default.
    #[default]
    L2,
    /// The largest absolute value; not a number if an element is not.
    Infinity,
}

impl NormType {
    /// The common norm of tensors, in f64 in the order given.
    pub fn of<'a>(self, tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
        let mut whole = 0.0;
        for tensor in tensors {
            whole = self.join(whole, self.part(tensor)?);
        }
        Ok(match self {
            Self::L2 => whole.sqrt(),
            Self::L1 | Self::Infinity => whole,
        })
    }

    fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Self::L1 | Self::L2 => a + b,
            Self::Infinity => Largest::join(a, b),
        }
    }

    /// The norm of one tensor, squared if it is the Euclidean one.
    fn part(self, tensor: &Tensor) -> Result<f64> {
        if tensor.elem_count() == 0 {
            return Ok(0.0);
        }
        if tensor.device().is_cpu() && !matches!(tensor.dtype(), DType::F32 | DType::F64) {
            return self.part(&tensor.detach().to_dtype(DType::F32)?);
        }
        let (storage, layout) = tensor.storage_and_layout();
        match &*storage {
            Storage::Cpu(CpuStorage::F32(all)) => Ok(self.folded(all, layout)),
            Storage::Cpu(CpuStorage::F64(all)) => Ok(self.folded(all, layout)),
            _ => {
                drop(storage);
                let wide = tensor.detach().to_dtype(DType::F32)?;
                let part = match self {
                    Self::L1 => wide.abs()?.sum_all()?,
                    Self::L2 => wide.sqr()?.sum_all()?,
                    Self::Infinity => wide.abs()?.flatten_all()?.max(0)?,
                };
                part.to_scalar::<f32>().map(f64::from)
            }
        }
    }

    fn folded<F: Element>(self, all: &[F], layout: &Layout) -> f64 {
        match self {
            Self::L1 => folded::<Absolute, F>(all, layout),
            Self::L2 => folded::<Square, F>(all, layout),
            Self::Infinity => folded::<Largest, F>(all, layout),
        }
    }
}

/// Whether every element is a finite number.
pub(crate) fn is_finite(tensor: &Tensor) -> Result<bool> {
    let wide = match tensor.dtype() {
        DType::F32 | DType::F64 => tensor.detach(),
        _ => tensor.detach().to_dtype(DType::F32)?,
    };
    let (storage, layout) = wide.storage_and_layout();
    let broken = match &*storage {
        Storage::Cpu(CpuStorage::F32(all)) => folded::<Broken, _>(all, layout),
        Storage::Cpu(CpuStorage::F64(all)) => folded::<Broken, _>(all, layout),
        _ => {
            drop(storage);
            // A maximum may drop what is not a number; 0 · x may not.
            let zero = wide.affine(0.0, 0.0)?.sum_all()?;
            // Not every device has f64.
            let zero = zero.to_device(&Device::Cpu)?;
            zero.to_dtype(DType::F64)?.to_scalar()?
        }
    };
    Ok(broken == 0.0)
}

/// The sum of all elements in f64, in an order that does not depend on the threads.
pub(crate) fn total(tensor: &Tensor) -> Result<f64> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(all)) => Ok(folded::<Plain, _>(all, layout)),
        Storage::Cpu(CpuStorage::F64(all)) => Ok(folded::<Plain, _>(all, layout)),
        _ => {
            drop(storage);
            tensor.detach().sum_all()?.to_dtype(DType::F64)?.to_scalar()
        }
    }
}

fn folded<T: Term, F: Element>(all: &[F], layout: &Layout) -> f64 {
    let source = Source::new(all, layout);
    // The order in memory is as good as any, as long as it is always the same.
    let dense = source.dense();
    let chunk = |i: usize| {
        let range = i * CHUNK..source.len().min((i + 1) * CHUNK);
        match dense {
            Some(all) => Arch::new().dispatch(Fold::<F, T>::of(&all[range])),
            None => gathered::<T, F>(&source, range),
        }
    };
    let chunks = source.len().div_ceil(CHUNK);
    if split(source.len()).is_none() {
        return (0..chunks).map(chunk).fold(0.0, T::join);
    }
    let parts: Vec<f64> = (0..chunks).into_par_iter().map(chunk).collect();
    parts.into_iter().fold(0.0, T::join)
}

fn gathered<T: Term, F: Element>(source: &Source<'_, F>, range: Range<usize>) -> f64 {
    let mut buffer = [F::default(); BLOCK];
    let (mut whole, mut start) = (0.0, range.start);
    while start < range.end {
        let block = source.block(start..range.end, &mut buffer);
        whole = T::join(whole, Arch::new().dispatch(Fold::<F, T>::of(block)));
        start += block.len();
    }
    whole
}

/// What one element adds to a lane, and one lane to another. A trait and not a closure, so that it
/// is inlined into the loop that is compiled for each instruction set.
trait Term {
    fn add(lane: f64, x: f64) -> f64;
    fn join(a: f64, b: f64) -> f64;
}

struct Plain;
impl Term for Plain {
    #[inline(always)]
    fn add(lane: f64, x: f64) -> f64 {
        lane + x
    }
    #[inline(always)]
    fn join(a: f64, b: f64) -> f64 {
        a + b
    }
}

struct Absolute;
impl Term for Absolute {
    #[inline(always)]
    fn add(lane: f64, x: f64) -> f64 {
        lane + x.abs()
    }
    #[inline(always)]
    fn join(a: f64, b: f64) -> f64 {
        a + b
    }
}

struct Square;
impl Term for Square {
    #[inline(always)]
    fn add(lane: f64, x: f64) -> f64 {
        lane + x * x
    }
    #[inline(always)]
    fn join(a: f64, b: f64) -> f64 {
        a + b
    }
}

/// 0 for a finite number, else not a number, which every sum keeps.
struct Broken;
impl Term for Broken {
    #[inline(always)]
    fn add(lane: f64, x: f64) -> f64 {
        lane + 0.0 * x
    }
    #[inline(always)]
    fn join(a: f64, b: f64) -> f64 {
        a + b
    }
}

struct Largest;
impl Term for Largest {
    #[inline(always)]
    fn add(lane: f64, x: f64) -> f64 {
        Self::join(lane, x.abs())
    }
    // Not `max`: what is not a number has to stay.
    #[inline(always)]
    fn join(a: f64, b: f64) -> f64 {
        if a >= b || a.is_nan() { a } else { b }
    }
}

/// One block, in lanes.
struct Fold<'a, F, T>(&'a [F], PhantomData<T>);

impl<'a, F, T> Fold<'a, F, T> {
    fn of(block: &'a [F]) -> Self {
        Self(block, PhantomData)
    }
}

impl<F: Element, T: Term> WithSimd for Fold<'_, F, T> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut lanes = [0.0; LANES];
        let mut rows = self.0.chunks_exact(LANES);
        for row in &mut rows {
            for lane in 0..LANES {
                lanes[lane] = T::add(lanes[lane], row[lane].widen());
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rows.remainder()) {
            *lane = T::add(*lane, x.widen());
        }
        let mut whole = 0.0;
        for lane in lanes {
            whole = T::join(whole, lane);
        }
        whole
    }
}
