//! Arithmetic on all parameters as one vector, with sums that do not depend on the threads.

use candle_core::{CpuStorage, DType, Result, Storage, Tensor};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::sweep::{Element, Source, combine, split};
use crate::{Kernel, Path, Real};

/// Elements whose products one partial sum covers.
const CHUNK: usize = 32 * 1024;

/// Partial sums that run side by side in a chunk. Fixed, so that every CPU adds in the same order.
const LANES: usize = 16;

/// `x + by · y`, in the place of `x`, which must be nobody else's.
pub(super) fn add_scaled(x: Tensor, by: f64, y: &Tensor) -> Result<Tensor> {
    combine(x, y, Path::Fused, &AddScaled { by })
}

#[derive(Clone, Copy)]
struct AddScaled {
    by: f64,
}

impl Kernel<0> for AddScaled {
    #[inline(always)]
    fn apply<R: Real>(&self, x: R, y: R, _: [R; 0]) -> (R, [R; 0]) {
        (x + y.scale(self.by), [])
    }
}

/// The largest absolute value, 0 of nothing.
pub(super) fn largest(x: &Tensor) -> Result<f64> {
    match x.elem_count() {
        0 => Ok(0.0),
        _ => x.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar(),
    }
}

/// The sum of absolute values.
pub(super) fn length_1(x: &Tensor) -> Result<f64> {
    dot(x, &x.sign()?)
}

/// The inner product, summed in f64 on the CPU.
pub(super) fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    {
        let ((left, left_layout), (right, right_layout)) =
            (a.storage_and_layout(), b.storage_and_layout());
        let sum = match (&*left, &*right) {
            (Storage::Cpu(CpuStorage::F32(x)), Storage::Cpu(CpuStorage::F32(y))) => {
                chunked(Source::new(x, left_layout), Source::new(y, right_layout))
            }
            (Storage::Cpu(CpuStorage::F64(x)), Storage::Cpu(CpuStorage::F64(y))) => {
                chunked(Source::new(x, left_layout), Source::new(y, right_layout))
            }
            _ => None,
        };
        if let Some(sum) = sum {
            return Ok(sum);
        }
    }
    (a * b)?.sum_all()?.to_dtype(DType::F64)?.to_scalar()
}

fn chunked<F: Element>(a: Source<'_, F>, b: Source<'_, F>) -> Option<f64> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let part = |(a, b): (&[F], &[F])| Arch::new().dispatch(Products(a, b));
    if split(a.len()).is_none() {
        return Some(a.chunks(CHUNK).zip(b.chunks(CHUNK)).map(part).sum());
    }
    let parts = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).map(part);
    Some(parts.collect::<Vec<f64>>().iter().sum())
}

/// The inner product of one chunk.
struct Products<'a, F>(&'a [F], &'a [F]);

impl<F: Element> WithSimd for Products<'_, F> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut lanes = [0.0; LANES];
        let (mut a, mut b) = (self.0.chunks_exact(LANES), self.1.chunks_exact(LANES));
        for (a, b) in (&mut a).zip(&mut b) {
            for lane in 0..LANES {
                lanes[lane] += a[lane].widen() * b[lane].widen();
            }
        }
        let rest = a.remainder().iter().zip(b.remainder());
        for (lane, (a, b)) in lanes.iter_mut().zip(rest) {
            *lane += a.widen() * b.widen();
        }
        lanes.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::Device;

    /// Three chunks and an odd rest; the terms are small integers, so the sum is exact.
    #[test]
    fn a_product_is_exact_where_it_can_be_and_the_same_on_all_threads() {
        let count = 3 * CHUNK + 21;
        let x = Tensor::from_iter((0..count).map(|i| (i % 7) as f32 - 3.0), &Device::Cpu).unwrap();
        let want: f64 = (0..count).map(|i| ((i % 7) as f64 - 3.0).powi(2)).sum();
        for threads in [1, 2, 4] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let got = pool.build().unwrap().install(|| dot(&x, &x).unwrap());
            assert_eq!(got, want);
        }
        assert_eq!(
            length_1(&x).unwrap(),
            (0..count)
                .map(|i| (i as f64 % 7.0 - 3.0).abs())
                .sum::<f64>()
        );
        assert_eq!(largest(&x).unwrap(), 3.0);
    }
}
